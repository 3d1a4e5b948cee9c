import { closeSync, fstatSync, readSync, statSync } from "node:fs";
import { LOG } from "../create/defaults.ts";
import { getContainer } from "../state/container.ts";
import { containerDirectory, type Engine } from "../state/engine.ts";
import { isLocked } from "../state/lock.ts";
import { logName, openIfThere } from "./log-files.ts";
import { parseLogRecord } from "./log-record.ts";
import { lastEntries } from "./log-tail.ts";

export interface LogOptions {
  /** Go on until the container ends. */
  readonly follow?: boolean | undefined;
  /** Only so many lines of what is there. */
  readonly tail?: number | undefined;
  readonly sinceMs?: number | undefined;
  readonly untilMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface LogEntry {
  readonly stream: "stdout" | "stderr";
  /** RFC 3339 with nanoseconds, UTC. */
  readonly time: string;
  /** As the container wrote it, its newline included; a part of a very long line has none. */
  readonly text: Uint8Array;
}

const CHUNK = 1 << 16;
const POLL_MS = 50;
/** How often, a millisecond apart, a missing file between others is looked for. */
const GAP_TRIES = 100;

/** What a container has printed, the oldest first. Survives rotation while it follows. */
export async function* readLogs(engine: Engine, idOrName: string, options: LogOptions = {}): AsyncGenerator<LogEntry> {
  const { id } = getContainer(engine, idOrName);
  const directory = containerDirectory(engine, id);
  if (options.tail !== undefined && !options.follow) {
    const isAnyTime = options.sinceMs === undefined && options.untilMs === undefined;
    if (isAnyTime) return yield* lastEntries(directory, options.tail);
    yield* await lastOf(readFiles(engine, id, directory, options), options.tail, options);
    return;
  }
  const skip = options.tail === undefined ? 0 : countLines(directory, options) - options.tail;
  let index = 0;
  for await (const entry of readFiles(engine, id, directory, options)) {
    if (isWanted(entry, options) && index++ >= skip) yield entry;
  }
}

/** The last wanted entries, in one pass: what is counted first may be more, or rotated away, by the time it is read. */
async function lastOf(entries: AsyncIterable<LogEntry>, tail: number, options: LogOptions): Promise<LogEntry[]> {
  const last: LogEntry[] = [];
  let next = 0;
  for await (const entry of entries) {
    if (tail === 0 || !isWanted(entry, options)) continue;
    last[next] = entry;
    next = (next + 1) % tail;
  }
  return last.length < tail ? last : [...last.slice(next), ...last.slice(0, next)];
}

function isWanted({ time }: LogEntry, { sinceMs, untilMs }: LogOptions): boolean {
  if (sinceMs === undefined && untilMs === undefined) return true;
  const at = Date.parse(time);
  return (sinceMs === undefined || at >= sinceMs) && (untilMs === undefined || at <= untilMs);
}

/** How many wanted entries the files hold now: one pass without keeping any. */
function countLines(directory: string, options: LogOptions): number {
  let count = 0;
  for (let k = LOG.files - 1; k >= 0; k--) {
    const fd = openIfThere(logName(directory, k));
    if (fd === undefined) continue;
    try {
      for (const entry of new Tail(fd).entries()) if (isWanted(entry, options)) count++;
    } finally {
      closeSync(fd);
    }
  }
  return count;
}

async function* readFiles(
  engine: Engine,
  id: string,
  directory: string,
  { follow, signal }: LogOptions,
): AsyncGenerator<LogEntry> {
  // Without following, what the container writes into later files is left out, or a loud one had no end.
  const last = inodeOf(logName(directory, 0));
  let open: { fd: number; tail: Tail } | undefined;
  try {
    for (;;) {
      // Looked at before the last read: what is written after it belongs to a container that still runs.
      const isOver = !follow || signal?.aborted === true || hasEnded(engine, id);
      if (open !== undefined) yield* open.tail.entries();
      if (!follow && open !== undefined && fstatSync(open.fd).ino === last) return;
      const next = openNext(directory, open?.fd);
      if (next !== undefined) {
        if (open !== undefined) {
          // Rotated: nobody writes to the old file any more, but somebody may have since it was read.
          yield* open.tail.entries();
          closeSync(open.fd);
        }
        open = { fd: next, tail: new Tail(next) };
        continue;
      }
      if (isOver) return;
      await Bun.sleep(POLL_MS);
    }
  } finally {
    if (open !== undefined) closeSync(open.fd);
  }
}

function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}

/**
 * Opens the file that follows `fd`, or the oldest one: of all that were rotated meanwhile none is left out.
 *
 * Files move up one by one while this looks at them, so what was opened counts only when they still stand as before.
 *
 * @returns Undefined when there is no newer file yet.
 */
function openNext(directory: string, fd: number | undefined): number | undefined {
  for (let tries = 0; ; tries++) {
    const inodes = Array.from({ length: LOG.files }, (_, k) => inodeOf(logName(directory, k)));
    const own = fd === undefined ? -1 : inodes.indexOf(fstatSync(fd).ino);
    if (own === 0) return undefined;
    // A gap is a file on its way up, unless somebody has deleted it.
    const older = own > 0 && tries < GAP_TRIES ? own - 1 : undefined;
    const k = older ?? inodes.slice(0, own > 0 ? own : LOG.files).findLastIndex((inode) => inode !== undefined);
    if (k < 0 || (k === 0 && inodes[0] === undefined)) return undefined;
    const next = openIfThere(logName(directory, k));
    const stands =
      next !== undefined &&
      fstatSync(next).ino === inodes[k] &&
      inodes.every((inode, at) => at < k || inode === inodeOf(logName(directory, at)));
    if (stands) return next;
    if (next !== undefined) closeSync(next);
    Bun.sleepSync(1);
  }
}

/** The monitor keeps the container's lock as long as it may still write. */
function hasEnded(engine: Engine, id: string): boolean {
  return !isLocked(engine, id);
}

/** Reads whole records of a file that may still grow. */
class Tail {
  readonly #fd: number;
  #rest: Uint8Array = new Uint8Array();

  constructor(fd: number) {
    this.#fd = fd;
  }

  *entries(): Generator<LogEntry> {
    const chunk = new Uint8Array(CHUNK);
    for (;;) {
      const n = readSync(this.#fd, chunk, 0, CHUNK, null);
      if (n === 0) return;
      let bytes: Uint8Array = chunk.subarray(0, n);
      if (this.#rest.length > 0) bytes = Buffer.concat([this.#rest, bytes]);
      let at = 0;
      for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, at)) {
        const entry = parseLogRecord(bytes.subarray(at, end));
        at = end + 1;
        if (entry !== undefined) yield entry;
      }
      this.#rest = bytes.slice(at);
    }
  }
}
