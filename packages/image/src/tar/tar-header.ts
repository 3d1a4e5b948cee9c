import { BoxError } from "@bantubox/ffi";

export const BLOCK = 512;

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

/** Sum of the block's bytes with the checksum field taken as spaces; 256 for a block of zeros. */
function checksum(block: Buffer, at: number): number {
  let sum = 256;
  for (let i = at; i < at + 148; i++) sum += block[i] as number;
  for (let i = at + 156; i < at + BLOCK; i++) sum += block[i] as number;
  return sum;
}

/** The same with bytes taken as signed, as some tar programs of the last century summed them. */
function signedChecksum(block: Buffer, at: number): number {
  let sum = 256;
  for (let i = at; i < at + 148; i++) sum += block.readInt8(i);
  for (let i = at + 156; i < at + BLOCK; i++) sum += block.readInt8(i);
  return sum;
}

function isZero(block: Buffer, at: number): boolean {
  for (let i = at; i < at + BLOCK; i++) if (block[i] !== 0) return false;
  return true;
}

/**
 * Reads the header block at `at`; `undefined` for a block of zeros, half of the archive's end.
 *
 * Reads what Go's archive/tar reads and refuses what it refuses, so that no entry is seen by one of the two only.
 *
 * @param offset Where the block stands in the stream, for errors.
 * @throws {BoxError} `tar-corrupt`
 */
export function parseHeader(block: Buffer, at: number, offset: number): RawHeader | undefined {
  const sum = checksum(block, at);
  if (sum === 256 && isZero(block, at)) return undefined;
  const expected = parseOctal(block, at + 148, 8);
  if (expected !== sum && expected !== signedChecksum(block, at)) {
    throw tarError(offset, "a header's checksum is wrong");
  }

  // "ustar\0" is POSIX; "ustar  \0" is GNU's, whose fields behind the device numbers differ; anything else is older.
  const hasMagic = block.toString("latin1", at + 257, at + 262) === "ustar";
  const isPosix = hasMagic && block[at + 262] === 0;
  const isGnu = hasMagic && block.toString("latin1", at + 262, at + 265) === "  \0";

  const header: RawHeader = {
    name: text(block, at, 100),
    linkname: text(block, at + 157, 100),
    type: String.fromCharCode(block[at + 156] as number),
    size: number(block, at + 124, 12),
    mode: number(block, at + 100, 8),
    uid: number(block, at + 108, 8),
    gid: number(block, at + 116, 8),
    mtime: number(block, at + 136, 12),
    devMajor: 0,
    devMinor: 0,
    isGnu,
  };
  if (isPosix || isGnu) {
    header.devMajor = number(block, at + 329, 8);
    header.devMinor = number(block, at + 337, 8);
    const prefix = isPosix ? posixPrefix(block, at) : gnuPrefix(block, at);
    if (isStar(block, at) && Number.isNaN(number(block, at + 476, 12) + number(block, at + 488, 12))) {
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

/** Schily's star keeps two times at the end of the prefix field. */
function isStar(block: Buffer, at: number): boolean {
  return block[at + 262] === 0 && block.toString("latin1", at + 508, at + 512) === "tar\0";
}

function posixPrefix(block: Buffer, at: number): string {
  return text(block, at + 345, isStar(block, at) ? 131 : 155);
}

/** GNU headers have two times where POSIX has the prefix, but Go before 1.8 wrote a prefix there all the same. */
function gnuPrefix(block: Buffer, at: number): string {
  const hasTimes = isTime(block, at + 345) && isTime(block, at + 357);
  if (hasTimes) return "";
  const prefix = text(block, at + 345, 155);
  return /^[\0-\x7f]*$/.test(prefix) ? prefix : "";
}

function isTime(block: Buffer, at: number): boolean {
  return block[at] === 0 || !Number.isNaN(number(block, at, 12));
}

/** A field's bytes before its first NUL. */
function text(block: Buffer, at: number, length: number): string {
  let end = at;
  while (end < at + length && block[end] !== 0) end++;
  return end === at ? "" : block.toString("latin1", at, end);
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

function isBlank(byte: number | undefined): boolean {
  return byte === 0 || byte === 0x20;
}

function parseOctal(block: Buffer, at: number, length: number): number {
  let start = at;
  let end = at + length;
  while (start < end && isBlank(block[start])) start++;
  while (end > start && isBlank(block[end - 1])) end--;
  let value = 0;
  for (let i = start; i < end; i++) {
    const byte = block[i] as number;
    if (byte === 0) break;
    if (byte < 0x30 || byte > 0x37) return Number.NaN;
    value = value * 8 + (byte - 0x30);
  }
  return value;
}
