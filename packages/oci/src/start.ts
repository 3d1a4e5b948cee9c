import { FIFO } from "@bantubox/core/runtime/records";
import { AT, allocate, attempt, BoxError, call, cstr, Fd, O } from "@bantubox/ffi";
import { type Container, findProcess, getContainer, isPaused, openProcess, waitLock } from "./container.ts";
import { explainHeld } from "./explain.ts";
import type { Globals } from "./globals.ts";
import { runPoststart } from "./hooks.ts";
import { openNotify, passOnReady } from "./notify.ts";

/** struct control_message, which a held process writes when it cannot go on; what a hook has printed may follow. */
const REPORT_BYTES = 16;
/** PIPE_BUF: what is written at once is read at once. */
const MOST_BYTES = 4096;

const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;

/** Lets a created container run its command. @throws {BoxError} `not-created`; why the command could not be executed. */
export async function startContainer(globals: Globals, id: string): Promise<void> {
  const container = getContainer(globals, id);
  using notify = await startHeld(globals, container);
  // Others may have the container while it makes itself ready, which it need never be.
  const running = notify && openProcess(container);
  if (notify === undefined || running === undefined) return;
  using until = running.pidfd;
  passOnReady(notify, { until, mainPid: running.pid });
}

/** @returns The socket at which it says that it is ready, if somebody waits for that. */
async function startHeld(globals: Globals, container: Container): Promise<Fd | undefined> {
  // Whoever makes or deletes the container is waited for, and not kept out from the moment that nobody else can start
  // it: what is started takes as long as its hooks do, or as it is frozen.
  using directory = waitLock(container);
  using fifo = takeFifo(container);
  if (directory === undefined) throw hasStopped();
  call("flock", `"${container.directory}"`, directory.raw, LOCK_UN);
  const notify = openNotify(container);
  const pid = findProcess(container)?.pid ?? 0;
  release(fifo);
  // By its own directory: another container may have the name by now.
  const report = readReport(directory);
  attempt("unlinkat", directory.raw, cstr(FIFO), 0);
  if (report !== undefined) throw explainHeld(container, report);
  await runPoststart(globals, container, pid);
  return notify;
}

/** The fifo's other end, for nobody else at the same time. @throws {BoxError} `not-created`, `container-paused` */
function takeFifo(container: Container): Fd {
  if (isPaused(container)) throw new BoxError("container-paused", "cannot start a container in the paused state");
  const fifo = openFifo(container);
  if (attempt("flock", fifo.raw, LOCK_EX | LOCK_NB) === 0) return fifo;
  fifo.close();
  throw isStarted();
}

/** The fifo's other end: it can be opened only while the process waits there. */
function openFifo(container: Container): Fd {
  const path = cstr(`${container.directory}/${FIFO}`);
  const raw = attempt("openat", AT.FDCWD, path, O.WRONLY | O.NONBLOCK | O.CLOEXEC);
  if (raw >= 0) return new Fd(raw);
  throw findProcess(container) === undefined ? hasStopped() : isStarted();
}

function hasStopped(): BoxError {
  return new BoxError("not-created", "cannot start a container that has stopped");
}

function isStarted(): BoxError {
  return new BoxError("not-created", "cannot start an already running container");
}

/** Lets the process go on, and waits until it has closed its end: it has executed its command, or ended. */
function release(fifo: Fd): void {
  call("write", "the container's fifo", fifo.raw, new Uint8Array(new ArrayBuffer(1)), 1);
  // struct pollfd: an end without readers reports POLLERR, which needs no asking for.
  const poll = allocate(8);
  new DataView(poll.buffer).setInt32(0, fifo.raw, true);
  call("ppoll", "the container's fifo", poll, 1, null, null, 0);
}

/** What the process left in the fifo before it ended: tag and errno of the step that failed. */
function readReport(directory: Fd): { tag: number; errno: number; printed: string } | undefined {
  const raw = attempt("openat", directory.raw, cstr(FIFO), O.RDONLY | O.NONBLOCK | O.CLOEXEC);
  // It was deleted meanwhile.
  if (raw < 0) return undefined;
  using fifo = new Fd(raw);
  const bytes = allocate(MOST_BYTES);
  const n = attempt("read", fifo.raw, bytes, bytes.length);
  if (n < REPORT_BYTES) return undefined;
  const view = new DataView(bytes.buffer);
  const printed = new TextDecoder().decode(bytes.subarray(REPORT_BYTES, n)).trim();
  return { tag: view.getUint32(0, true), errno: view.getUint32(12, true), printed };
}
