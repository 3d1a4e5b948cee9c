import { attempt, BoxError, call, ERRNO, Fd } from "@bantubox/ffi";
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
  throw new BoxError("container-not-running", `Cannot ${verb} "${container.name}": it is not running`, {
    hint: `Start it with "bb start ${container.name}"`,
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
  // struct pollfd, then a struct timespec of zero: waiting in the call would stop the event loop.
  const poll = new DataView(new ArrayBuffer(24));
  const memory = new Uint8Array(poll.buffer);
  const now = memory.subarray(8);
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, 20)) {
    poll.setInt32(0, pidfd.raw, true);
    poll.setInt16(4, POLLIN, true);
    now.fill(0);
    if (call("ppoll", "the container's process", memory, 1, now, null, 0) > 0) return true;
    if (performance.now() >= deadline) return false;
    await Bun.sleep(pauseMs);
  }
}
