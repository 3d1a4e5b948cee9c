import { attempt, call, close } from "./call.ts";
import { ERRNO, SysError } from "./errno.ts";
import { AT, O, S_IF } from "./flags.ts";
import { allocate, cstr } from "./memory.ts";

/**
 * What a start needs of the file system, made of system calls: to load node:fs
 * costs a process 1.2 ms, which is a tenth of a whole `bb run`. Names and
 * meanings are node:fs's; errors are SysErrors, whose `code` is the same.
 * For everything else there is `nodeFs()`.
 */
const READ_BYTES = 1 << 16;

/** Who is asked instead when something is read of the host; see recorded.ts. */
export interface Reads {
  /** @param detail What lines must contain to be part of it; all for "". @param real Reads it, undefined where there is no file. */
  text(path: string, detail: string, real: () => string | undefined): string | undefined;
  stat(path: string, real: () => Stat | undefined): Stat | undefined;
}

let reads: Reads | undefined;

/** Has `instead` asked for whatever is read from now on, or nobody. */
export function interceptReads(instead: Reads | undefined): void {
  reads = instead;
}

let buffer: Uint8Array<ArrayBuffer> | undefined;
let decoder: TextDecoder | undefined;

/** node:fs itself, loaded when it is first asked for: not on the way of a start. */
export function nodeFs(): typeof import("node:fs") {
  return process.getBuiltinModule("node:fs");
}

export function existsSync(path: string): boolean {
  if (reads !== undefined) return reads.stat(path, () => realStat(path)) !== undefined;
  return attempt("faccessat", AT.FDCWD, cstr(path), 0) === 0;
}

/** Reads a whole file as UTF-8. @throws {SysError} */
export function readTextSync(path: string): string {
  if (reads !== undefined) {
    const text = reads.text(path, "", () => realText(path));
    if (text === undefined) throw new SysError("openat", ERRNO.ENOENT, `"${path}"`);
    return text;
  }
  const fd = call("openat", `"${path}"`, AT.FDCWD, cstr(path), O.RDONLY | O.CLOEXEC | O.NOCTTY);
  try {
    return readDescriptor(fd, path);
  } finally {
    close(fd);
  }
}

/** As `readTextSync`. @returns Undefined when the file is not there. */
export function readIfThere(path: string): string | undefined {
  return reads === undefined ? realText(path) : reads.text(path, "", () => realText(path));
}

/** The lines of a file that contain `detail`; none where there is no file. */
export function readLinesWith(path: string, detail: string): string {
  const real = (): string => linesWith(realText(path) ?? "", detail);
  return reads === undefined ? real() : (reads.text(path, detail, real) ?? "");
}

function linesWith(text: string, detail: string): string {
  let lines = "";
  for (let at = text.indexOf(detail); at !== -1; ) {
    const next = text.indexOf("\n", at);
    const end = next === -1 ? text.length : next + 1;
    lines += text.slice(text.lastIndexOf("\n", at) + 1, end);
    at = text.indexOf(detail, end);
  }
  return lines;
}

function realText(path: string): string | undefined {
  const fd = attempt("openat", AT.FDCWD, cstr(path), O.RDONLY | O.CLOEXEC | O.NOCTTY);
  if (fd === -ERRNO.ENOENT || fd === -ERRNO.ENOTDIR || fd === -ERRNO.ESRCH) return undefined;
  if (fd < 0) throw new SysError("openat", -fd, `"${path}"`);
  try {
    return readDescriptor(fd, path);
  } catch (error) {
    // A process of /proc may end between the two.
    if (error instanceof SysError && error.errno === ERRNO.ESRCH) return undefined;
    throw error;
  } finally {
    close(fd);
  }
}

/** Reads what `fd` still has, as UTF-8. */
export function readDescriptor(fd: number, name: string): string {
  buffer ??= allocate(READ_BYTES);
  decoder ??= new TextDecoder();
  const first = call("read", `"${name}"`, fd, buffer, READ_BYTES);
  if (first < READ_BYTES) {
    // Files of /proc come in pieces; what is short may still not be the end.
    const more = first === 0 ? 0 : call("read", `"${name}"`, fd, buffer.subarray(first), READ_BYTES - first);
    if (more === 0) return decoder.decode(buffer.subarray(0, first));
    return readOn(fd, name, buffer.slice(0, first + more));
  }
  return readOn(fd, name, buffer.slice(0, first));
}

function readOn(fd: number, name: string, start: Uint8Array): string {
  const chunks = [start];
  for (;;) {
    const chunk = allocate(READ_BYTES);
    const n = call("read", `"${name}"`, fd, chunk, READ_BYTES);
    if (n === 0) return new TextDecoder().decode(Buffer.concat(chunks));
    chunks.push(chunk.subarray(0, n));
  }
}

/** Makes a directory, or with `recursive` all that are missing of its path, where one that exists is fine. */
export function mkdirSync(path: string, { mode = 0o777, recursive = false } = {}): void {
  const result = attempt("mkdirat", AT.FDCWD, cstr(path), mode);
  if (result === 0) return;
  if (recursive) {
    nodeFs().mkdirSync(path, { mode, recursive });
    return;
  }
  throw new SysError("mkdir", -result, `"${path}"`);
}

/** Writes a file that must not exist yet. @throws {SysError} `EEXIST` */
export function writeNewSync(path: string, content: string | Uint8Array, mode: number): void {
  const flags = O.WRONLY | O.CREAT | O.EXCL | O.CLOEXEC;
  const fd = call("openat", `"${path}"`, AT.FDCWD, cstr(path), flags, mode);
  try {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    let at = 0;
    while (at < bytes.length) at += call("write", `"${path}"`, fd, bytes.subarray(at), bytes.length - at);
  } finally {
    close(fd);
  }
}

/** struct statx, as far as it is used here. */
export interface Stat {
  readonly type: number;
  readonly mode: number;
  readonly uid: number;
  readonly size: number;
  /** When its content was changed, in milliseconds since the epoch. */
  readonly mtimeMs: number;
  /** Names a file system; equal for two files on the same one. */
  readonly device: string;
}

/** The file that `path` leads to, or undefined when there is none. @throws {SysError} */
export function statIfThere(path: string): Stat | undefined {
  return reads === undefined ? realStat(path) : reads.stat(path, () => realStat(path));
}

function realStat(path: string): Stat | undefined {
  const result = statInto(AT.FDCWD, path, 0);
  if (typeof result !== "number") return result;
  if (result === -ERRNO.ENOENT || result === -ERRNO.ENOTDIR) return undefined;
  throw new SysError("stat", -result, `"${path}"`);
}

/** The file behind a descriptor. @throws {SysError} */
export function statDescriptor(fd: number): Stat {
  const result = statInto(fd, "", AT.EMPTY_PATH);
  if (typeof result !== "number") return result;
  throw new SysError("fstat", -result);
}

export function isDirectory(stat: Stat | undefined): boolean {
  return stat?.type === S_IF.DIR;
}

function statInto(fd: number, path: string, flags: number): Stat | number {
  const STATX_BASIC_STATS = 0x7ff;
  const memory = allocate(256);
  const result = attempt("statx", fd, cstr(path), flags, STATX_BASIC_STATS, memory);
  if (result < 0) return result;
  const view = new DataView(memory.buffer);
  const mode = view.getUint16(28, true);
  return {
    type: mode & 0o170000,
    mode: mode & 0o7777,
    uid: view.getUint32(20, true),
    size: view.getUint32(40, true) + view.getUint32(44, true) * 0x1_0000_0000,
    mtimeMs: Number(view.getBigInt64(112, true)) * 1000 + Math.floor(view.getUint32(120, true) / 1e6),
    device: `${view.getUint32(136, true)}:${view.getUint32(140, true)}`,
  };
}
