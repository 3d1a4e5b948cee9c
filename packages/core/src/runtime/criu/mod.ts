/** CRIU: checkpoints of a container's processes. */
export { descriptorsOf, type ExternalMount, externalMounts, externalNamespace, sourceOf } from "./external.ts";
export { CGROUPS_MODE, type CriuOptions, REQUEST } from "./message.ts";
export { type Criu, criuEnvironment, findCriu } from "./program.ts";
export type { Checkpoint } from "./restore.ts";
export { dump } from "./service.ts";
