import { detectCgroups, isFrozen, killCgroup, thawCgroup } from "@bantubox/cgroup";
import { BoxError, SIGNALS } from "@bantubox/ffi";
import { parseSignal } from "../create/signals.ts";
import { type Container, getContainer } from "../state/container.ts";
import { cgroupPath, type Engine } from "../state/engine.ts";
import { LOCK_TIMEOUT_MS, waitLock } from "../state/lock.ts";
import { getProcess, openProcess, sendSignal, waitProcess } from "../state/process.ts";

/** A killed process that has not ended by now hangs in the kernel. */
const KILL_TIMEOUT_MS = 10_000;
/** Bun's timers turn anything longer into an instant; and nobody waits a month. */
const MAX_TIMEOUT_SEC = 2_000_000;

export interface StopOptions {
  /** How long the process may take to end by itself; -1: for ever. */
  readonly timeoutSec?: number | undefined;
  readonly signal?: string | undefined;
}

/**
 * Asks the container to end, and kills it when it does not. One that has ended is no failure.
 *
 * @returns Its ID.
 * @throws {BoxError} `stuck` when even SIGKILL did not end it.
 */
export async function stopContainer(
  engine: Engine,
  idOrName: string,
  { timeoutSec, signal }: StopOptions = {},
): Promise<string> {
  const container = getContainer(engine, idOrName);
  const { launch } = container;
  const running = openProcess(engine, container);
  if (running !== undefined) {
    using pidfd = running.pidfd;
    thaw(container.id);
    sendSignal(pidfd, parseSignal(signal ?? launch.stopSignal));
    const seconds = timeoutSec ?? launch.stopTimeoutSec;
    const timeoutMs = seconds < 0 ? Number.POSITIVE_INFINITY : Math.min(seconds, MAX_TIMEOUT_SEC) * 1000;
    if (!(await waitProcess(pidfd, timeoutMs))) {
      sendSignal(pidfd, SIGNALS.KILL);
      if (!(await waitProcess(pidfd, KILL_TIMEOUT_MS))) throw stuck("stop", container.name);
    }
  }
  const lock = await waitLock(engine, container.id, LOCK_TIMEOUT_MS);
  lock?.close();
  return container.id;
}

/** Sends a signal to the container's first process. @returns Its ID. */
export async function killContainer(engine: Engine, idOrName: string, signal = "KILL"): Promise<string> {
  const container = getContainer(engine, idOrName);
  const number = parseSignal(signal);
  using pidfd = getProcess(engine, container, "kill").pidfd;
  sendSignal(pidfd, number);
  if (number === SIGNALS.KILL) {
    thaw(container.id);
    if (!(await waitProcess(pidfd, KILL_TIMEOUT_MS))) throw stuck("kill", container.name);
    const lock = await waitLock(engine, container.id, LOCK_TIMEOUT_MS);
    lock?.close();
  }
  return container.id;
}

/** Ends everything of the container at once, for `rm -f`. */
export async function killEverything(engine: Engine, container: Container): Promise<void> {
  const running = openProcess(engine, container);
  if (running === undefined) return;
  using pidfd = running.pidfd;
  sendSignal(pidfd, SIGNALS.KILL);
  killCgroup(detectCgroups(), cgroupPath(container.id));
  if (!(await waitProcess(pidfd, KILL_TIMEOUT_MS))) throw stuck("remove", container.name);
}

/** A frozen process gets its signals only when it is thawed. */
function thaw(id: string): void {
  const host = detectCgroups();
  if (isFrozen(host, cgroupPath(id))) thawCgroup(host, cgroupPath(id));
}

function stuck(verb: string, name: string): BoxError {
  return new BoxError("stuck", `Cannot ${verb} "${name}": its process does not end, not even by SIGKILL`, {
    hint: "It waits for the kernel, mostly for a disk or a network file system; try again when that answers",
  });
}
