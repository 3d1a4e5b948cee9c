import { struct } from "./struct.ts";

/**
 * A command line that was carried out, for the front of the executable (c/front.c)
 * to carry out again without Bun: c/line.h is the contract.
 */

const LINE_MAGIC = 0x454e494c;
const LINE_VERSION = 1;
const ID_DIGITS = 64;
const SHORT_DIGITS = 12;

/** Numbers of `enum line_fact_kind`. */
export const FACT = { text: 1, below: 2, node: 3, link: 4, lacks: 5, alive: 6 } as const;

/**
 * Something that has to be as it was, for the plan to be good:
 * - text: the lines of the file `path` that contain `detail` are `value`; "" where there are none, or no file
 * - below: the plain file `detail` below the untrusted root `path` is `value`; "" where there is none
 * - node: what `detail` names of the file at `path` is `value` (d: device, i: inode, s: size, m: mtime, c: ctime, u: owner, p: mode)
 * - link: the symbolic link `path` points to `value`
 * - lacks: the file `path`, if it is there, does not contain `detail`
 * - alive: `path` is the stat of a living process that started at `value`
 */
export interface Fact {
  readonly kind: keyof typeof FACT;
  readonly path: string;
  readonly detail: string;
  readonly value: string;
  /** Looked at again once others can see the container, or the process is held by its descriptor. */
  readonly isLate?: boolean;
}

interface CommonLine {
  /** The arguments, without the program's name. */
  readonly words: readonly string[];
  readonly facts: readonly Fact[];
  readonly plan: Uint8Array;
  /** By which number the plan knows the container's lock, or the handle on its process. */
  readonly passed: number;
  /** The soft limit of open files that this process has: Bun has raised it, and the front will have to. */
  readonly nofile: number;
}

/** `run`: what is written for the new container, with the ID of the old one in it. */
export interface RunLine extends CommonLine {
  readonly kind: "run";
  readonly id: string;
  /** Absolute path that containers' directories lie in. */
  readonly directory: string;
  /** Texts of config.json and container.json. */
  readonly config: string;
  readonly record: string;
}

/** `exec`: into the container whose first process is `pid`. */
export interface ExecLine extends CommonLine {
  readonly kind: "exec";
  readonly pid: number;
}

/** struct line_header. */
export const lineHeader = struct({
  magic: "u32",
  version: "u32",
  bytes: "u32",
  kind: "u32",
  words: "u32",
  wordsBytes: "u32",
  factCount: "u32",
  facts: "u32",
  directory: "u32",
  config: "u32",
  configBytes: "u32",
  record: "u32",
  recordBytes: "u32",
  plan: "u32",
  planBytes: "u32",
  wholeCount: "u32",
  whole: "u32",
  shortCount: "u32",
  beginnings: "u32",
  passed: "u32",
  pid: "i32",
  nofile: "u32",
});

/** struct line_fact. */
export const lineFact = struct({
  kind: "u32",
  late: "u32",
  path: "u32",
  detail: "u32",
  value: "u32",
  valueBytes: "u32",
});

/** Under which name the front looks for a line: FNV-1a of its words, which vouches for nothing. */
export function lineName(words: readonly string[]): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of wordBytes(words)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return `line-${hash.toString(16).padStart(16, "0")}`;
}

/** The file's content. */
export function encodeLine(line: RunLine | ExecLine): Uint8Array<ArrayBuffer> {
  const file = new Parts(lineHeader.size + line.facts.length * lineFact.size);
  const words = file.add(wordBytes(line.words));
  const facts = Buffer.concat(
    line.facts.map(({ kind, path, detail, value, isLate }) =>
      lineFact.encode({
        kind: FACT[kind],
        late: isLate ? 1 : 0,
        path: file.text(path).at,
        detail: file.text(detail).at,
        value: file.text(value).at,
        valueBytes: Buffer.byteLength(value),
      }),
    ),
  );
  const directory = file.text(line.kind === "run" ? line.directory : "");
  const config = file.text(line.kind === "run" ? line.config : "");
  const record = file.text(line.kind === "run" ? line.record : "");
  const plan = file.add(line.plan);
  const content = file.bytes();
  const places = line.kind === "run" ? placesOf(content, line.id, config.at) : { whole: [], short: [] };
  const whole = file.numbers(places.whole);
  const beginnings = file.numbers(places.short);
  file.text("");

  const bytes = file.bytes();
  lineHeader.encodeInto(bytes, 0, {
    magic: LINE_MAGIC,
    version: LINE_VERSION,
    bytes: bytes.length,
    kind: line.kind === "run" ? 1 : 2,
    words: words.at,
    wordsBytes: words.length,
    factCount: line.facts.length,
    facts: lineHeader.size,
    directory: directory.at,
    config: config.at,
    // Without the zero byte.
    configBytes: config.length - 1,
    record: record.at,
    recordBytes: record.length - 1,
    plan: plan.at,
    planBytes: plan.length,
    wholeCount: places.whole.length,
    whole,
    shortCount: places.short.length,
    beginnings,
    passed: line.passed,
    pid: line.kind === "exec" ? line.pid : 0,
    nofile: line.nofile,
  });
  bytes.set(facts, lineHeader.size);
  return bytes;
}

/** A file that grows part by part, behind room of `start` bytes that is filled in last. */
class Parts {
  readonly #parts: Uint8Array[];
  #length: number;

  constructor(start: number) {
    this.#parts = [new Uint8Array(start)];
    this.#length = start;
  }

  add(bytes: Uint8Array): { at: number; length: number } {
    const at = this.#length;
    this.#parts.push(bytes);
    this.#length += bytes.length;
    return { at, length: bytes.length };
  }

  text(text: string): { at: number; length: number } {
    return this.add(Buffer.from(`${text}\0`));
  }

  /** u32s, aligned. @returns Where. */
  numbers(values: readonly number[]): number {
    this.add(new Uint8Array(-this.#length & 3));
    return this.add(new Uint8Array(new Uint32Array(values).buffer)).at;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(Buffer.concat(this.#parts));
  }
}

function wordBytes(words: readonly string[]): Uint8Array {
  return Buffer.from(words.map((word) => `${word}\0`).join(""));
}

/** Where `id` stands from `from` on, and where its beginning alone. */
export function placesOf(bytes: Uint8Array, id: string, from = 0): { whole: number[]; short: number[] } {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const [whole, short]: [number[], number[]] = [[], []];
  const beginning = id.slice(0, SHORT_DIGITS);
  for (let at = buffer.indexOf(beginning, from); at !== -1; at = buffer.indexOf(beginning, at + SHORT_DIGITS)) {
    const isWhole = buffer.toString("latin1", at, at + ID_DIGITS) === id;
    (isWhole ? whole : short).push(at);
  }
  return { whole, short };
}
