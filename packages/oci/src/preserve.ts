import { attempt, BoxError } from "@bantubox/ffi";

const F_SETFD = 2;
/** Above all that Bun has open when it starts. */
const FREE_FD = 97;

export interface Preserved {
  /** How many descriptors from 3 on the container inherits. */
  readonly count: number;
  /** A number that is free. */
  readonly next: number;
  /** What tells the command of the sockets that systemd passed on. */
  readonly environment: readonly string[];
}

/**
 * Lets descriptors of the caller pass through this process: those that systemd's
 * LISTEN_FDS names, then `count` more. Bun closes them at execve otherwise.
 *
 * @throws {BoxError} `bad-fd` when one is not open.
 */
export function preserve(count: number): Preserved {
  const listening = listenFds();
  const all = listening + count;
  for (let fd = 3; fd < 3 + all; fd++) {
    if (attempt("fcntl", fd, F_SETFD, 0) >= 0) continue;
    throw new BoxError("bad-fd", `Cannot preserve the descriptor ${fd} (of ${all}): it is not open`);
  }
  return {
    count: all,
    next: Math.max(FREE_FD, 3 + all),
    environment: listening === 0 ? [] : [`LISTEN_FDS=${listening}`, "LISTEN_PID=1"],
  };
}

/** sd_listen_fds(3): they are ours only when LISTEN_PID says so. */
function listenFds(): number {
  const { LISTEN_FDS, LISTEN_PID } = process.env;
  if (!LISTEN_FDS || Number(LISTEN_PID) !== process.pid) return 0;
  const count = Number(LISTEN_FDS);
  return Number.isSafeInteger(count) && count > 0 ? count : 0;
}
