/** Volumes, storage and the host. Each function's code is loaded when it is first called. */
import type { DiskUsage } from "./engine/look/disk-usage.ts";
import type { Check } from "./engine/look/doctor.ts";
import type { Info, Version } from "./engine/look/info.ts";
import type { Engine } from "./engine/state/engine.ts";
import type { Problem, SystemCheckOptions } from "./engine/store/check.ts";
import type { PruneVolumesOptions, VolumeSummary } from "./engine/store/manage-volumes.ts";
import type { StorageInfo, StorageInitOptions, StorageInitResult } from "./engine/store/storage.ts";

/** What images, containers and volumes take on disk; see engine/look/disk-usage.ts. */
export async function diskUsage(engine: Engine): Promise<DiskUsage> {
  return (await import("./engine/look/disk-usage.ts")).diskUsage(engine);
}

/** All volumes, sorted by name; see engine/store/manage-volumes.ts. */
export async function listVolumes(engine: Engine): Promise<VolumeSummary[]> {
  return (await import("./engine/store/manage-volumes.ts")).listVolumes(engine);
}

/** One volume; see engine/store/manage-volumes.ts. */
export async function getVolume(engine: Engine, name: string): Promise<VolumeSummary> {
  return (await import("./engine/store/manage-volumes.ts")).getVolume(engine, name);
}

/** Makes a volume; see engine/store/manage-volumes.ts. */
export async function createVolume(engine: Engine, name?: string): Promise<string> {
  return (await import("./engine/store/manage-volumes.ts")).createVolume(engine, name);
}

/** Deletes a volume; see engine/store/manage-volumes.ts. */
export async function removeVolume(engine: Engine, name: string): Promise<void> {
  (await import("./engine/store/manage-volumes.ts")).removeVolume(engine, name);
}

/** Deletes the volumes that no container uses; see engine/store/manage-volumes.ts. */
export async function pruneVolumes(
  engine: Engine,
  options?: PruneVolumesOptions,
): Promise<{ readonly removed: readonly string[]; readonly bytes: number }> {
  return (await import("./engine/store/manage-volumes.ts")).pruneVolumes(engine, options);
}

/** Looks whether all that is stored is there and as it should be; see engine/store/check.ts. */
export async function checkSystem(engine: Engine, options?: SystemCheckOptions): Promise<Problem[]> {
  return await (await import("./engine/store/check.ts")).checkSystem(engine, options);
}

/** Decides how a new store keeps layers, and makes and mounts a file system for it; see engine/store/storage.ts. */
export async function initStorage(engine: Engine, options: StorageInitOptions): Promise<StorageInitResult> {
  return await (await import("./engine/store/storage.ts")).initStorage(engine, options);
}

/** What the store lies on; see engine/store/storage.ts. */
export async function storageInfo(engine: Engine): Promise<StorageInfo> {
  return (await import("./engine/store/storage.ts")).storageInfo(engine);
}

/** What this engine holds, and what the host gives it; see engine/look/info.ts. */
export async function info(engine: Engine): Promise<Info> {
  return await (await import("./engine/look/info.ts")).info(engine);
}

/** Versions of everything; see engine/look/info.ts. */
export async function version(): Promise<Version> {
  return (await import("./engine/look/info.ts")).version();
}

/** What the host lacks; see engine/look/doctor.ts. */
export async function doctor(engine: Engine): Promise<{ checks: Check[] }> {
  return (await import("./engine/look/doctor.ts")).doctor(engine);
}

/** Says why a start failed, for the trampoline; see engine/start/failed.ts. */
export async function internalFailed(args: readonly string[]): Promise<never> {
  return (await import("./engine/start/failed.ts")).internalFailed(args);
}
