import { closeSync, existsSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { isErrno } from "@bantubox/ffi";
import { RECORD } from "../runtime/compile.ts";
import { getContainer } from "./container.ts";
import { LOG } from "./defaults.ts";
import { containerDirectory, type Engine } from "./engine.ts";
import { tryLock } from "./lock.ts";
import { parseLogRecord } from "./log-record.ts";

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

/** What a container has printed, the oldest first. Survives rotation while it follows. */
export async function* readLogs(engine: Engine, idOrName: string, options: LogOptions = {}): AsyncGenerator<LogEntry> {
  const { id } = getContainer(engine, idOrName);
  const directory = containerDirectory(engine, id);
  const skip = options.tail === undefined ? 0 : countLines(directory, options) - options.tail;
  let index = 0;
  for await (const entry of readFiles(engine, id, directory, options)) {
    if (!isWanted(entry, options)) continue;
    if (index++ < skip) continue;
    yield entry;
  }
}

function isWanted({ time }: LogEntry, { sinceMs, untilMs }: LogOptions): boolean {
  if (sinceMs === undefined && untilMs === undefined) return true;
  const at = Date.parse(time);
  return (sinceMs === undefined || at >= sinceMs) && (untilMs === undefined || at <= untilMs);
}

/** How many wanted entries the files hold now: one pass without keeping any. */
function countLines(directory: string, options: LogOptions): number {
  let count = 0;
  for (const path of logFiles(directory)) {
    const fd = openSync(path, "r");
    try {
      for (const entry of new Tail(fd).entries()) if (isWanted(entry, options)) count++;
    } finally {
      closeSync(fd);
    }
  }
  return count;
}

/** The rotated files from the oldest to the current one, as far as they exist. */
function logFiles(directory: string): string[] {
  const paths: string[] = [];
  for (let n = LOG.files - 1; n > 0; n--) paths.push(`${directory}/${RECORD.log}.${n}`);
  paths.push(`${directory}/${RECORD.log}`);
  return paths.filter((path) => existsSync(path));
}

async function* readFiles(
  engine: Engine,
  id: string,
  directory: string,
  { follow, signal }: LogOptions,
): AsyncGenerator<LogEntry> {
  const current = `${directory}/${RECORD.log}`;
  let open: { fd: number; tail: Tail } | undefined;
  try {
    for (const path of logFiles(directory)) {
      if (open !== undefined) closeSync(open.fd);
      const fd = openSync(path, "r");
      open = { fd, tail: new Tail(fd) };
      yield* open.tail.entries();
    }
    while (follow && !signal?.aborted) {
      // Looked at before the last read: what is written after it belongs to a container that still runs.
      const isOver = hasEnded(engine, id);
      if (open !== undefined) yield* open.tail.entries();
      const next = reopen(current, open?.fd);
      if (next !== undefined) {
        // Rotated: the old file was read to its end above, and nobody writes to it any more.
        if (open !== undefined) {
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

/** The monitor keeps the container's lock as long as it may still write. */
function hasEnded(engine: Engine, id: string): boolean {
  if (!existsSync(containerDirectory(engine, id))) return true;
  using lock = tryLock(engine, id);
  return lock !== undefined;
}

/** A descriptor of `path` when it is another file than `fd` by now. */
function reopen(path: string, fd: number | undefined): number | undefined {
  const now = statSync(path, { throwIfNoEntry: false });
  if (now === undefined || (fd !== undefined && fstatSync(fd).ino === now.ino)) return undefined;
  try {
    return openSync(path, "r");
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
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
