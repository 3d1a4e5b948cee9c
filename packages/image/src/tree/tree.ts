import { addressOf, allocate, attempt, BoxError, call, cstr, ERRNO, Fd, O, RLIMIT, SysError } from "@bantubox/ffi";

const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_NO_AUTOMOUNT = 0x800;
const AT_REMOVEDIR = 0x200;
const STATX_FLAGS = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT;
/** STATX_BASIC_STATS | STATX_MNT_ID, <linux/stat.h> */
const STATX_WANTED = 0x07ff | 0x1000;

/** File types within `mode`, <linux/stat.h>. */
export const S = {
  FMT: 0xf000,
  SOCK: 0xc000,
  LNK: 0xa000,
  REG: 0x8000,
  BLK: 0x6000,
  DIR: 0x4000,
  CHR: 0x2000,
  FIFO: 0x1000,
} as const;

export interface Stat {
  /** Type and permissions. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  readonly size: number;
  /** Bytes that are really there; less than `size` for a file with holes. */
  readonly stored: number;
  readonly mtime: number;
  readonly mtimeNs: number;
  /** When anything of it was changed last; nobody can set that. */
  readonly ctime: number;
  readonly ctimeNs: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  /** The same for all names of one file, and for no other. */
  readonly identity: string;
  /** The mount that it was reached through; 0 before Linux 5.8. */
  readonly mount: number;
}

const ITSELF = cstr("");
const statBuffer = allocate(256);
const statView = new DataView(statBuffer.buffer);

/** `name` below the directory `fd`, never through a link. @param name As `cstr` makes it; empty for `fd` itself. */
export function statAt(fd: number, name: Uint8Array, subject: string): Stat {
  call("statx", subject, fd, name, STATX_FLAGS, STATX_WANTED, statBuffer);
  return decodeStat();
}

/** As `statAt`; undefined when there is nothing of that name. */
export function statIfThereAt(fd: number, name: Uint8Array): Stat | undefined {
  const result = attempt("statx", fd, name, STATX_FLAGS, STATX_WANTED, statBuffer);
  if (result === -ERRNO.ENOENT) return undefined;
  if (result < 0) throw new SysError("statx", -result, display(name));
  return decodeStat();
}

function decodeStat(): Stat {
  const u32 = (at: number) => statView.getUint32(at, true);
  const u64 = (at: number) => u32(at + 4) * 2 ** 32 + u32(at);
  return {
    links: u32(16),
    uid: u32(20),
    gid: u32(24),
    mode: statView.getUint16(28, true),
    size: u64(40),
    stored: u64(48) * 512,
    mtime: statView.getInt32(116, true) * 2 ** 32 + u32(112),
    mtimeNs: u32(120),
    ctime: statView.getInt32(100, true) * 2 ** 32 + u32(96),
    ctimeNs: u32(104),
    rdevMajor: u32(128),
    rdevMinor: u32(132),
    identity: `${u32(136)}:${u32(140)}:${u32(36)}:${u32(32)}`,
    mount: u64(144),
  };
}

/**
 * Opens a directory, of an absolute path or below another one without following a link.
 *
 * @throws {BoxError} `too-deep` when a walk has more of them open, one below the other, than this process may.
 */
export function openDirectory(parent: number | undefined, name: Uint8Array, subject: string): Fd {
  const flags = O.RDONLY | O.CLOEXEC | O.DIRECTORY | (parent === undefined ? 0 : O.NOFOLLOW);
  let raw = attempt("openat", parent ?? AT_FDCWD, name, flags);
  if (raw === -ERRNO.EMFILE && raiseFiles()) raw = attempt("openat", parent ?? AT_FDCWD, name, flags);
  if (raw === -ERRNO.EMFILE) throw tooDeep();
  if (raw < 0) throw new SysError("openat", -raw, subject);
  return new Fd(raw);
}

/** The kernel takes no longer paths: what has one can be walked to, but no program could make it from its name. */
export const PATH_MAX = 4095;

export function pathTooLong(verb: string, path: Uint8Array): BoxError {
  const message = `Cannot ${verb} ${display(path.subarray(0, 64))}…: its path is too long`;
  return new BoxError("path-too-long", message, {
    hint: `The kernel takes paths of ${PATH_MAX} bytes. Remove what is so deep, or move it up`,
  });
}

/** No tree that fits on a disk in a bearable time is as deep. */
const MANY_FILES = 1 << 20;

/** Root on most hosts may have more files open than it is given. @returns Whether it may now. */
function raiseFiles(): boolean {
  const limit = new BigUint64Array(new ArrayBuffer(16)).fill(BigInt(MANY_FILES));
  return filesLimit() < MANY_FILES && attempt("prlimit64", 0, RLIMIT.NOFILE, limit, null) >= 0;
}

function filesLimit(): number {
  const limit = new BigUint64Array(new ArrayBuffer(16));
  attempt("prlimit64", 0, RLIMIT.NOFILE, null, limit);
  return Number(limit[0]);
}

function tooDeep(): BoxError {
  const message = `Cannot walk through the files: directories are nested more deeply than the limit of ${filesLimit()} open files allows`;
  return new BoxError("too-deep", message, { hint: "Raise the limit (ulimit -Hn), or remove what is so deep" });
}

/** Opens a file for reading. A device or FIFO that has taken its place blocks nobody. */
export function openFile(parent: number, name: Uint8Array, subject: string): Fd {
  const flags = O.RDONLY | O.CLOEXEC | O.NONBLOCK | O.NOFOLLOW;
  return new Fd(call("openat", subject, parent, name, flags));
}

/**
 * Opens a file for reading if it is a regular one, in a tree where somebody else may put another thing in its place at
 * any moment: to open a device is an act in itself.
 */
export function openRegular(
  parent: number,
  name: Uint8Array,
  subject: string,
): (Disposable & { fd: number; stat: Stat }) | undefined {
  using held = new Fd(call("openat", subject, parent, name, O.PATH | O.NOFOLLOW | O.CLOEXEC));
  const stat = statAt(held.raw, ITSELF, subject);
  if ((stat.mode & S.FMT) !== S.REG) return undefined;
  const again = cstr(`/proc/self/fd/${held.raw}`);
  const file = new Fd(call("openat", subject, AT_FDCWD, again, O.RDONLY | O.CLOEXEC));
  return { fd: file.raw, stat, [Symbol.dispose]: () => file.close() };
}

/** What a directory holds, for as long as it takes to copy its names. */
const entries = allocate(32 * 1024);
const entriesView = new DataView(entries.buffer);

/** Names in a directory as bytes, sorted by them: the same on every file system. Each ends in a zero byte. */
export function readNames(fd: number, subject: string): Uint8Array[] {
  const names: Uint8Array[] = [];
  for (;;) {
    const length = call("getdents64", subject, fd, entries, entries.length);
    if (length === 0) break;
    for (let at = 0; at < length; at += entriesView.getUint16(at + 16, true)) {
      const name = entries.subarray(at + 19, entries.indexOf(0, at + 19));
      const isDot = name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e));
      if (!isDot) names.push(cstr(name));
    }
  }
  return names.sort(Buffer.compare);
}

/** What a link leads to, for as long as it takes to copy it. */
const target = allocate(4096);

export function readLink(fd: number, name: Uint8Array, subject: string): Uint8Array {
  const length = call("readlinkat", subject, fd, name, target, target.length);
  return target.slice(0, length);
}

export interface Xattr {
  readonly name: string;
  readonly value: Uint8Array;
}

/**
 * Extended attributes that belong into an image: capabilities of programs, and people's own. Those of the
 * host's security modules, ACLs and of overlay itself stay behind. By `/proc/self/fd`, since there is no `lgetxattrat`.
 */
export function readXattrs(parent: number, name: Uint8Array): Xattr[] {
  return imageXattrs(BY_PATH, pathBelow(parent, name), name);
}

/** As `readXattrs`, of a file that is open for reading. */
export function readOwnXattrs(fd: number, name: Uint8Array): Xattr[] {
  return imageXattrs(BY_DESCRIPTOR, fd, name);
}

const BY_PATH = { list: "llistxattr", get: "lgetxattr" } as const;
const BY_DESCRIPTOR = { list: "flistxattr", get: "fgetxattr" } as const;

function imageXattrs(
  calls: typeof BY_PATH | typeof BY_DESCRIPTOR,
  target: Uint8Array | number,
  name: Uint8Array,
): Xattr[] {
  const length = attempt(calls.list, target, 0, 0);
  // Most files have none, and some file systems know none.
  if (length <= 0) {
    if (length === 0 || length === -ERRNO.EOPNOTSUPP || length === -ERRNO.ENOENT) return [];
    throw new SysError(calls.list, -length, display(name));
  }
  const list = allocate(length + 1024);
  const got = call(calls.list, display(name), target, list, list.length);
  const xattrs: Xattr[] = [];
  for (const key of Buffer.from(list.buffer, 0, got).toString().split("\0").sort()) {
    if (!isImageXattr(key)) continue;
    const value = allocate(65536);
    const size = call(calls.get, `${key} of ${display(name)}`, target, cstr(key), value, value.length);
    xattrs.push({ name: key, value: value.slice(0, size) });
  }
  return xattrs;
}

/** Whether an attribute belongs into an image. */
export function isImageXattr(name: string): boolean {
  return name === "security.capability" || /^user\.(?!overlay\.)/.test(name);
}

export function writeXattr(parent: number, name: Uint8Array, { name: key, value }: Xattr): void {
  call("lsetxattr", `${key} of ${display(name)}`, pathBelow(parent, name), cstr(key), value, value.length, 0);
}

export function removeXattr(parent: number, name: Uint8Array, { name: key }: Xattr): void {
  call("lremovexattr", `${key} of ${display(name)}`, pathBelow(parent, name), cstr(key));
}

/** Whether a directory of a layer hides what the layers below have in it. */
export function isOpaque(parent: number, name: Uint8Array): boolean {
  const value = allocate(1);
  const length = attempt("lgetxattr", pathBelow(parent, name), cstr("trusted.overlay.opaque"), value, 1);
  return length === 1 && value[0] === 0x79;
}

/** Removes what is called `name` with all that is in it; links are not followed. It may be gone already. */
export function removeBelow(parent: number, name: Uint8Array): void {
  const result = attempt("unlinkat", parent, name, 0);
  if (result === 0 || result === -ERRNO.ENOENT) return;
  if (result !== -ERRNO.EISDIR) throw new SysError("unlinkat", -result, display(name));
  {
    using directory = openDirectory(parent, name, display(name));
    for (const child of readNames(directory.raw, display(name))) removeBelow(directory.raw, child);
  }
  call("unlinkat", display(name), parent, name, AT_REMOVEDIR);
}

/** As `writeXattr`, for the open file itself. */
export function writeOwnXattr(fd: number, { name: key, value }: Xattr): void {
  call("fsetxattr", key, fd, cstr(key), value, value.length, 0);
}

/** A name's bytes for a message. */
export function display(name: Uint8Array): string {
  return JSON.stringify(Buffer.from(name.at(-1) === 0 ? name.subarray(0, -1) : name).toString());
}

/** `name` below the directory `parent`, for calls that take no descriptor. */
export function pathBelow(parent: number, name: Uint8Array): Uint8Array {
  const prefix = `/proc/self/fd/${parent}/`;
  const path = allocate(prefix.length + name.length);
  path.set(Buffer.from(prefix));
  path.set(name, prefix.length);
  return path;
}

const times = allocate(32);
const timesView = new DataView(times.buffer);

/** Sets the time of change, of a link itself, too, and without a name of `parent`; the time of access becomes the same. */
export function writeMtime(
  parent: number,
  name: Uint8Array | undefined,
  { mtime, mtimeNs }: Pick<Stat, "mtime" | "mtimeNs">,
): void {
  for (const at of [0, 16]) {
    timesView.setUint32(at, mtime >>> 0, true);
    timesView.setInt32(at + 4, Math.floor(mtime / 2 ** 32), true);
    timesView.setUint32(at + 8, mtimeNs, true);
  }
  if (name === undefined) call("utimensat", undefined, parent, null, times, 0);
  else call("utimensat", display(name), parent, name, times, AT_SYMLINK_NOFOLLOW);
}

/** Makes a file that must not exist yet, for writing. */
export function createFile(parent: number, name: Uint8Array): Fd {
  const flags = O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW | O.CLOEXEC;
  return new Fd(call("openat", display(name), parent, name, flags, 0o600));
}

/** Reads on into `memory` from `at`; 0 at the end. */
export function readInto(fd: number, memory: Uint8Array, at: number, length: number): number {
  return call("read", undefined, fd, addressOf(memory) + at, length);
}

/** Reads and writes go on from `offset`. */
export function seek(fd: number, offset: number, subject: string): void {
  call("lseek", subject, fd, offset, 0);
}
