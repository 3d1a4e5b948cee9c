import { constants, fstatSync, openSync, statSync } from "node:fs";
import { attempt, ERRNO, Fd, isErrno, SysError } from "@bantubox/ffi";
import { sleep } from "../registry/http.ts";

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;

const POLL_MS = 50;

/**
 * Opens and locks a file, unless someone else holds it. The kernel lets go of it with the descriptor,
 * so a process that dies holds nothing.
 *
 * @param flags As of open(2); the file is made when `O_CREAT` is among them.
 * @returns undefined while it is held elsewhere.
 */
export function tryLock(
  path: string,
  mode: "shared" | "exclusive",
  flags = constants.O_RDWR | constants.O_CREAT,
): Fd | undefined {
  for (;;) {
    using fd = new Fd(openSync(path, flags | constants.O_NOFOLLOW, 0o600));
    const result = attempt("flock", fd.raw, (mode === "shared" ? LOCK_SH : LOCK_EX) | LOCK_NB);
    if (result === -ERRNO.EAGAIN) return undefined;
    if (result < 0) throw new SysError("flock", -result, JSON.stringify(path));
    // Whoever held it may have renamed or deleted it: then this lock guards nothing.
    if (isStillAt(fd.raw, path)) return new Fd(fd.take());
  }
}

/** As `tryLock`, but waits: without a limit, since whoever holds it makes progress or dies. */
export async function lock(
  path: string,
  mode: "shared" | "exclusive",
  { signal, flags }: { signal?: AbortSignal | undefined; flags?: number } = {},
): Promise<Fd> {
  for (;;) {
    signal?.throwIfAborted();
    const fd = tryLock(path, mode, flags);
    if (fd !== undefined) return fd;
    await sleep(POLL_MS, signal);
  }
}

/** Turns an exclusive lock into a shared one. */
export function shareLock(fd: Fd): void {
  const result = attempt("flock", fd.raw, LOCK_SH);
  if (result < 0) throw new SysError("flock", -result);
}

function isStillAt(fd: number, path: string): boolean {
  try {
    const held = fstatSync(fd);
    const there = statSync(path);
    return held.ino === there.ino && held.dev === there.dev;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return false;
    throw error;
  }
}
