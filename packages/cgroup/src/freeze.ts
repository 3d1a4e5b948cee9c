import { BoxError, existsSync, isErrno } from "@bantubox/ffi";
import { listTree } from "./file.ts";
import type { CgroupHost } from "./hierarchy.ts";
import { groupDir } from "./path.ts";
import { isAskedToFreeze as isAskedV1, isFrozen as isFrozenV1, setFrozen as setFrozenV1 } from "./v1/freezer.ts";
import { isAskedToFreeze as isAskedV2, isFrozen as isFrozenV2, setFrozen as setFrozenV2 } from "./v2/freezer.ts";

/** A process in the middle of an uninterruptible call freezes at its end; most take microseconds. */
const DEADLINE_MS = 5000;

/**
 * Stops every process of the group and of all groups below it, and returns when they have stopped.
 *
 * @throws {BoxError} `cgroup-unavailable` without a freezer, `cgroup-missing`; `freeze-timeout` when some
 * process does not stop: then all run again.
 */
export function freezeCgroup(host: CgroupHost, path: string): void {
  const freezer = findFreezer(host, path);
  const deadline = performance.now() + DEADLINE_MS;
  for (;;) {
    // Asked for each time: v1 stays at FREEZING when it met a process that was just being made.
    freezer.set(true);
    for (let wait = 0; wait < 10; wait++) {
      if (freezer.isFrozen()) return;
      Bun.sleepSync(1);
    }
    if (performance.now() > deadline) {
      freezer.set(false);
      throw new BoxError("freeze-timeout", `Cannot freeze cgroup "${path}": a process in it does not stop`);
    }
  }
}

/** Lets a frozen group run again, whichever freezer holds it. A group that runs, or is gone, is fine. */
export function thawCgroup(host: CgroupHost, path: string): void {
  for (const freezer of findFreezers(host, path)) {
    try {
      freezer.set(false);
    } catch (error) {
      if (!isErrno(error, "ENOENT", "ENODEV")) throw error;
    }
  }
}

/** Whether every process of the group stands still. */
export function isFrozen(host: CgroupHost, path: string): boolean {
  return findFreezers(host, path).some((freezer) => freezer.isFrozen());
}

/** Whether somebody has frozen the group, or a group above it, and has not let it go on since. */
export function isHeldFrozen(host: CgroupHost, path: string): boolean {
  return findFreezers(host, path).some((freezer) => freezer.isAsked() || freezer.isFrozen());
}

/** The files that say whether the group is frozen: v1's freezer.state (not `THAWED`), v2's cgroup.events (`frozen 1`). */
export function freezerFiles(host: CgroupHost, path: string): string[] {
  const v1 = groupDir(host, "freezer", path);
  const files = v1 === undefined ? [] : [`${v1}/freezer.state`];
  if (host.unified !== undefined) files.push(`${host.unified}/${path}/cgroup.events`);
  return files;
}

/** Lets everything in v1's freezer run, also what somebody else has frozen there: SIGKILL waits until then. */
export function thawV1(host: CgroupHost, path: string): void {
  const dir = groupDir(host, "freezer", path);
  if (dir === undefined) return;
  for (const group of listTree(dir)) {
    try {
      setFrozenV1(group, false);
    } catch (error) {
      if (!isErrno(error, "ENOENT", "ENODEV")) throw error;
    }
  }
}

interface Freezer {
  set(frozen: boolean): void;
  isFrozen(): boolean;
  isAsked(): boolean;
}

/** The freezers that a group has: on a hybrid host one of each hierarchy, and either may hold its processes. */
function findFreezers(host: CgroupHost, path: string): Freezer[] {
  const freezers: Freezer[] = [];
  const v2 = host.unified === undefined ? undefined : `${host.unified}/${path}`;
  if (v2 !== undefined && existsSync(`${v2}/cgroup.freeze`)) {
    freezers.push({
      set: (frozen) => setFrozenV2(v2, frozen),
      isFrozen: () => isFrozenV2(v2),
      isAsked: () => isAskedV2(v2),
    });
  }
  const v1 = groupDir(host, "freezer", path);
  if (v1 !== undefined && existsSync(v1)) {
    freezers.push({
      set: (frozen) => setFrozenV1(v1, frozen),
      isFrozen: () => isFrozenV1(v1),
      isAsked: () => isAskedV1(v1),
    });
  }
  return freezers;
}

/** v2's (Linux 5.2) is preferred, because a process that it has frozen can be killed. */
function findFreezer(host: CgroupHost, path: string): Freezer {
  const [preferred] = findFreezers(host, path);
  if (preferred !== undefined) return preferred;
  const v2 = host.unified === undefined ? undefined : `${host.unified}/${path}`;
  if (groupDir(host, "freezer", path) === undefined && (v2 === undefined || existsSync(v2))) {
    throw new BoxError("cgroup-unavailable", `Cannot freeze cgroup "${path}": this host has no cgroup freezer`);
  }
  throw new BoxError("cgroup-missing", `Cannot freeze cgroup "${path}": it does not exist`);
}
