import { closeSync, fstatSync, readSync } from "node:fs";
import { LOG } from "../create/defaults.ts";
import { logName, openIfThere } from "./log-files.ts";
import { parseLogRecord } from "./log-record.ts";
import type { LogEntry } from "./logs.ts";

const FIRST_WINDOW = 1 << 16;
const NEWLINE = 10;

type IsWanted = (entry: LogEntry) => boolean;

/** Where to begin to read: a descriptor, which the caller closes, and bytes from the file's beginning. */
export interface LogPlace {
  readonly fd: number;
  readonly position: number;
}

/** The last `count` entries that are wanted, the oldest first: read from the end, however much there is before. */
export function lastEntries(directory: string, count: number, isWanted: IsWanted): LogEntry[] {
  const files = openAll(directory);
  try {
    const parts: LogEntry[][] = [];
    let missing = count;
    for (const fd of files) {
      if (missing <= 0) break;
      const part = lastOfFile(fd, missing, isWanted).found;
      parts.unshift(part.map(({ entry }) => entry));
      missing -= part.length;
    }
    return parts.flat();
  } finally {
    for (const fd of files) closeSync(fd);
  }
}

/** Where these entries begin, for who goes on from there. @returns Undefined when nothing has been printed yet. */
export function placeOfLast(directory: string, count: number, isWanted: IsWanted): LogPlace | undefined {
  const files = openAll(directory);
  let place: LogPlace | undefined;
  try {
    let missing = count;
    for (const fd of files) {
      const { found, end } = lastOfFile(fd, missing, isWanted);
      missing -= found.length;
      place = { fd, position: missing > 0 ? 0 : (found[0]?.at ?? end) };
      if (missing <= 0) break;
    }
    return place;
  } finally {
    for (const fd of files) if (fd !== place?.fd) closeSync(fd);
  }
}

/** Descriptors, the newest first. A file that moves up meanwhile is met a second time, and none is missed. */
function openAll(directory: string): number[] {
  const files: number[] = [];
  const seen = new Set<number>();
  for (let k = 0; k < LOG.files; k++) {
    const fd = openIfThere(logName(directory, k));
    if (fd === undefined) continue;
    const { ino } = fstatSync(fd);
    if (seen.has(ino)) closeSync(fd);
    else files.push(fd);
    seen.add(ino);
  }
  return files;
}

interface Found {
  readonly entry: LogEntry;
  /** Bytes before it in the file. */
  readonly at: number;
}

interface LastOfFile {
  readonly found: readonly Found[];
  /** Bytes of whole lines: what follows is still being written. */
  readonly end: number;
}

function lastOfFile(fd: number, count: number, isWanted: IsWanted): LastOfFile {
  const { size } = fstatSync(fd);
  for (let window = FIRST_WINDOW; ; window *= 4) {
    const start = Math.max(0, size - window);
    const { found, end } = entriesOf(readAt(fd, start, size - start), start, isWanted);
    const isEnough = found.length >= count && end > start;
    if (isEnough || start === 0) return { found: found.slice(Math.max(0, found.length - count)), end };
  }
}

/** Less where the file has been cut short. */
function readAt(fd: number, position: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let read = 0;
  for (let n = -1; n !== 0 && read < length; read += n) n = readSync(fd, bytes, read, length - read, position + read);
  return bytes.subarray(0, read);
}

/** What ends in a newline; of a piece from within a file the first line is not whole. */
function entriesOf(bytes: Uint8Array, start: number, isWanted: IsWanted): LastOfFile {
  const found: Found[] = [];
  let at = start === 0 ? 0 : bytes.indexOf(NEWLINE) + 1;
  if (at > 0 || start === 0) {
    for (let end = bytes.indexOf(NEWLINE, at); end !== -1; end = bytes.indexOf(NEWLINE, at)) {
      const entry = parseLogRecord(bytes.subarray(at, end));
      if (entry !== undefined && isWanted(entry)) found.push({ entry, at: start + at });
      at = end + 1;
    }
  }
  return { found, end: start + at };
}
