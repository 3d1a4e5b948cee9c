/** What making and looking at stores needs beside images themselves; nothing else loads it. */
export { parseDriver, settleDriver } from "./storage/drivers.ts";
export { mountFile } from "./storage/loop.ts";
export { hasProjectQuota } from "./storage/project-quota.ts";
export { hasDriver } from "./store/store.ts";
