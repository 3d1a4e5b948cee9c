import { closeSync, fstatSync, readSync } from "node:fs";
import { LOG } from "../create/defaults.ts";
import { logName, openIfThere } from "./log-files.ts";
import { parseLogRecord } from "./log-record.ts";
import type { LogEntry } from "./logs.ts";

const FIRST_WINDOW = 1 << 16;
const NEWLINE = 10;

/** The last `count` entries, the oldest first: read from the end, however much there is before. */
export function lastEntries(directory: string, count: number): LogEntry[] {
  const files = openAll(directory);
  try {
    const parts: LogEntry[][] = [];
    let wanted = count;
    for (const fd of files) {
      if (wanted <= 0) break;
      const part = lastOfFile(fd, wanted);
      parts.unshift(part);
      wanted -= part.length;
    }
    return parts.flat();
  } finally {
    for (const fd of files) closeSync(fd);
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

function lastOfFile(fd: number, count: number): LogEntry[] {
  const { size } = fstatSync(fd);
  for (let window = FIRST_WINDOW; ; window *= 4) {
    const start = Math.max(0, size - window);
    const entries = entriesOf(readAt(fd, start, size - start), start === 0);
    if (entries.length >= count || start === 0) return entries.slice(-count);
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
function entriesOf(bytes: Uint8Array, isWhole: boolean): LogEntry[] {
  const entries: LogEntry[] = [];
  let at = isWhole ? 0 : bytes.indexOf(NEWLINE) + 1;
  if (at === 0 && !isWhole) return entries;
  for (let end = bytes.indexOf(NEWLINE, at); end !== -1; end = bytes.indexOf(NEWLINE, at)) {
    const entry = parseLogRecord(bytes.subarray(at, end));
    at = end + 1;
    if (entry !== undefined) entries.push(entry);
  }
  return entries;
}
