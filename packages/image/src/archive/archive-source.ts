import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { attempt, BoxError, cstr, ERRNO, Fd, isErrno, O, RESOLVE } from "@bantubox/ffi";
import { type Digest, quote } from "../document/digest.ts";
import type { TarEntry } from "../tar/tar.ts";
import { archiveInvalid, cleanName, linkTarget } from "./archive-names.ts";

const CHUNK = 1 << 20;
/** More files than archives of hundreds of images have. */
const FILES_MAX = 100_000;
/** Docker's own links lead to a file at once. */
const LINKS_MAX = 8;

/** One file of an archive or a layout. */
export interface ArchiveFile {
  readonly size: number;
  /** Where its bytes begin in what `open` gives. */
  readonly start: number;
  open(): Opened;
  /** It is a file by itself, which may become a blob: where it lies, and what it hashes to. */
  readonly own?: { readonly path: string; readonly digest: Digest } | undefined;
}

/** A descriptor for reading; closed by whoever asked for it, if it is to be closed at all. */
export interface Opened extends Disposable {
  readonly fd: number;
}

/** The files of an archive or a layout, by their names in it. */
export interface ArchiveSource extends AsyncDisposable {
  /** @returns undefined when there is no such file. @throws {BoxError} `archive-invalid` for what is no plain file. */
  find(name: string): ArchiveFile | undefined;
}

/** Names of files and links, as a tar is read. Later ones replace earlier ones, but documents are said once. */
export class ArchiveNames {
  readonly #files = new Map<string, ArchiveFile>();
  readonly #links = new Map<string, string>();

  /** @returns The name that the entry is to be kept under; undefined for what no image consists of. */
  nameOf(entry: TarEntry): string | undefined {
    const name = cleanName(entry.name);
    if (name === undefined || name === "") return undefined;
    if (this.#files.size + this.#links.size >= FILES_MAX) throw archiveInvalid(`it has more than ${FILES_MAX} files`);
    if (entry.type === "symlink" || entry.type === "hardlink") {
      const target = entry.type === "symlink" ? linkTarget(name, entry.linkname) : cleanName(entry.linkname);
      this.#forget(name);
      if (target !== undefined) this.#links.set(name, target);
      return undefined;
    }
    if (entry.type !== "file" || entry.isSparse) return undefined;
    return name;
  }

  set(name: string, file: ArchiveFile): void {
    this.#forget(name);
    this.#files.set(name, file);
  }

  find(name: string): ArchiveFile | undefined {
    let at = name;
    for (let links = 0; links <= LINKS_MAX; links++) {
      const target = this.#links.get(at);
      if (target === undefined) return this.#files.get(at);
      at = target;
    }
    throw archiveInvalid(`its links run in a circle at ${quote(name)}`);
  }

  /** Two programs that read another one of two indexes would load different images. */
  #forget(name: string): void {
    if (DOCUMENTS.has(name) && (this.#files.has(name) || this.#links.has(name))) {
      throw archiveInvalid(`it has ${quote(name)} twice`);
    }
    this.#files.delete(name);
    this.#links.delete(name);
  }
}

const DOCUMENTS = new Set(["index.json", "oci-layout", "manifest.json", "repositories"]);

/** A file's bytes. One buffer is used for all: a chunk is good until the next is asked for. */
export async function* readBytes({ size, start, open }: ArchiveFile): AsyncGenerator<Uint8Array> {
  using opened = open();
  const buffer = Buffer.allocUnsafe(Math.min(CHUNK, Math.max(size, 1)));
  for (let at = 0; at < size; ) {
    const bytes = buffer.subarray(0, Math.min(buffer.length, size - at));
    readWhole(opened.fd, bytes, start + at);
    at += bytes.length;
    yield bytes;
  }
}

/** The first bytes of a file, as many as there are. */
export function readHead({ size, start, open }: ArchiveFile, length: number): Uint8Array {
  using opened = open();
  return readWhole(opened.fd, Buffer.alloc(Math.min(length, size)), start);
}

function readWhole(fd: number, bytes: Uint8Array, start: number): Uint8Array {
  for (let at = 0; at < bytes.length; ) {
    const count = readSync(fd, bytes, at, bytes.length - at, start + at);
    if (count === 0) throw archiveInvalid("it became shorter meanwhile");
    at += count;
  }
  return bytes;
}

/** An OCI layout in a directory: nothing is reached through a link, and nothing outside. @throws {BoxError} `archive-unreadable` */
export function openLayout(directory: string): ArchiveSource {
  const root = openForReading(directory, constants.O_DIRECTORY);
  return {
    find(name) {
      const size = sizeBelow(root, name);
      return size === undefined ? undefined : { size, start: 0, open: () => openFileBelow(root, name) };
    },
    async [Symbol.asyncDispose]() {
      closeSync(root);
    },
  };
}

/** Opens what the user has named. @throws {BoxError} `archive-unreadable` */
export function openForReading(path: string, flags = 0): number {
  try {
    return openSync(path, constants.O_RDONLY | flags);
  } catch (cause) {
    if (!isErrno(cause, "ENOENT", "ENOTDIR", "EACCES", "ELOOP", "ENXIO")) throw cause;
    throw new BoxError("archive-unreadable", `Cannot read ${quote(path)}: ${cause.code}`, { cause });
  }
}

function sizeBelow(root: number, name: string): number | undefined {
  using fd = openBelow(root, name);
  return fd === undefined ? undefined : fstatSync(fd.raw).size;
}

function openFileBelow(root: number, name: string): Opened {
  const fd = openBelow(root, name);
  if (fd === undefined) throw archiveInvalid(`its ${quote(name)} is gone`);
  return { fd: fd.raw, [Symbol.dispose]: () => fd.close() };
}

function openBelow(root: number, name: string): Fd | undefined {
  // struct open_how, <linux/openat2.h>
  const how = new BigUint64Array([
    BigInt(O.RDONLY | O.CLOEXEC | O.NONBLOCK | O.NOFOLLOW),
    0n,
    BigInt(RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS | RESOLVE.NO_MAGICLINKS),
  ]);
  const result = attempt("openat2", root, cstr(name), how, how.byteLength);
  if (result === -ERRNO.ENOENT || result === -ERRNO.ENOTDIR) return undefined;
  if (result < 0) throw archiveInvalid(`its ${quote(name)} is a link, or cannot be opened`);
  const fd = new Fd(result);
  if (fstatSync(fd.raw).isFile()) return fd;
  fd.close();
  throw archiveInvalid(`its ${quote(name)} is no plain file`);
}
