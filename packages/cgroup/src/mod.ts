export { applyCgroup, removeCgroup, updateCgroup } from "./apply.ts";
export type { DeviceRule } from "./devices.ts";
export { execGroups } from "./exec-groups.ts";
export type { Write } from "./file.ts";
export { freezeCgroup, freezerFiles, isFrozen, thawCgroup } from "./freeze.ts";
export {
  type CgroupHost,
  type CgroupMount,
  type ControllerPlace,
  detectCgroups,
  type Hierarchy,
  parseMountinfo,
} from "./hierarchy.ts";
export { groupDirs, groupPath, systemdGroup } from "./path.ts";
export { type CgroupPlan, hasSwapLimit, planCgroup, planUpdate } from "./plan.ts";
export { killCgroup, listProcesses, signalCgroup } from "./processes.ts";
export type { CpuResources, HugepageLimit, LinuxResources, MemoryResources } from "./resources.ts";
export {
  type CgroupStats,
  type CpuStats,
  type IoStats,
  type MemoryStats,
  type PidsStats,
  readOomKills,
  readStats,
} from "./stats.ts";
export { limitScope, planScope, type Scope, startScope, stopScope } from "./systemd/scope.ts";
export { attachDeviceProgram } from "./v2/devices.ts";
export { REMOUNT, recallMountOptions, resetMountOptions } from "./v2/mount-options.ts";
