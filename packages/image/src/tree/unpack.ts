import { fchmodSync, fchownSync, ftruncateSync, writeSync } from "node:fs";
import { AT, attempt, BoxError, call, close, cstr, ERRNO, O, RESOLVE, S_IF, SysError } from "@bantubox/ffi";
import { components } from "../layer/extract-directories.ts";
import { decompress } from "../layer/layer-stream.ts";
import { type TarEntry, TarReader, type TarSink } from "../tar/tar.ts";
import { chmodPlace, clearWay, createFile, type Place } from "../transfer/transfer.ts";
import { makeDevice } from "./copy.ts";
import { isDirectory } from "./merged.ts";
import { openBelow } from "./resolve.ts";
import { display, isImageXattr, statAt, statIfThereAt, writeMtime, writeOwnXattr } from "./tree.ts";

const ITSELF = cstr("");
const INSIDE = RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS;
/** Directories wait for their times and modes until nothing more is put into them; so many at most. */
const PENDING_MAX = 50_000;

/** A directory that was made here, and what it shall be. */
interface Pending {
  readonly entry: TarEntry;
  readonly identity: string;
}

/**
 * Makes what a tar stream holds below a directory of a tree that somebody else may be changing: names stay below the
 * directory, links lead where they lead for who lives in `root`, and nowhere else. Directories that are there stay what
 * they are; anything else gives way. gzip and zstd are recognised.
 *
 * @param root A descriptor of the root that links are followed in.
 * @param directory The path of a directory below it.
 * @returns Bytes of all files.
 * @throws {BoxError} `tar-corrupt`, `layer-corrupt`, `copy-type`, `archive-invalid`
 */
export async function unpack(
  root: number,
  directory: Buffer,
  stream: AsyncIterable<Uint8Array>,
  onProgress?: (bytes: number) => void,
): Promise<number> {
  using unpacker = new Unpacker(root, directory);
  const reader = new TarReader(unpacker);
  for await (const chunk of decompress(stream)) {
    reader.push(chunk);
    onProgress?.(unpacker.bytes);
  }
  reader.finish("required");
  unpacker.settle();
  return unpacker.bytes;
}

class Unpacker implements TarSink, Disposable {
  bytes = 0;
  readonly #root: number;
  readonly #directory: Buffer;
  readonly #pending = new Map<string, Pending>();
  /** The parent of the entry before. */
  #parent: { readonly path: string; readonly fd: number } | undefined;
  #file = -1;
  #entry: TarEntry | undefined;

  constructor(root: number, directory: Buffer) {
    this.#root = root;
    this.#directory = directory;
  }

  begin(entry: TarEntry): void {
    this.#entry = undefined;
    const parts = components(entry.name);
    const leaf = parts.pop();
    // The directory itself stays what it is.
    if (leaf === undefined) return;
    const path = parts.join("/");
    const place = { parent: this.#open(path), name: nameOf(leaf) };
    switch (entry.type) {
      case "directory":
        this.#makeDirectory(place, path === "" ? leaf : `${path}/${leaf}`, entry);
        return;
      case "file":
        this.#file = createFile(place);
        this.#entry = entry;
        return;
      case "hardlink":
        this.#link(place, entry);
        return;
      case "unsupported":
        throw invalid(entry, `entries of type ${JSON.stringify(entry.letter)} are unknown`);
      default:
        this.#makeSpecial(place, entry);
    }
  }

  data(chunk: Buffer, start: number, stop: number, position: number): void {
    if (this.#file < 0) return;
    for (let at = start; at < stop; ) at += writeSync(this.#file, chunk, at, stop - at, position + at - start);
    this.bytes += stop - start;
  }

  end(): void {
    const entry = this.#entry;
    if (this.#file < 0 || entry === undefined) return;
    const fd = this.#file;
    if (entry.isSparse) ftruncateSync(fd, entry.size);
    settleOpen(fd, entry);
    this.#file = -1;
    close(fd);
  }

  /** Gives the directories that were made their times and modes, unless something else has their place by now. */
  settle(): void {
    for (const [path, { entry, identity }] of [...this.#pending].toReversed()) {
      const fd = this.#tryOpen(path);
      if (fd < 0) continue;
      if (statAt(fd, ITSELF, display(nameOf(path))).identity === identity) settleOpen(fd, entry);
      close(fd);
    }
    this.#pending.clear();
  }

  [Symbol.dispose](): void {
    if (this.#file >= 0) close(this.#file);
    if (this.#parent !== undefined) close(this.#parent.fd);
    this.#file = -1;
    this.#parent = undefined;
  }

  /** The directory at `path` below the one that is filled; made where it is missing. */
  #open(path: string): number {
    if (this.#parent?.path === path) return this.#parent.fd;
    let fd = this.#tryOpen(path);
    if (fd === -ERRNO.ENOENT && path !== "") {
      const slash = path.lastIndexOf("/");
      const above = this.#open(slash < 0 ? "" : path.slice(0, slash));
      const made = attempt("mkdirat", above, nameOf(path.slice(slash + 1)), 0o755);
      if (made < 0 && made !== -ERRNO.EEXIST) throw new SysError("mkdirat", -made, shown(path));
      fd = this.#tryOpen(path);
    }
    if (fd < 0) throw new SysError("open", -fd, shown(path));
    if (this.#parent !== undefined) close(this.#parent.fd);
    this.#parent = { path, fd };
    return fd;
  }

  #tryOpen(path: string): number {
    const whole = Buffer.concat([this.#directory, Buffer.from("/"), Buffer.from(path, "latin1")]);
    return openBelow(this.#root, whole, O.RDONLY | O.DIRECTORY, INSIDE);
  }

  #makeDirectory(place: Place, path: string, entry: TarEntry): void {
    const made = attempt("mkdirat", place.parent, place.name, 0o700);
    if (made === -ERRNO.EEXIST) {
      // A link to a directory will do: /var/run is one.
      const fd = this.#tryOpen(path);
      if (fd >= 0) {
        close(fd);
        return;
      }
      throw new BoxError("copy-type", `Cannot replace ${shown(path)}: a directory cannot take the place of a file`);
    }
    if (made < 0) throw new SysError("mkdirat", -made, shown(path));
    this.#pending.set(path, { entry, identity: statAt(place.parent, place.name, shown(path)).identity });
    if (this.#pending.size >= PENDING_MAX) this.settle();
  }

  #link(place: Place, entry: TarEntry): void {
    const parts = components(entry.linkname);
    const leaf = parts.pop();
    const from = leaf === undefined ? -ERRNO.ENOENT : this.#tryOpen(parts.join("/"));
    if (leaf === undefined || from < 0) throw invalid(entry, "the file that it is another name of is not there");
    try {
      const name = nameOf(leaf);
      const source = statIfThereAt(from, name);
      if (source === undefined || isDirectory(source))
        throw invalid(entry, "the file that it is another name of is not there");
      if (statIfThereAt(place.parent, place.name)?.identity === source.identity) return;
      clearWay(place);
      call("linkat", display(place.name), from, name, place.parent, place.name, 0);
    } finally {
      close(from);
    }
  }

  #makeSpecial(place: Place, entry: TarEntry): void {
    const { devMajor: rdevMajor, devMinor: rdevMinor } = entry;
    if (rdevMajor < 0 || rdevMajor > 0xfff || rdevMinor < 0 || rdevMinor > 0xfffff)
      throw invalid(entry, `Linux has no device ${rdevMajor}:${rdevMinor}`);
    const type = entry.type === "char" ? S_IF.CHR : entry.type === "block" ? S_IF.BLK : S_IF.FIFO;
    clearWay(place);
    if (entry.type === "symlink")
      call("symlinkat", display(place.name), nameOf(entry.linkname), place.parent, place.name);
    else {
      const device = entry.type === "fifo" ? 0 : makeDevice({ rdevMajor, rdevMinor });
      call("mknodat", display(place.name), place.parent, place.name, type | 0o600, device);
    }
    const { uid, gid } = checkOwner(entry);
    call("fchownat", display(place.name), place.parent, place.name, uid, gid, AT.SYMLINK_NOFOLLOW);
    if (entry.type !== "symlink") chmodPlace(place, type, entry.mode & 0o7777);
    writeMtime(place.parent, place.name, entry);
  }
}

/** Ownership before the mode, since chown(2) takes setuid away; capabilities after it, for the same reason; times last. */
function settleOpen(fd: number, entry: TarEntry): void {
  const { uid, gid } = checkOwner(entry);
  fchownSync(fd, uid, gid);
  fchmodSync(fd, entry.mode & 0o7777);
  for (const [name, value] of entry.xattrs ?? []) {
    if (isImageXattr(name)) writeOwnXattr(fd, { name, value: Buffer.from(value, "latin1") });
  }
  writeMtime(fd, undefined, entry);
}

/** 2^32 - 1 means "leave as it is" to chown. */
function checkOwner(entry: TarEntry): { readonly uid: number; readonly gid: number } {
  const { uid, gid } = entry;
  const isId = (id: number): boolean => id >= 0 && id < 2 ** 32 - 1;
  if (isId(uid) && isId(gid)) return { uid, gid };
  throw invalid(entry, `its owner ${uid}:${gid} does not exist on Linux`);
}

function nameOf(bytes: string): Uint8Array<ArrayBuffer> {
  return cstr(Buffer.from(bytes, "latin1"));
}

function shown(path: string): string {
  return display(nameOf(path.slice(0, 200)));
}

function invalid({ name }: TarEntry, why: string): BoxError {
  return new BoxError("archive-invalid", `Cannot unpack ${shown(name)}: ${why}`);
}
