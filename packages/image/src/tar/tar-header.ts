import { noFTL } from "bun:jsc";
import { BoxError } from "@bantubox/ffi";

export const BLOCK = 512;

const USTAR = Buffer.from("ustar");
const GNU = Buffer.from("  \0");
const STAR = Buffer.from("tar\0");

/** A header block as it stands, before extended headers change it. Text fields are byte strings, see `TarEntry`. */
export interface RawHeader {
  name: string;
  linkname: string;
  /** The type's letter: `"0"`, `"5"`, `"x"`…; `"\0"` in archives older than POSIX. */
  type: string;
  size: number;
  mode: number;
  uid: number;
  gid: number;
  mtime: number;
  devMajor: number;
  devMinor: number;
  isGnu: boolean;
}

export function tarError(at: number, why: string): BoxError {
  return new BoxError("tar-corrupt", `Cannot read the tar stream at byte ${at}: ${why}`);
}

/** A block of the stream, always in the same memory: what reads it is compiled for that, and may read it by words. */
export class TarBlock {
  readonly bytes: Buffer = Buffer.from(new ArrayBuffer(BLOCK));
  readonly words = new Int32Array(this.bytes.buffer, this.bytes.byteOffset, BLOCK / 4);
}

/** Sum of the block's bytes with the checksum field taken as spaces; 256 for a block of zeros. */
function checksum({ bytes, words }: TarBlock): number {
  // Two sums of 256 bytes each, side by side: neither reaches 2^16.
  let sums = 0;
  for (let i = 0; i < BLOCK / 4; i++) {
    const word = words[i] as number;
    sums = (sums + (word & 0xff00ff) + ((word >>> 8) & 0xff00ff)) | 0;
  }
  let sum = (sums & 0xffff) + (sums >>> 16);
  for (let i = 148; i < 156; i++) sum += 0x20 - (bytes[i] as number);
  return sum;
}

/** The same with bytes taken as signed, as some tar programs of the last century summed them. */
function signedChecksum({ bytes }: TarBlock): number {
  let sum = 256;
  for (let i = 0; i < 148; i++) sum += bytes.readInt8(i);
  for (let i = 156; i < BLOCK; i++) sum += bytes.readInt8(i);
  return sum;
}

/**
 * Reads a header block; `undefined` for a block of zeros, half of the archive's end.
 *
 * Reads what Go's archive/tar reads and refuses what it refuses, so that no entry is seen by one of the two only.
 *
 * @param offset Where the block stands in the stream, for errors.
 * @throws {BoxError} `tar-corrupt`
 */
export function parseHeader(tarBlock: TarBlock, offset: number): RawHeader | undefined {
  const block = tarBlock.bytes;
  const sum = checksum(tarBlock);
  if (sum === 256 && tarBlock.words.every((word) => word === 0)) return undefined;
  const expected = parseOctal(block, 148, 8);
  if (expected !== sum && expected !== signedChecksum(tarBlock)) {
    throw tarError(offset, "a header's checksum is wrong");
  }

  // "ustar\0" is POSIX; "ustar  \0" is GNU's, whose fields behind the device numbers differ; anything else is older.
  const hasMagic = holds(block, 257, USTAR);
  const isPosix = hasMagic && block[262] === 0;
  const isGnu = hasMagic && holds(block, 262, GNU);

  const header: RawHeader = {
    name: text(block, 0, 100),
    linkname: text(block, 157, 100),
    type: String.fromCharCode(block[156] as number),
    size: number(block, 124, 12),
    mode: number(block, 100, 8),
    uid: number(block, 108, 8),
    gid: number(block, 116, 8),
    mtime: number(block, 136, 12),
    devMajor: 0,
    devMinor: 0,
    isGnu,
  };
  if (isPosix || isGnu) {
    header.devMajor = number(block, 329, 8);
    header.devMinor = number(block, 337, 8);
    const prefix = isPosix ? posixPrefix(block) : gnuPrefix(block);
    if (isStar(block) && Number.isNaN(number(block, 476, 12) + number(block, 488, 12))) {
      throw tarError(offset, "a header's times are none");
    }
    if (prefix !== "") header.name = `${prefix}/${header.name}`;
  }
  const { size, mode, uid, gid, mtime, devMajor, devMinor } = header;
  // One sum instead of seven tests: NaN is contagious.
  if (Number.isNaN(size + mode + uid + gid + mtime + devMajor + devMinor)) {
    throw tarError(offset, "a header holds a number that is none, or one too large");
  }
  return header;
}

function holds(block: Buffer, at: number, what: Buffer): boolean {
  for (let i = 0; i < what.length; i++) if (block[at + i] !== what[i]) return false;
  return true;
}

/** Schily's star keeps two times at the end of the prefix field. */
function isStar(block: Buffer): boolean {
  return block[262] === 0 && holds(block, 508, STAR);
}

function posixPrefix(block: Buffer): string {
  return text(block, 345, isStar(block) ? 131 : 155);
}

/** GNU headers have two times where POSIX has the prefix, but Go before 1.8 wrote a prefix there all the same. */
function gnuPrefix(block: Buffer): string {
  const hasTimes = isTime(block, 345) && isTime(block, 357);
  if (hasTimes) return "";
  const prefix = text(block, 345, 155);
  return /^[\0-\x7f]*$/.test(prefix) ? prefix : "";
}

function isTime(block: Buffer, at: number): boolean {
  return block[at] === 0 || !Number.isNaN(number(block, at, 12));
}

/** A field's bytes before its first NUL. */
function text(block: Buffer, at: number, length: number): string {
  if (block[at] === 0) return "";
  const end = block.indexOf(0, at);
  return block.toString("latin1", at, end < 0 || end > at + length ? at + length : end);
}

/** A numeric field: octal digits, or a big-endian two's complement when its first bit is set. NaN when it is neither or above 2^53. */
export function number(block: Buffer, at: number, length: number): number {
  const first = block[at] as number;
  if ((first & 0x80) === 0) return parseOctal(block, at, length);
  const isNegative = (first & 0x40) !== 0;
  const flip = isNegative ? 0xff : 0;
  let value = (first ^ flip) & 0x7f;
  for (let i = at + 1; i < at + length; i++) {
    value = value * 256 + ((block[i] as number) ^ flip);
  }
  if (value >= Number.MAX_SAFE_INTEGER) return Number.NaN;
  return isNegative ? -value - 1 : value;
}

/** Digits between blanks, up to a NUL. */
function parseOctal(block: Buffer, at: number, length: number): number {
  const end = at + length;
  let i = at;
  while (i < end && isBlank(block[i])) i++;
  let value = 0;
  for (; i < end; i++) {
    const byte = block[i] as number;
    if (byte === 0) return value;
    if (byte === 0x20) break;
    if (byte < 0x30 || byte > 0x37) return Number.NaN;
    value = value * 8 + (byte - 0x30);
  }
  for (; i < end; i++) if (!isBlank(block[i])) return Number.NaN;
  return value;
}

function isBlank(byte: number | undefined): boolean {
  return byte === 0 || byte === 0x20;
}

// The last tier of compilation takes longer for a large function than it saves over all entries of a layer: a tenth of
// what a layer of 10,000 files costs.
noFTL(parseHeader);
