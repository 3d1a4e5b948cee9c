import { killCgroup, removeCgroup, stopScope } from "@bantubox/cgroup";
import { FIFO, RECORD } from "@bantubox/core/runtime/records";
import { AT, attempt, BoxError, cstr, type Fd, nodeFs, SIGNALS } from "@bantubox/ffi";
import { cgroupHost } from "./cgroup-host.ts";
import { type Container, isHeld, isLocked, isPaused, openProcess, STATE_FILES, waitLock } from "./container.ts";
import type { Globals } from "./globals.ts";
import { type HookSource, readHooks, runHooksOf } from "./hooks.ts";
import { log } from "./log.ts";
import { waitEnd } from "./wait-end.ts";

/** How long a killed process may take to end: one with much memory takes a while. */
const END_MS = 10_000;

/**
 * Removes what is there of a container, however little: its processes when they were only held or
 * `force` says so, its groups, its directory; then poststop's hooks are run.
 *
 * @throws {BoxError} `not-stopped`
 */
export async function removeContainer(globals: Globals, container: Container, force: boolean): Promise<void> {
  if (force) endRun(container);
  using lock = waitLock(container);
  // Another delete was quicker.
  if (lock === undefined) return;
  const process = openProcess(container);
  if (process !== undefined) {
    using pidfd = process.pidfd;
    const status = isPaused(container) ? "paused" : "running";
    // The command of one that is held was never there.
    if (!force && (status === "paused" || !isHeld(container))) {
      throw new BoxError("not-stopped", `cannot delete container ${container.id} that is not stopped: ${status}`);
    }
    killProcess(container, pidfd);
  }
  const { saved } = container;
  if (saved !== undefined) {
    // Without a PID namespace of its own nobody took the others along.
    if (!saved.ownsPids) killCgroup(cgroupHost(), saved.cgroup);
    // It removes what is its own when the last has left; a group that it does not see vanish is a unit that stays.
    if (saved.unit !== undefined) stopUnit(globals, saved.unit);
    removeCgroup(cgroupHost(), saved.cgroup);
  }
  const hooks = readHooks(container, "poststop");
  removeDirectory(container);
  await runPoststop(globals, hooks);
}

/** Who runs a container in front has its lock until that ends. One that is still made, or held, is left to its lock's holder. */
function endRun(container: Container): void {
  if (!isLocked(container) || isHeld(container)) return;
  using pidfd = openProcess(container)?.pidfd;
  if (pidfd !== undefined) killProcess(container, pidfd);
}

/** What is left of a container goes also where systemd does not answer. */
function stopUnit(globals: Globals, unit: string): void {
  try {
    stopScope(unit);
  } catch (error) {
    if (!(error instanceof BoxError)) throw error;
    log(globals, "warning", error.message);
  }
}

async function runPoststop(globals: Globals, hooks: HookSource | undefined): Promise<void> {
  if (hooks !== undefined) await runHooksOf(globals, hooks, { status: "stopped", pid: 0 });
}

/** A frozen process of v1 dies when it thaws. */
function killProcess({ saved }: Container, pidfd: Fd): void {
  attempt("pidfd_send_signal", pidfd.raw, SIGNALS.KILL, null, 0);
  if (waitEnd(pidfd, 100)) return;
  if (saved !== undefined) killCgroup(cgroupHost(), saved.cgroup);
  if (!waitEnd(pidfd, END_MS)) {
    throw new BoxError(
      "not-stopped",
      "Cannot delete the container: its first process does not end although it was killed",
    );
  }
}

function removeDirectory({ directory }: Container): void {
  for (const name of [FIFO, RECORD.pid, ...STATE_FILES]) attempt("unlinkat", AT.FDCWD, cstr(`${directory}/${name}`), 0);
  attempt("unlinkat", AT.FDCWD, cstr(`${directory}/rootfs`), AT.REMOVEDIR);
  // What a killed create has left there besides is rare, and node:fs costs a millisecond.
  if (attempt("unlinkat", AT.FDCWD, cstr(directory), AT.REMOVEDIR) < 0) {
    nodeFs().rmSync(directory, { recursive: true, force: true });
  }
}
