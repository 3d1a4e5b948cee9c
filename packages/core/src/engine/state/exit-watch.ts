import { allocate, attempt, call, ERRNO, Fd, isErrno, O } from "@bantubox/ffi";
import { RECORD } from "../../runtime/records.ts";
import { openDirectory } from "../create/image-root.ts";
import { type Engine, runDirectory } from "./engine.ts";
import { exitCodeOf } from "./status.ts";

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const MSG_DONTWAIT = 0x40;
/** One message of ffi/c/session.h at most. */
const MESSAGE_BYTES = 32768;
const EXITED = "X".charCodeAt(0);
const QUIET = new TextEncoder().encode("q");

const message = allocate(MESSAGE_BYTES);

/**
 * Connects to the monitor of a container as one more client, which wants to hear of the end only.
 *
 * @returns Undefined when there is no monitor (any more).
 */
export function watchEnd(engine: Engine, id: string): Fd | undefined {
  const path = runDirectory(engine, id);
  try {
    // By a relative name of fixed length: the whole path may be longer than a socket's address holds.
    using directory = openDirectory(path);
    const socket = new Fd(call("socket", "of the monitor", AF_UNIX, SOCK_SEQPACKET | O.CLOEXEC, 0));
    const address = new TextEncoder().encode(`\u0001\u0000/proc/self/fd/${directory.raw}/${RECORD.attach}\u0000`);
    const connected = attempt("connect", socket.raw, address, address.length) === 0;
    if (connected && attempt("sendto", socket.raw, QUIET, QUIET.length, MSG_DONTWAIT, null, 0) === 1) return socket;
    socket.close();
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
  }
  return undefined;
}

/** What the monitor has told: the exit status, "lost" when it tells nothing more, undefined when nothing yet. */
export function readEnd(socket: Fd): number | "lost" | undefined {
  for (;;) {
    const n = attempt("recvfrom", socket.raw, message, MESSAGE_BYTES, MSG_DONTWAIT, null, null);
    if (n === -ERRNO.EAGAIN) return undefined;
    if (n <= 0) return "lost";
    if (message[0] !== EXITED || n < 5) continue;
    return exitCodeOf(new DataView(message.buffer).getUint32(1, true));
  }
}
