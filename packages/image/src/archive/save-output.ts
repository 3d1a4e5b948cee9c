import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { setImmediate } from "node:timers/promises";
import { AT, attempt, BoxError, call, cstr, ERRNO, isErrno, SysError } from "@bantubox/ffi";
import { quote } from "../document/digest.ts";

/** The kernel copies so much at once: short enough for Ctrl-C, long enough not to count. */
const SPAN = 16 << 20;
const CHUNK = 1 << 20;
/** <asm-generic/fcntl.h>; node:fs has no name for it. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;
/** <linux/fcntl.h> */
const AT_SYMLINK_FOLLOW = 0x400;

/** A file that takes its name when it is complete, or standard output. */
export interface Output extends Disposable {
  readonly fd: number;
  /** Makes it what `path` names. Without this call nothing is left of it. */
  commit(): void;
}

/** An output that is open already, and not ours to close. */
export function outputTo(fd: number): Output {
  return { fd, commit() {}, [Symbol.dispose]() {} };
}

/**
 * Opens a file that is to replace what `path` names, once it is complete; a device or a FIFO is written to directly.
 *
 * @throws {BoxError} `file-unwritable`
 */
export function openOutput(path: string): Output {
  try {
    const target = followed(path);
    if (isSpecial(target)) return direct(openSync(target, constants.O_WRONLY | constants.O_NOCTTY));
    return nameless(target) ?? named(target);
  } catch (cause) {
    if (!isErrno(cause, "ENOENT", "EACCES", "EPERM", "EISDIR", "ENOTDIR", "EROFS", "ENOSPC", "ELOOP")) throw cause;
    throw new BoxError("file-unwritable", `Cannot write ${quote(path)}: ${cause.code}`, { cause });
  }
}

function direct(fd: number): Output {
  return { fd, commit() {}, [Symbol.dispose]: () => closeSync(fd) };
}

/** A file without a name: even a process that is killed leaves nothing of it. */
function nameless(target: string): Output | undefined {
  let fd: number;
  try {
    fd = openSync(dirname(target), constants.O_WRONLY | O_TMPFILE, 0o600);
  } catch (error) {
    // The file system, or the kernel, does not know it.
    if (isErrno(error, "EOPNOTSUPP", "EISDIR", "EINVAL")) return undefined;
    throw error;
  }
  const aside = asideOf(target);
  return {
    fd,
    commit() {
      const from = `/proc/self/fd/${fd}`;
      call("linkat", aside, AT.FDCWD, cstr(from), AT.FDCWD, cstr(aside), AT_SYMLINK_FOLLOW);
      renameSync(aside, target);
    },
    [Symbol.dispose]: () => closeSync(fd),
  };
}

function named(target: string): Output {
  const aside = asideOf(target);
  const fd = openSync(aside, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
  return {
    fd,
    commit: () => renameSync(aside, target),
    [Symbol.dispose]() {
      closeSync(fd);
      rmSync(aside, { force: true });
    },
  };
}

/** What a link leads to is replaced, not the link. */
function followed(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
    const target = resolve(path);
    return join(realpathSync(dirname(target)), basename(target));
  }
}

/** @throws `EISDIR` */
function isSpecial(path: string): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isDirectory() === true) throw new SysError("open", ERRNO.EISDIR, quote(path));
  return stat !== undefined && !stat.isFile();
}

function asideOf(target: string): string {
  return join(dirname(target), `.${basename(target).slice(0, 200)}.${crypto.randomUUID().slice(0, 8)}`);
}

/** Writes all of it, waiting for a reader that is slower. @throws `EPIPE` when nobody reads any more. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      if (!isErrno(error, "EAGAIN")) throw error;
      Bun.sleepSync(2);
    }
  }
}

export interface Copying {
  readonly signal?: AbortSignal | undefined;
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/**
 * Appends a whole file to another, within the kernel where it can.
 *
 * @returns How many bytes it had.
 */
export async function copyFile(path: string, to: number, { signal, onBytes }: Copying = {}): Promise<number> {
  const from = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { size } = fstatSync(from);
    let copied = 0;
    let way: Way = "copy_file_range";
    while (copied < size) {
      signal?.throwIfAborted();
      const count: number | Way = copySome(way, from, to, size - copied);
      if (typeof count === "string") way = count;
      else if (count === 0) break;
      else copied += count;
      onBytes?.(copied);
      await setImmediate();
    }
    return copied;
  } finally {
    closeSync(from);
  }
}

type Way = "copy_file_range" | "sendfile" | "write";

/** Copies at most a span from where `from` stands. @returns How much, or which way to go from now on. */
function copySome(way: Way, from: number, to: number, left: number): number | Way {
  if (way === "write") {
    const chunk = Buffer.allocUnsafe(Math.min(left, CHUNK));
    const count = readSync(from, chunk, 0, chunk.length, null);
    writeAll(to, chunk.subarray(0, count));
    return count;
  }
  const result =
    way === "copy_file_range"
      ? attempt(way, from, null, to, null, Math.min(left, SPAN), 0)
      : attempt(way, to, from, null, Math.min(left, SPAN));
  if (result >= 0) return result;
  if (result === -ERRNO.EAGAIN) {
    Bun.sleepSync(2);
    return way;
  }
  // What is really wrong, such as a full disk, the last way says in words.
  return way === "copy_file_range" ? "sendfile" : "write";
}
