import { existsSync, isErrno } from "@bantubox/ffi";
import { listTree, readControl, writeControl } from "./file.ts";
import { freezeCgroup, thawCgroup, thawV1 } from "./freeze.ts";
import type { CgroupHost } from "./hierarchy.ts";
import { groupDirs, pathParts } from "./path.ts";

/** How often a group that cannot be frozen is swept, a millisecond apart, before its processes win. */
const SWEEPS = 500;

/** Process ids, ascending, of the group and of all groups below it; none when it does not exist. */
export function listProcesses(host: CgroupHost, path: string): number[] {
  pathParts(path);
  const pids = new Set<number>();
  // Each hierarchy is asked: an engine killed half-way may have left a process joined to some only.
  for (const top of groupDirs(host, path)) {
    for (const dir of listTree(top)) {
      for (const line of (readControl(`${dir}/cgroup.procs`) ?? "").split("\n")) {
        const pid = Number(line);
        // 0 stands for a process outside our PID namespace; to kill(2) it would be ourselves.
        if (pid > 0) pids.add(pid);
      }
    }
  }
  return [...pids].sort((a, b) => a - b);
}

/**
 * Sends SIGKILL to every process of the group and of all groups below it, frozen ones
 * too. Returns at once: they are gone when `listProcesses` is empty.
 */
export function killCgroup(host: CgroupHost, path: string): void {
  pathParts(path);
  const kill = host.unified === undefined ? undefined : `${host.unified}/${path}/cgroup.kill`;
  if (kill !== undefined && existsSync(kill)) {
    // Linux 5.14. Plans join v2 first, so whoever is in the group at all is reached.
    unlessGone(() => writeControl({ path: kill, value: "1" }));
  } else if (listProcesses(host, path).length > 0) {
    killEach(host, path);
  }
  thawV1(host, path);
}

/** Frozen, a group can neither fork away from the list nor give its process ids to strangers. */
function killEach(host: CgroupHost, path: string): void {
  try {
    freezeCgroup(host, path);
  } catch (error) {
    if (!isErrno(error, "cgroup-unavailable", "cgroup-missing", "freeze-timeout")) throw error;
    sweep(host, path);
    return;
  }
  try {
    for (const pid of listProcesses(host, path)) sendKill(pid);
  } finally {
    thawCgroup(host, path);
  }
}

function sweep(host: CgroupHost, path: string): void {
  for (let round = 0; round < SWEEPS; round++) {
    const pids = listProcesses(host, path);
    if (pids.length === 0) return;
    for (const pid of pids) sendKill(pid);
    Bun.sleepSync(1);
  }
}

function sendKill(pid: number): void {
  unlessGone(() => process.kill(pid, "SIGKILL"));
}

function unlessGone(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ENODEV", "ESRCH")) throw error;
  }
}
