import { closeSync, fstatSync, readSync, statSync } from "node:fs";
import { LOG } from "../create/defaults.ts";
import { getContainer } from "../state/container.ts";
import { containerDirectory, type Engine } from "../state/engine.ts";
import { isLocked } from "../state/lock.ts";
import { logName, openIfThere } from "./log-files.ts";
import { parseLogRecord } from "./log-record.ts";
import { type LogPlace, lastEntries, placeOfLast } from "./log-tail.ts";

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
  const { tail } = options;
  const isWantedHere = (entry: LogEntry): boolean => isWanted(entry, options);
  if (tail !== undefined && !options.follow) return yield* lastEntries(directory, tail, isWantedHere);
  const from = tail === undefined ? undefined : placeOfLast(directory, tail, isWantedHere);
  for await (const entry of readFiles(engine, id, directory, options, from)) if (isWantedHere(entry)) yield entry;
}

function isWanted({ time }: LogEntry, { sinceMs, untilMs }: LogOptions): boolean {
  if (sinceMs === undefined && untilMs === undefined) return true;
  const at = Date.parse(time);
  return (sinceMs === undefined || at >= sinceMs) && (untilMs === undefined || at <= untilMs);
}

async function* readFiles(
  engine: Engine,
  id: string,
  directory: string,
  { follow, signal }: LogOptions,
  from: LogPlace | undefined,
): AsyncGenerator<LogEntry> {
  // Without following, what the container writes into later files is left out, or a loud one had no end.
  const last = inodeOf(logName(directory, 0));
  let open: { fd: number; tail: Tail } | undefined;
  if (from !== undefined) open = { fd: from.fd, tail: new Tail(from.fd, from.position) };
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
        open = { fd: next, tail: new Tail(next, 0) };
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
  #position: number;
  #rest: Uint8Array = new Uint8Array();

  constructor(fd: number, position: number) {
    this.#fd = fd;
    this.#position = position;
  }

  *entries(): Generator<LogEntry> {
    const chunk = new Uint8Array(CHUNK);
    for (;;) {
      const n = readSync(this.#fd, chunk, 0, CHUNK, this.#position);
      if (n === 0) return;
      this.#position += n;
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
