import { AT, addressOf, allocate, attempt, BoxError, ERRNO, O, RESOLVE, S_IF, SysError } from "@bantubox/ffi";

/** Longest path that a system call takes, its final NUL not counted. */
const MAX_PATH = 4095;

export const OPEN_DIRECTORY = O.DIRECTORY | O.CLOEXEC;

/** The bits of st_mode that hold the file's type, <linux/stat.h>. */
const S_IFMT = 0o170000;

// One piece of memory for the arguments of every call here: calls are synchronous, and each Worker has its own.
// The views come before the address is taken.
const FIRST = 0;
const SECOND = MAX_PATH + 1;
const RESULT = 2 * SECOND;
const RESULT_BYTES = 8192;
const memory = allocate(RESULT + RESULT_BYTES);
const bytes = Buffer.from(memory.buffer);
const words = new DataView(memory.buffer);
const address = addressOf(memory);

/** Where `lookUp` and `readLink` leave what they found; good until the next call of either. */
export const found = { mode: 0, uid: 0, gid: 0, inode: 0, device: 0, isWhiteout: false, mtime: 0, mtimeNs: 0 };

/**
 * Puts a byte string where the kernel can read it, and gives its address.
 * The first and the second slot serve calls that take two paths.
 *
 * @throws {BoxError} When the kernel would not take it whole.
 */
export function path(name: string, slot: 0 | 1 = 0): number {
  if (name.length > MAX_PATH) {
    throw new BoxError(
      "layer-invalid",
      `Cannot extract ${quote(name.slice(0, 64))}…: the name has ${name.length} bytes`,
    );
  }
  if (name.includes("\0")) throw new TypeError(`${quote(name)} holds a NUL byte`);
  const at = slot === 0 ? FIRST : SECOND;
  bytes.write(name, at, "latin1");
  bytes[at + name.length] = 0;
  return address + at;
}

/** A byte string as people may read it: in quotes, control characters escaped. */
export function quote(name: string): string {
  return JSON.stringify(Buffer.from(name, "latin1").toString("utf8"));
}

/** @throws {SysError} When `result` is a failure. */
export function check(result: number, syscall: string, name: string): number {
  if (result < 0) throw new SysError(syscall, -result, quote(name));
  return result;
}

const STATX_BASIC_STATS = 0x7ff;

/** Fills `found` with what `name` in `directory` is, without following it. 0 or -errno. */
export function lookUp(directory: number, name: string): number {
  const result = attempt(
    "statx",
    directory,
    path(name),
    AT.SYMLINK_NOFOLLOW | (name === "" ? AT.EMPTY_PATH : 0),
    STATX_BASIC_STATS,
    address + RESULT,
  );
  if (result < 0) return result;
  // struct statx, <linux/stat.h>
  found.uid = words.getUint32(RESULT + 20, true);
  found.gid = words.getUint32(RESULT + 24, true);
  found.mode = words.getUint16(RESULT + 28, true);
  found.inode = words.getUint32(RESULT + 32, true) + words.getUint32(RESULT + 36, true) * 2 ** 32;
  found.mtime = words.getUint32(RESULT + 112, true) + words.getInt32(RESULT + 116, true) * 2 ** 32;
  found.mtimeNs = words.getUint32(RESULT + 120, true);
  const rdev = words.getUint32(RESULT + 128, true) + words.getUint32(RESULT + 132, true);
  found.isWhiteout = (found.mode & S_IFMT) === S_IF.CHR && rdev === 0;
  found.device = words.getUint32(RESULT + 136, true) * 2 ** 20 + words.getUint32(RESULT + 140, true);
  return 0;
}

export function isDirectory(): boolean {
  return (found.mode & S_IFMT) === S_IF.DIR;
}

export function isFile(): boolean {
  return (found.mode & S_IFMT) === S_IF.REG;
}

/** The target of a symlink; a number is -errno, `EINVAL` when `name` is none. */
export function readLink(directory: number, name: string): string | number {
  const length = attempt("readlinkat", directory, path(name), address + RESULT, RESULT_BYTES);
  return length < 0 ? length : bytes.toString("latin1", RESULT, RESULT + length);
}

/** Sets the modification time of `name`, not followed, or of `fd` itself when there is no name; the access time becomes the same. */
export function setMtime(fd: number, name: string | undefined, seconds: number, nanoseconds: number): number {
  // struct timespec[2]
  const high = Math.floor(seconds / 2 ** 32);
  const low = seconds - high * 2 ** 32;
  for (let at = RESULT; at < RESULT + 32; at += 16) {
    words.setUint32(at, low, true);
    words.setInt32(at + 4, high, true);
    words.setUint32(at + 8, nanoseconds, true);
    words.setUint32(at + 12, 0, true);
  }
  if (name === undefined) return attempt("utimensat", fd, null, address + RESULT, 0);
  return attempt("utimensat", fd, path(name), address + RESULT, AT.SYMLINK_NOFOLLOW);
}

export function setXattr(fd: number, name: string, value: string): number {
  const held = Buffer.from(value, "latin1");
  return attempt("fsetxattr", fd, path(name), held, held.length, 0);
}

const OPEN_HOW_BYTES = 24;

/**
 * Opens the directory at `name` with `root` as the world's root, symlinks followed inside it. A descriptor or -errno.
 *
 * @see https://man7.org/linux/man-pages/man2/openat2.2.html
 */
export function openInRoot(root: number, name: string): number {
  // struct open_how
  words.setUint32(RESULT, OPEN_DIRECTORY, true);
  words.setUint32(RESULT + 4, 0, true);
  words.setUint32(RESULT + 8, 0, true);
  words.setUint32(RESULT + 12, 0, true);
  words.setUint32(RESULT + 16, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS, true);
  words.setUint32(RESULT + 20, 0, true);
  let result = 0;
  // EAGAIN: something anywhere was renamed meanwhile, and the kernel cannot vouch for a "..".
  for (let tries = 0; tries < 32; tries++) {
    result = attempt("openat2", root, path(name), address + RESULT, OPEN_HOW_BYTES);
    if (result !== -ERRNO.EAGAIN) break;
  }
  return result;
}

/** Calls `visit` with the names in the directory behind `fd` that one read gives. Whether there were any. */
export function readEntries(fd: number, visit: (name: string) => void): boolean {
  const length = check(attempt("getdents64", fd, address + RESULT, RESULT_BYTES), "getdents64", "");
  // struct linux_dirent64; copied, because what `visit` calls uses the same memory.
  const entries = Buffer.from(bytes.subarray(RESULT, RESULT + length));
  let some = false;
  for (let at = 0; at < length; at += entries.readUInt16LE(at + 16)) {
    const name = entries.toString("latin1", at + 19, entries.indexOf(0, at + 19));
    if (name === "." || name === "..") continue;
    some = true;
    visit(name);
  }
  return some;
}
