import { allocate, attempt, BoxError, call, ERRNO, Fd } from "@bantubox/ffi";
import { isAlive } from "../../runtime/process-stat.ts";
import type { Container } from "./container.ts";
import type { Engine } from "./engine.ts";
import { readStatus } from "./status.ts";

const POLLIN = 1;

/**
 * A handle on the container's first process that stays its own: a pid may be
 * somebody else's by the time it is used, and this is checked after the handle is taken.
 *
 * @returns Undefined when the container does not run.
 */
export function openProcess(engine: Engine, container: Container): { pidfd: Fd; pid: number } | undefined {
  const status = readStatus(engine, container);
  if (status.state !== "running") return undefined;
  const raw = attempt("pidfd_open", status.pid, 0);
  if (raw === -ERRNO.ESRCH) return undefined;
  if (raw < 0) call("pidfd_open", `${status.pid}`, status.pid, 0);
  const pidfd = new Fd(raw);
  if (isAlive(status.pid, status.startTicks)) return { pidfd, pid: status.pid };
  pidfd.close();
  return undefined;
}

/** As `openProcess`. @throws {BoxError} `container-not-running` */
export function getProcess(engine: Engine, container: Container, verb: string): { pidfd: Fd; pid: number } {
  const found = openProcess(engine, container);
  if (found !== undefined) return found;
  throw notRunning(container, verb);
}

/** What is wrong with a container that has no process. */
export function notRunning({ name }: Container, verb: string): BoxError {
  return new BoxError("container-not-running", `Cannot ${verb} "${name}": it is not running`, {
    hint: `Start it with "bb start ${name}"`,
  });
}

/** Sends a signal. @returns Whether the process was still there to get it. */
export function sendSignal(pidfd: Fd, signal: number): boolean {
  const result = attempt("pidfd_send_signal", pidfd.raw, signal, null, 0);
  if (result === -ERRNO.ESRCH) return false;
  if (result < 0) call("pidfd_send_signal", `signal ${signal}`, pidfd.raw, signal, null, 0);
  return true;
}

/** Waits for the process to end. @returns Whether it did, within `timeoutMs`. */
export async function waitProcess(pidfd: Fd, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  // Waiting in the call would stop the event loop.
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, 20)) {
    if (hasEnded(pidfd)) return true;
    if (performance.now() >= deadline) return false;
    await Bun.sleep(pauseMs);
  }
}

/** Whether the process has ended. */
export function hasEnded(pidfd: Fd): boolean {
  // struct pollfd, then a struct timespec of zero.
  const memory = allocate(24);
  const view = new DataView(memory.buffer);
  view.setInt32(0, pidfd.raw, true);
  view.setInt16(4, POLLIN, true);
  return call("ppoll", "the container's process", memory, 1, memory.subarray(8), null, 0) > 0;
}
