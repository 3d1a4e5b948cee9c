import { noFTL } from "bun:jsc";
import { BLOCK, number, parseHeader, type RawHeader, TarBlock, tarError } from "./tar-header.ts";
import { MAX_NAME, type PaxRecords, parsePax, paxInteger, paxTime } from "./tar-pax.ts";
import { isValidMap, mapOfRecords, readOldMap, type SparseMap, SparseMapText, sparseFormat } from "./tar-sparse.ts";

/** Extended headers, GNU names and sparse maps stop here, as in Go's reader. */
const MAX_META_BYTES = 1 << 20;

type TarType = "file" | "hardlink" | "symlink" | "char" | "block" | "directory" | "fifo" | "unsupported";

const TYPES: Readonly<Record<string, TarType>> = {
  "0": "file",
  "1": "hardlink",
  "2": "symlink",
  "3": "char",
  "4": "block",
  "5": "directory",
  "6": "fifo",
  S: "file",
};

/**
 * One entry, with everything that extended headers said about it.
 *
 * Names and xattr values are byte strings: one character for each byte, 0 to
 * 255. Linux names are bytes, and decoding them as UTF-8 would make two
 * different names one.
 */
export interface TarEntry {
  readonly type: TarType;
  /** The type's letter in the archive. */
  readonly letter: string;
  /** As the archive has it: may be absolute, hold `..`, or end with a slash. */
  readonly name: string;
  readonly linkname: string;
  /** Length of the file in bytes, holes included. */
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: number;
  readonly mtimeNs: number;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly xattrs: ReadonlyMap<string, string> | undefined;
  readonly isSparse: boolean;
}

/** Is told what the reader finds, in order: `begin`, any number of `data`, `end`, for each entry. */
export interface TarSink {
  begin(entry: TarEntry): void;
  /** `chunk` is the one that was pushed: bytes `start` up to `stop` belong at `position` of the file. */
  data(chunk: Buffer, start: number, stop: number, position: number): void;
  end(): void;
}

type State = "header" | "meta" | "old-map" | "map" | "data" | "end";

/**
 * Reads a tar stream (ustar, pax, GNU, star, v7) that comes in chunks of any size, and agrees with Go's
 * archive/tar on every entry or refuses the stream. Holds on to no chunk and to at most 1 MiB of names.
 */
export class TarReader {
  readonly #sink: TarSink;
  #state: State = "header";
  /** Stream offset of the byte that is read next. */
  #offset = 0;
  /** Padding that is still to be passed over. */
  #skip = 0;
  /** The header, or the part of a map, that is being read. */
  readonly #block = new TarBlock();
  #blockFilled = 0;
  #sawZeroBlock = false;

  /** Grows to what extended headers need, and is used again. */
  #meta = Buffer.alloc(4096);
  #metaLetter = "";
  #metaSize = 0;
  #metaFilled = 0;
  #pax: PaxRecords | undefined;
  #longName = "";
  #longLink = "";

  /** Of the entry whose data comes next or now. */
  #raw: RawHeader | undefined;
  #physical = 0;
  #map: SparseMap | undefined;
  #mapText: SparseMapText | undefined;
  #fragment = 0;
  /** Bytes left in the run of data at hand, and where in the file the next one belongs. */
  #remaining = 0;
  #position = 0;

  constructor(sink: TarSink) {
    this.#sink = sink;
  }

  /**
   * Reads on. What follows the archive's end is passed over, as everyone does.
   *
   * @throws {BoxError} `tar-corrupt`, and whatever the sink throws. The reader is of no use afterwards.
   */
  push(bytes: Uint8Array): void {
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const length = chunk.length;
    let at = 0;
    while (at < length && this.#state !== "end") {
      const left = length - at;
      if (this.#skip > 0) {
        const count = Math.min(left, this.#skip);
        this.#skip -= count;
        this.#offset += count;
        at += count;
      } else if (this.#state === "data") {
        const count = Math.min(left, this.#remaining);
        this.#sink.data(chunk, at, at + count, this.#position);
        this.#position += count;
        this.#remaining -= count;
        this.#offset += count;
        at += count;
        if (this.#remaining === 0) this.#nextFragment();
      } else if (this.#state === "meta") {
        const count = Math.min(left, this.#metaSize - this.#metaFilled);
        chunk.copy(this.#meta, this.#metaFilled, at, at + count);
        this.#metaFilled += count;
        this.#offset += count;
        at += count;
        if (this.#metaFilled === this.#metaSize) this.#endMeta();
      } else {
        const count = Math.min(left, BLOCK - this.#blockFilled);
        chunk.copy(this.#block.bytes, this.#blockFilled, at, at + count);
        this.#blockFilled += count;
        at += count;
        if (this.#blockFilled === BLOCK) this.#endBlock();
      }
    }
  }

  /**
   * Says that the stream is over.
   *
   * @param endMarker Whether the two blocks of zeros must have come. Without them the end of the stream is taken for
   *   the archive's between two entries (Go does so), which a stream that was cut there looks like too.
   * @throws {BoxError} `tar-corrupt` When it ends within an entry.
   */
  finish(endMarker: "required" | "optional"): void {
    if (this.#state === "end") return;
    const isBetween =
      this.#state === "header" && this.#blockFilled === 0 && this.#skip === 0 && !this.#hasPendingMeta();
    if (!isBetween) throw tarError(this.#offset + this.#blockFilled, "it ends within an entry");
    if (endMarker === "required") throw tarError(this.#offset, "it ends without the archive's end marker");
  }

  #hasPendingMeta(): boolean {
    return this.#pax !== undefined || this.#longName !== "" || this.#longLink !== "";
  }

  #endBlock(): void {
    const block = this.#block.bytes;
    const offset = this.#offset;
    this.#offset += BLOCK;
    this.#blockFilled = 0;
    switch (this.#state) {
      case "header":
        this.#header(offset);
        return;
      case "old-map": {
        const map = this.#map as SparseMap;
        if (map.length > MAX_META_BYTES / 12) throw tarError(offset, "a sparse file's map is too long");
        if (!readOldMap(map, block, "extension")) this.#beginEntry(offset);
        return;
      }
      default: {
        const mapText = this.#mapText as SparseMapText;
        this.#physical -= BLOCK;
        const isComplete = mapText.push(block);
        if (isComplete === undefined || this.#physical < 0 || mapText.map.length > MAX_META_BYTES / 12) {
          throw tarError(offset, "a sparse file's map is malformed");
        }
        if (isComplete) {
          this.#map = mapText.map;
          this.#mapText = undefined;
          this.#beginEntry(offset);
        }
      }
    }
  }

  #header(offset: number): void {
    const raw = parseHeader(this.#block, offset);
    if (raw === undefined) {
      if (this.#hasPendingMeta()) throw tarError(offset, "an extended header has no entry behind it");
      if (this.#sawZeroBlock) this.#state = "end";
      this.#sawZeroBlock = true;
      return;
    }
    if (this.#sawZeroBlock) throw tarError(offset, "an entry follows the archive's end marker");
    if (raw.size < 0) throw tarError(offset, "an entry has a negative size");

    if (raw.type === "x" || raw.type === "g" || raw.type === "L" || raw.type === "K") {
      if (raw.size > MAX_META_BYTES) throw tarError(offset, "an extended header is longer than 1 MiB");
      this.#metaLetter = raw.type;
      if (raw.size > this.#meta.length) this.#meta = Buffer.alloc(raw.size);
      this.#metaSize = raw.size;
      this.#metaFilled = 0;
      this.#state = "meta";
      if (raw.size === 0) this.#endMeta();
      return;
    }

    const pax = this.#pax;
    if (pax !== undefined) applyPax(raw, pax, offset);
    if (this.#longName !== "") raw.name = this.#longName;
    if (this.#longLink !== "") raw.linkname = this.#longLink;
    // Archives older than the directory type mark directories by the slash.
    if (raw.type === "\0") raw.type = raw.name.endsWith("/") ? "5" : "0";
    this.#raw = raw;
    this.#map = undefined;
    this.#physical = hasData(raw.type) ? raw.size : 0;

    if (raw.type === "S") {
      if (!raw.isGnu) throw tarError(offset, "a sparse file has no GNU header");
      this.#map = [];
      // The real size stands in the header; the size field counts what is stored.
      raw.size = parseRealSize(this.#block.bytes, offset);
      if (readOldMap(this.#map, this.#block.bytes, "header")) {
        this.#state = "old-map";
        return;
      }
    } else {
      const format = pax === undefined ? undefined : sparseFormat(pax);
      if (pax !== undefined && format !== undefined) {
        if (!hasData(raw.type)) throw tarError(offset, "a sparse file is none that has data");
        applySparse(raw, pax, offset);
        if (format.mapIsInData) {
          this.#mapText = new SparseMapText();
          this.#state = "map";
          if (this.#physical < BLOCK) throw tarError(offset, "a sparse file has no map");
          return;
        }
        this.#map = mapOfRecords(pax);
        if (this.#map === undefined) throw tarError(offset, "a sparse file's map is malformed");
      }
    }
    this.#beginEntry(offset);
  }

  #endMeta(): void {
    const size = this.#metaSize;
    const offset = this.#offset - size;
    this.#skip = padding(size);
    this.#state = "header";
    const meta = this.#meta.subarray(0, size);
    switch (this.#metaLetter) {
      case "x":
        this.#pax = parsePax(meta, offset);
        break;
      case "g":
        // Read for its faults only: Docker and containerd ignore global headers, and what precedes one with them.
        parsePax(meta, offset);
        this.#forgetMeta();
        break;
      case "L":
        this.#longName = upToNul(meta);
        break;
      default:
        this.#longLink = upToNul(meta);
    }
    if (this.#longName.length > MAX_NAME || this.#longLink.length > MAX_NAME) {
      throw tarError(offset, "a name is too long");
    }
  }

  #forgetMeta(): void {
    this.#pax = undefined;
    this.#longName = "";
    this.#longLink = "";
  }

  #beginEntry(offset: number): void {
    const raw = this.#raw as RawHeader;
    const map = this.#map;
    if (map !== undefined) {
      let stored = 0;
      for (let i = 1; i < map.length; i += 2) stored += map[i] as number;
      if (!isValidMap(map, raw.size) || stored !== this.#physical) {
        throw tarError(offset, "a sparse file's map does not fit its data");
      }
    }
    const entry = entryOf(raw, this.#pax, map !== undefined, offset);
    this.#forgetMeta();
    this.#sink.begin(entry);
    this.#fragment = 0;
    this.#position = 0;
    this.#remaining = 0;
    if (map === undefined) {
      this.#remaining = this.#physical;
      if (this.#remaining === 0) this.#endEntry();
      else this.#state = "data";
    } else {
      this.#nextFragment();
    }
  }

  /** Goes on to the next run of data of a sparse file, or ends the entry. */
  #nextFragment(): void {
    const map = this.#map;
    while (map !== undefined && this.#fragment < map.length) {
      this.#position = map[this.#fragment] as number;
      this.#remaining = map[this.#fragment + 1] as number;
      this.#fragment += 2;
      if (this.#remaining > 0) {
        this.#state = "data";
        return;
      }
    }
    this.#endEntry();
  }

  #endEntry(): void {
    this.#skip = padding(this.#physical);
    this.#state = "header";
    this.#sink.end();
  }
}

function entryOf(raw: RawHeader, pax: PaxRecords | undefined, isSparse: boolean, offset: number): TarEntry {
  const time = mtimeOf(raw, pax, offset);
  return {
    type: TYPES[raw.type] ?? "unsupported",
    letter: raw.type,
    name: raw.name,
    linkname: raw.linkname,
    size: hasData(raw.type) ? raw.size : 0,
    mode: raw.mode,
    uid: raw.uid,
    gid: raw.gid,
    mtime: time.seconds,
    mtimeNs: time.nanoseconds,
    devMajor: raw.devMajor,
    devMinor: raw.devMinor,
    xattrs: pax === undefined ? undefined : xattrsOf(pax),
    isSparse,
  };
}

function padding(size: number): number {
  const rest = size % BLOCK;
  return rest === 0 ? 0 : BLOCK - rest;
}

/** Links, devices, directories and FIFOs have none, whatever their size field says. */
function hasData(type: string): boolean {
  return type < "1" || type > "6";
}

function upToNul(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString("latin1", 0, end < 0 ? bytes.length : end);
}

/** An empty value leaves the header's own in force. */
function applyPax(raw: RawHeader, pax: PaxRecords, offset: number): void {
  raw.name = pax.get("path") || raw.name;
  raw.linkname = pax.get("linkpath") || raw.linkname;
  const size = pax.get("size");
  const uid = pax.get("uid");
  const gid = pax.get("gid");
  if (size) raw.size = paxInteger(size);
  if (uid) raw.uid = paxInteger(uid);
  if (gid) raw.gid = paxInteger(gid);
  if (Number.isNaN(raw.size + raw.uid + raw.gid) || raw.size < 0) {
    throw tarError(offset, "an extended header holds a number that is none, or one too large");
  }
}

function applySparse(raw: RawHeader, pax: PaxRecords, offset: number): void {
  raw.name = pax.get("GNU.sparse.name") || raw.name;
  const size = pax.get("GNU.sparse.size") || pax.get("GNU.sparse.realsize");
  if (size) raw.size = paxInteger(size);
  if (Number.isNaN(raw.size)) throw tarError(offset, "a sparse file has no proper size");
}

function mtimeOf(
  raw: RawHeader,
  pax: PaxRecords | undefined,
  offset: number,
): { seconds: number; nanoseconds: number } {
  if (pax === undefined) return { seconds: raw.mtime, nanoseconds: 0 };
  for (const key of ["atime", "ctime"]) {
    const value = pax.get(key);
    if (value && Number.isNaN(paxTime(value).seconds)) throw tarError(offset, `an extended header's ${key} is no time`);
  }
  const value = pax.get("mtime");
  if (!value) return { seconds: raw.mtime, nanoseconds: 0 };
  const time = paxTime(value);
  if (Number.isNaN(time.seconds)) throw tarError(offset, "an extended header's mtime is no time");
  return time;
}

const XATTR = "SCHILY.xattr.";

function xattrsOf(pax: PaxRecords): ReadonlyMap<string, string> | undefined {
  let xattrs: Map<string, string> | undefined;
  for (const [key, value] of pax) {
    if (!key.startsWith(XATTR) || value === "") continue;
    xattrs ??= new Map();
    xattrs.set(key.slice(XATTR.length), value);
  }
  return xattrs;
}

function parseRealSize(block: Buffer, offset: number): number {
  const size = number(block, 483, 12);
  if (Number.isNaN(size)) throw tarError(offset, "a sparse file has no proper size");
  return size;
}

// See tar-header.ts.
noFTL(TarReader.prototype.push);
noFTL(entryOf);
