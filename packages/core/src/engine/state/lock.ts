import { AT, attempt, BoxError, cstr, ERRNO, existsSync, Fd, mkdirSync, O, SysError } from "@bantubox/ffi";
import { containerDirectory, type Engine } from "./engine.ts";

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
/** How often a new directory is made, a millisecond apart, until its lock is ours. */
const LOCK_TRIES = 200;

/**
 * Takes a container's lock, which says that somebody is responsible for it:
 * the command that makes, starts or removes it, and then its monitor, which
 * inherits the descriptor and keeps it until it has cleared up. The kernel
 * frees it when the holder dies, however it dies.
 *
 * @returns Undefined when somebody else has it, or the container has no directory (any more).
 */
export function tryLock(engine: Engine, id: string): Fd | undefined {
  return tryLockDirectory(containerDirectory(engine, id));
}

/** As `tryLock`, for a directory that may have another name by now. */
export function tryLockDirectory(path: string, kind = LOCK_EX): Fd | undefined {
  const raw = attempt("openat", AT.FDCWD, cstr(path), O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC);
  if (raw < 0) return undefined;
  const fd = new Fd(raw);
  const result = attempt("flock", fd.raw, kind | LOCK_NB);
  if (result === 0) return fd;
  fd.close();
  if (result === -ERRNO.EAGAIN) return undefined;
  throw new SysError("flock", -result, `"${path}"`);
}

/** Whether somebody is responsible for the container. Shared: others may look at the same time, and do not count. */
export function isLocked(engine: Engine, id: string): boolean {
  using lock = tryLockDirectory(containerDirectory(engine, id), LOCK_SH);
  return lock === undefined && existsSync(containerDirectory(engine, id));
}

/**
 * Makes a container's directory and takes its lock. Another command's sweep may
 * meet the new directory in between, take it for left over and remove it.
 *
 * @throws {BoxError} `store-busy`
 */
export function makeLocked(engine: Engine, id: string): Fd {
  const path = containerDirectory(engine, id);
  for (let tries = 0; tries < LOCK_TRIES; tries++) {
    if (!existsSync(path)) mkdirSync(path, { mode: 0o700 });
    const lock = tryLock(engine, id);
    if (lock !== undefined && existsSync(path)) return lock;
    lock?.close();
    if (tries > 1) Bun.sleepSync(1);
  }
  throw new BoxError("store-busy", `Cannot lock the new container ${id.slice(0, 12)}: another command has it`);
}

/** For others that have a container, such as a monitor that clears up; as long as for the database. */
export const LOCK_TIMEOUT_MS = 60_000;

/**
 * Waits until nobody is responsible for the container any more.
 *
 * @returns The lock, or undefined when the container's directory is gone, or after `timeoutMs`.
 */
export async function waitLock(engine: Engine, id: string, timeoutMs: number): Promise<Fd | undefined> {
  const deadline = performance.now() + timeoutMs;
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, 50)) {
    const lock = tryLock(engine, id);
    if (lock !== undefined) return lock;
    if (performance.now() > deadline || !existsSync(containerDirectory(engine, id))) return undefined;
    await Bun.sleep(pauseMs);
  }
}
