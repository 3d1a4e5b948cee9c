import { tarError } from "./tar-header.ts";

/** Extended header records by key. Keys and values are byte strings. */
export type PaxRecords = ReadonlyMap<string, string>;

/** Keys whose values become names: a NUL inside would name one file here and another in the kernel. */
const NAME_KEYS = new Set(["path", "linkpath", "uname", "gname", "GNU.sparse.name"]);

/** Other keys that entries are made of. */
const WANTED = /^(size|uid|gid|[amc]time|GNU\.sparse\..*|SCHILY\.xattr\..*)$/s;

/** Twice what the kernel takes: names may become shorter when they are cleaned. */
export const MAX_NAME = 8192;

/**
 * Reads the records (`<length> <key>=<value>\n`) of an extended header.
 *
 * @param offset Where the records stand in the stream, for errors.
 * @throws {BoxError} `tar-corrupt`
 * @see https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13_03
 */
export function parsePax(bytes: Buffer, offset: number): PaxRecords {
  const records = new Map<string, string>();
  // Format 0.0 of GNU's sparse files repeats two keys instead of having one with a list.
  const sparse: string[] = [];
  let at = 0;
  while (at < bytes.length) {
    const space = bytes.indexOf(0x20, at);
    const digits = space < 0 || space - at > 8 ? "" : bytes.toString("latin1", at, space);
    const end = /^[0-9]+$/.test(digits) ? at + Number(digits) : -1;
    if (end <= space + 1 || end > bytes.length || bytes[end - 1] !== 0x0a) {
      throw tarError(offset + at, "a record of an extended header has a wrong length");
    }
    const equals = bytes.indexOf(0x3d, space);
    const key = equals < 0 || equals >= end ? "" : bytes.toString("latin1", space + 1, equals);
    const isName = NAME_KEYS.has(key);
    if (isName && end - equals > MAX_NAME) throw tarError(offset + at, "a name in an extended header is too long");
    // What nobody asks for is not copied: comments may be long.
    const value = isName || WANTED.test(key) ? bytes.toString("latin1", equals + 1, end - 1) : "";
    if (key === "" || key.includes("\0") || (isName && value.includes("\0"))) {
      throw tarError(offset + at, "a record of an extended header has a wrong key or value");
    }
    if (key === "GNU.sparse.offset" || key === "GNU.sparse.numbytes") {
      const isOffsetsTurn = sparse.length % 2 === 0;
      if (isOffsetsTurn !== (key === "GNU.sparse.offset") || value.includes(",")) {
        throw tarError(offset + at, "a sparse file's map is out of order");
      }
      sparse.push(value);
    } else {
      records.set(key, value);
    }
    at = end;
  }
  if (sparse.length > 0) records.set("GNU.sparse.map", sparse.join(","));
  return records;
}

/** A decimal integer; NaN when `value` is anything else or beyond 2^53. */
export function paxInteger(value: string): number {
  if (!/^-?[0-9]{1,16}$/.test(value)) return Number.NaN;
  const parsed = Number(value);
  return Number.isSafeInteger(parsed) ? parsed : Number.NaN;
}

/** A time in seconds with a fraction, as whole seconds (rounded down) and nanoseconds. */
export function paxTime(value: string): { seconds: number; nanoseconds: number } {
  const dot = value.indexOf(".");
  const whole = dot < 0 ? value : value.slice(0, dot);
  const fraction = dot < 0 ? "" : value.slice(dot + 1);
  const seconds = paxInteger(whole);
  if (!/^[0-9]*$/.test(fraction)) return { seconds: Number.NaN, nanoseconds: 0 };
  const nanoseconds = fraction === "" ? 0 : Number(fraction.slice(0, 9).padEnd(9, "0"));
  if (!whole.startsWith("-") || nanoseconds === 0) return { seconds, nanoseconds };
  return { seconds: seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds };
}
