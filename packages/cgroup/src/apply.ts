import { BoxError, isErrno, mkdirSync, nodeFs } from "@bantubox/ffi";
import { listTree, writeControl } from "./file.ts";
import type { CgroupHost } from "./hierarchy.ts";
import { groupDirs, pathParts } from "./path.ts";
import { type CgroupPlan, planUpdate } from "./plan.ts";
import type { LinuxResources } from "./resources.ts";
import { attachDeviceProgram } from "./v2/devices.ts";

/**
 * Makes the group that `plan` describes, with its limits. Nobody joins it yet.
 *
 * What this made of the group itself is removed again when something fails; shared parents stay.
 *
 * @throws {SysError} With the file and the value that the kernel refused.
 */
export function applyCgroup(plan: CgroupPlan): void {
  const made: string[] = [];
  try {
    for (const dir of plan.directories) {
      if (makeDirectory(dir) && plan.remove.includes(dir)) made.push(dir);
    }
    for (const write of plan.writes) writeControl(write);
    if (plan.deviceProgram !== undefined && plan.intoDirectory !== undefined) {
      attachDeviceProgram(plan.intoDirectory, plan.deviceProgram);
    }
  } catch (error) {
    for (const dir of made) removeTree(dir);
    throw error;
  }
}

/**
 * Changes the limits of a group that exists; what `resources` does not name stays as it is.
 *
 * @throws {BoxError} `cgroup-unavailable`, `invalid-resources`.
 * @throws {SysError} With the file and the value that the kernel refused: `EBUSY` for less memory than is in use on v1.
 */
export function updateCgroup(host: CgroupHost, path: string, resources: Omit<LinuxResources, "devices">): void {
  for (const write of planUpdate(host, path, resources)) writeControl(write);
}

/**
 * Removes the group and all groups below it from every hierarchy. Kills nobody; waits
 * for processes that are dying. A group that is gone is fine, and shared parents stay.
 *
 * @param options.waitMs How long to wait; a killed process leaves when it has been torn down, and a large one takes a while.
 * @throws {BoxError} `cgroup-busy` when somebody is still inside then.
 */
export function removeCgroup(
  host: CgroupHost,
  path: string,
  { waitMs = 2000 }: { readonly waitMs?: number } = {},
): void {
  pathParts(path);
  const errors: unknown[] = [];
  const deadline = performance.now() + waitMs;
  for (const dir of groupDirs(host, path)) {
    try {
      while (!removeTree(dir)) {
        if (performance.now() > deadline) {
          throw new BoxError("cgroup-busy", `Cannot remove cgroup ${JSON.stringify(dir)}: it still holds processes`);
        }
        Bun.sleepSync(1);
      }
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length === 1) throw errors[0];
  if (errors.length > 1) throw new AggregateError(errors, `Cannot remove cgroup ${JSON.stringify(path)}`);
}

/** Whether it did not exist before. */
function makeDirectory(dir: string): boolean {
  try {
    mkdirSync(dir, { mode: 0o755 });
    return true;
  } catch (error) {
    if (isErrno(error, "EEXIST")) return false;
    throw error;
  }
}

/** Whether `dir` is gone now; false while somebody is in it. */
function removeTree(dir: string): boolean {
  // Mostly there is nothing below, and listing a cgroup costs more than removing it.
  if (removeDirectory(dir)) return true;
  for (const group of listTree(dir).reverse()) removeDirectory(group);
  return removeDirectory(dir);
}

function removeDirectory(dir: string): boolean {
  try {
    nodeFs().rmdirSync(dir);
    return true;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return true;
    if (isErrno(error, "EBUSY")) return false;
    throw error;
  }
}
