import { attempt, ERRNO, existsSync, Fd, isErrno, SIGNALS, SysError } from "@bantubox/ffi";
import { listTree, readControl, writeControl } from "./file.ts";
import { freezeCgroup, isHeldFrozen, thawCgroup, thawV1 } from "./freeze.ts";
import type { CgroupHost } from "./hierarchy.ts";
import { groupDirs, pathParts } from "./path.ts";

/** How often a group that cannot be frozen is swept, a millisecond apart, before its processes win. */
const SWEEPS = 500;
/** How many processes are held on to at once. */
const HANDLES = 256;

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
    signalEach(host, path, SIGNALS.KILL);
  }
  thawV1(host, path);
}

/**
 * Sends a signal to every process of the group and of all groups below it, and to no other: none forks away from the
 * list meanwhile where there is a freezer, and each is asked once more whether it belongs there when nothing else can
 * have its number any more. A group that was frozen before stays so.
 */
export function signalCgroup(host: CgroupHost, path: string, signal: number): void {
  if (signal === SIGNALS.KILL) killCgroup(host, path);
  else if (listProcesses(host, path).length > 0) signalEach(host, path, signal);
}

/** Frozen, a group can neither fork away from the list nor give its process ids to strangers. */
function signalEach(host: CgroupHost, path: string, signal: number): void {
  const wasFrozen = isHeldFrozen(host, path);
  try {
    if (!wasFrozen) freezeCgroup(host, path);
  } catch (error) {
    if (!isErrno(error, "cgroup-unavailable", "cgroup-missing", "freeze-timeout")) throw error;
    if (signal === SIGNALS.KILL) sweep(host, path);
    else signalListed(host, path, signal);
    return;
  }
  try {
    signalListed(host, path, signal);
  } finally {
    if (!wasFrozen) thawCgroup(host, path);
  }
}

function sweep(host: CgroupHost, path: string): void {
  for (let round = 0; round < SWEEPS; round++) {
    if (!signalListed(host, path, SIGNALS.KILL)) return;
    Bun.sleepSync(1);
  }
}

/** @returns Whether there was any. */
function signalListed(host: CgroupHost, path: string, signal: number): boolean {
  const pids = listProcesses(host, path);
  for (let at = 0; at < pids.length; at += HANDLES) signalSome(host, path, pids.slice(at, at + HANDLES), signal);
  return pids.length > 0;
}

function signalSome(host: CgroupHost, path: string, pids: readonly number[], signal: number): void {
  using stack = new DisposableStack();
  const handles: [number, Fd][] = [];
  for (const pid of pids) {
    const raw = attempt("pidfd_open", pid, 0);
    if (raw >= 0) handles.push([pid, stack.use(new Fd(raw))]);
    else if (raw !== -ERRNO.ESRCH) throw new SysError("pidfd_open", -raw, `process ${pid}`);
  }
  // Whoever belongs to the group now is who its handle is of: a number's later owner was born elsewhere, or reached, too.
  const members = new Set(listProcesses(host, path));
  for (const [pid, handle] of handles) {
    const result = members.has(pid) ? attempt("pidfd_send_signal", handle.raw, signal, null, 0) : 0;
    if (result < 0 && result !== -ERRNO.ESRCH) throw new SysError("pidfd_send_signal", -result, `process ${pid}`);
  }
}

function unlessGone(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ENODEV", "ESRCH")) throw error;
  }
}
