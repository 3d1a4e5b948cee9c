import { attempt, call, close } from "./call.ts";
import { ERRNO, SysError } from "./errno.ts";
import { AT, O } from "./flags.ts";
import { allocate, cstr } from "./memory.ts";

const REMOVEDIR = 0x200;
const ENTRIES_BYTES = 32 * 1024;
/** How far down descriptors are kept open. */
const DEPTH = 32;

let lifted = 0;

/**
 * Removes a tree that a container may have filled: by descriptors, following nothing, and in time that grows with what
 * is in it only. How deep it is was the container's choice (node:fs's `rmSync` goes down from the top for each
 * directory, which takes hours for a hundred thousand of them): what lies deeper than some levels is moved up first, as
 * the trampoline does it, too (c/remove.c).
 *
 * @param path It may be gone already, and need not be a directory.
 * @throws {SysError}
 */
export function removeTree(path: string): void {
  const name = cstr(path);
  if (removeEntry(AT.FDCWD, name)) return;
  const top = openDirectory(AT.FDCWD, name);
  if (top === undefined) return;
  try {
    empty(top, 0, top);
  } finally {
    close(top);
  }
  const result = attempt("unlinkat", AT.FDCWD, name, REMOVEDIR);
  if (result < 0 && result !== -ERRNO.ENOENT) throw new SysError("rmdir", -result, `"${path}"`);
}

/** Again from the beginning until there is nothing: somebody may still be moving things about. */
function empty(directory: number, depth: number, top: number): void {
  for (;;) {
    call("lseek", undefined, directory, 0, 0);
    const names = readSome(directory);
    if (names.length === 0) return;
    for (const name of names) {
      if (removeEntry(directory, name)) continue;
      if (depth === DEPTH) {
        lift(directory, name, top);
        continue;
      }
      const below = openDirectory(directory, name);
      if (below === undefined) continue;
      try {
        empty(below, depth + 1, top);
      } finally {
        close(below);
      }
      attempt("unlinkat", directory, name, REMOVEDIR);
    }
  }
}

/** @returns False for a directory that is not empty. */
function removeEntry(directory: number, name: Uint8Array): boolean {
  const result = attempt("unlinkat", directory, name, 0);
  if (result === 0 || result === -ERRNO.ENOENT) return true;
  if (result === -ERRNO.EISDIR || result === -ERRNO.EPERM) {
    const again = attempt("unlinkat", directory, name, REMOVEDIR);
    if (again === 0 || again === -ERRNO.ENOENT) return true;
    if (again === -ERRNO.ENOTEMPTY || again === -ERRNO.EEXIST) return false;
    if (again !== -ERRNO.ENOTDIR) throw failed("rmdir", again, name);
  }
  throw failed("unlinkat", result, name);
}

/** Undefined when something else has its place by now. */
function openDirectory(parent: number, name: Uint8Array): number | undefined {
  const fd = attempt("openat", parent, name, O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC);
  if (fd >= 0) return fd;
  if (fd === -ERRNO.ENOENT || fd === -ERRNO.ENOTDIR || fd === -ERRNO.ELOOP) return undefined;
  throw failed("openat", fd, name);
}

/** Moves a directory up to where the removal began, under a name that is free there. */
function lift(from: number, name: Uint8Array, top: number): void {
  for (;;) {
    const result = attempt("renameat2", from, name, top, cstr(`.lifted-${lifted++}`), 0);
    if (result === 0 || result === -ERRNO.ENOENT) return;
    if (result !== -ERRNO.EEXIST && result !== -ERRNO.ENOTEMPTY && result !== -ERRNO.ENOTDIR)
      throw failed("renameat2", result, name);
  }
}

/** Names in a directory, each with its zero byte: as many as one call tells. */
function readSome(directory: number): Uint8Array[] {
  const buffer = allocate(ENTRIES_BYTES);
  const view = new DataView(buffer.buffer);
  const names: Uint8Array[] = [];
  while (names.length === 0) {
    const length = call("getdents64", undefined, directory, buffer, buffer.length);
    if (length === 0) break;
    for (let at = 0; at < length; at += view.getUint16(at + 16, true)) {
      const name = buffer.subarray(at + 19, buffer.indexOf(0, at + 19));
      const isDot = name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e));
      if (!isDot) names.push(cstr(name));
    }
  }
  return names;
}

function failed(syscall: string, result: number, name: Uint8Array): SysError {
  return new SysError(syscall, -result, JSON.stringify(new TextDecoder().decode(name.subarray(0, -1))));
}
