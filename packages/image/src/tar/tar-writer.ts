import { allocate, cstr } from "@bantubox/ffi";
import {
  display,
  openFile,
  openRegular,
  PATH_MAX,
  pathTooLong,
  readInto,
  readLink,
  readOwnXattrs,
  readXattrs,
  S,
  type Stat,
  seek,
} from "../tree/tree.ts";
import { type Extent, sparseMap } from "./sparse.ts";
import { tarHeader } from "./tar-entry.ts";

const BLOCK = 512;
const CHUNK = 1 << 20;

const ITSELF = cstr("");
const HERE = cstr(".");
const WHITEOUT = { mode: S.REG, uid: 0, gid: 0, size: 0, mtime: 0, rdevMajor: 0, rdevMinor: 0 };

/** One thing of a tree, and what it shall be called in the archive. */
export interface Archived {
  /** Directory that it lies in, and its name there as `cstr` makes it; empty for the directory itself. */
  readonly parent: number;
  readonly name: Uint8Array;
  readonly stat: Stat;
  readonly path: Buffer;
}

export interface TarWriterOptions {
  /** Nobody changes what is archived: what was looked at is what is opened. */
  readonly isStill?: boolean;
  /** All chunks are in the same memory: each is good until the next is asked for. */
  readonly reuses?: boolean;
}

/**
 * Writes a tar stream in chunks of a megabyte, the same bytes each time for the same things in the same order: times
 * in whole seconds, owners by number, pax records only for what a plain header cannot hold. Each method gives the
 * chunks that it has filled.
 */
export class TarWriter {
  readonly #linked = new Map<string, Buffer>();
  readonly #isStill: boolean;
  readonly #reuses: boolean;
  #chunk = allocate(CHUNK);
  #filled = 0;

  constructor({ isStill = false, reuses = false }: TarWriterOptions = {}) {
    this.#isStill = isStill;
    this.#reuses = reuses;
  }

  /**
   * Adds a thing with its content; sockets are left out. A file is as long as it was when it was looked at: one that
   * grows meanwhile is cut, one that shrinks is filled with zeros. One that is gone is not added.
   *
   * @throws {BoxError} `path-too-long`
   */
  *add({ parent, name, stat, path }: Archived): Generator<Uint8Array> {
    if (path.length > PATH_MAX) throw pathTooLong("archive", path);
    const type = stat.mode & S.FMT;
    if (type === S.SOCK) return;
    if (type === S.DIR) {
      const slashed = path.length === 0 ? Buffer.from("./") : Buffer.concat([path, Buffer.from("/")]);
      const xattrs = readXattrs(parent, name.length === 1 ? HERE : name);
      yield* this.#put(tarHeader({ path: slashed, stat, xattrs }));
      return;
    }
    const first = stat.links > 1 ? this.#linked.get(stat.identity) : undefined;
    if (first !== undefined) {
      yield* this.#put(tarHeader({ path, stat, hardLink: first }));
      return;
    }
    if (type === S.REG) {
      yield* this.#file({ parent, name, stat, path });
      return;
    }
    if (stat.links > 1) this.#linked.set(stat.identity, path);
    const symlink = type === S.LNK ? Buffer.from(readLink(parent, name, display(name))) : undefined;
    yield* this.#put(tarHeader({ path, stat, symlink, xattrs: readXattrs(parent, name) }));
  }

  /** Adds the mark that a layer hides `name` of the layers below; of everything in the directory when there is no name. */
  *hide(directory: Buffer, name: Uint8Array | undefined): Generator<Uint8Array> {
    const path = Buffer.concat([
      directory,
      Buffer.from(name === undefined ? ".wh..wh..opq" : ".wh."),
      name ?? ITSELF.subarray(1),
    ]);
    yield* this.#put(tarHeader({ path, stat: WHITEOUT }));
  }

  /** Ends the archive. */
  *end(): Generator<Uint8Array> {
    yield* this.#put(new Uint8Array(2 * BLOCK));
    if (this.#filled > 0) yield this.#flush();
  }

  *#file(archived: Archived): Generator<Uint8Array> {
    const { name, path } = archived;
    const subject = display(path);
    using file = this.#open(archived, subject);
    // Something else has its place by now: as if it had been removed before.
    if (file === undefined) return;
    const { fd, stat } = file;
    const xattrs = readOwnXattrs(fd, name);
    if (stat.links > 1) this.#linked.set(stat.identity, path);
    const map = sparseMap(fd, stat.size, subject);
    if (map === undefined) {
      yield* this.#put(tarHeader({ path, stat, xattrs }));
      yield* this.#contents(fd, stat.size);
      yield* this.#pad(stat.size);
      return;
    }
    const text = mapText(map, stat.size);
    const bytes = map.reduce((sum, { length }) => sum + length, text.length);
    yield* this.#put(tarHeader({ path, stat, xattrs, sparseBytes: bytes }));
    yield* this.#put(text);
    for (const { offset, length } of map) {
      seek(fd, offset, subject);
      yield* this.#contents(fd, length);
    }
    yield* this.#pad(bytes);
  }

  #open({ parent, name, stat }: Archived, subject: string): ReturnType<typeof openRegular> {
    if (!this.#isStill) return openRegular(parent, name, subject);
    const file = openFile(parent, name, subject);
    return { fd: file.raw, stat, [Symbol.dispose]: () => file.close() };
  }

  *#contents(fd: number, length: number): Generator<Uint8Array> {
    for (let left = length; left > 0; ) {
      const room = Math.min(left, CHUNK - this.#filled);
      const count = readInto(fd, this.#chunk, this.#filled, room);
      if (count === 0) this.#chunk.fill(0, this.#filled, this.#filled + room);
      this.#filled += count === 0 ? room : count;
      left -= count === 0 ? room : count;
      if (this.#filled === CHUNK) yield this.#flush();
    }
  }

  *#pad(length: number): Generator<Uint8Array> {
    yield* this.#put(new Uint8Array((BLOCK - (length % BLOCK)) % BLOCK));
  }

  *#put(bytes: Uint8Array): Generator<Uint8Array> {
    for (let at = 0; at < bytes.length; ) {
      const count = Math.min(bytes.length - at, CHUNK - this.#filled);
      this.#chunk.set(bytes.subarray(at, at + count), this.#filled);
      this.#filled += count;
      at += count;
      if (this.#filled === CHUNK) yield this.#flush();
    }
  }

  #flush(): Uint8Array {
    const full = this.#chunk.subarray(0, this.#filled);
    if (!this.#reuses) this.#chunk = allocate(CHUNK);
    this.#filled = 0;
    return full;
  }
}

/** The map of GNU's format 1.0, filled up to a whole block; its last entry says where the file ends. */
function mapText(map: readonly Extent[], size: number): Buffer {
  const last = map.at(-1);
  const isOpen = last === undefined || last.offset + last.length < size;
  const entries = isOpen ? [...map, { offset: size, length: 0 }] : map;
  const text = Buffer.from(`${entries.length}\n${entries.map((e) => `${e.offset}\n${e.length}\n`).join("")}`);
  return Buffer.concat([text, Buffer.alloc((BLOCK - (text.length % BLOCK)) % BLOCK)]);
}
