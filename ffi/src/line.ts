import { struct } from "./struct.ts";

/**
 * A command that was carried out, for the front of an executable (c/carry.h) to
 * carry out again without Bun: c/line.h is the contract.
 */

const LINE_MAGIC = 0x454e494c;
const LINE_VERSION = 3;

/** What the front draws or leases, instead of a hole's index; see line.h. */
export const HOLE = { fresh: 0xffff, address: 0xfffe, link: 0xfffd } as const;

/** In how many bytes an address stands somewhere: as the kernel has it, in hexadecimal digits, in an /etc/hosts. */
export const ADDRESS_BYTES = { binary: 4, digits: 8, text: 15 } as const;

/** Numbers of `enum line_fact_kind`. */
export const FACT = {
  text: 1,
  below: 2,
  node: 3,
  link: 4,
  lacks: 5,
  environment: 6,
  accepts: 7,
  interface: 8,
} as const;

/**
 * Something that has to be as it was, for the plan to be good:
 * - text: the lines of the file `path` that contain `detail` are `value`; "" where there are none, or no file
 * - below: the plain file `detail` below the untrusted root `path` is `value`; "" where there is none
 * - node: what `detail` names of the file at `path` is `value`, each followed by a blank; "" where there is none
 *   (d: device, i: inode, s: size, m: mtime, c: ctime, u: owner, p: permissions and type, e: "1")
 * - link: the symbolic link `path` points to `value`
 * - lacks: the file `path`, if it is there, does not contain `detail`
 * - environment: the variable `path`, or all of them for "", is `value`: `NAME=value` and a newline each
 * - accepts: the kernel refuses none of the netlink messages `value`, of the protocol with the number `detail`, each of
 *   which asks for an acknowledgement
 * - interface: the network interface `path` has the index in `value`, with " up" behind if it is so, and " " and
 *   `detail` if that is its IPv4 address, in hexadecimal digits
 */
export interface Fact {
  readonly kind: keyof typeof FACT;
  readonly path: string;
  readonly detail: string;
  /** A Latin-1 character for each byte of `accepts`. */
  readonly value: string;
  /** Looked at again once others can see the container, or the process is held by its descriptor. */
  readonly isLate?: boolean;
}

/** Something that is another one each time: a hole of the request, or with "fresh" a new ID of 64 digits, of which a beginning may stand alone. */
export interface Hole {
  readonly index: number | "fresh";
  readonly text: string;
  /** It counts only where no such character stands beside it. */
  readonly beside?: RegExp | undefined;
}

interface CommonLine {
  /** What the front finds it by: see holes.ts. */
  readonly skeleton: Uint8Array;
  readonly facts: readonly Fact[];
  readonly plan: Uint8Array;
  /** They are filled in wherever they stand in facts, paths, files and plan. */
  readonly holes: readonly Hole[];
  /** By which number the plan knows the container's lock, or the handle on its process. */
  readonly passed: number;
  /** By which number it knows a file for what hooks print. */
  readonly output?: number | undefined;
  /** The soft limit of open files that this process has: Bun has raised it, and the front will have to. */
  readonly nofile: number;
}

/** A new container. */
export interface MakeLine extends CommonLine {
  readonly kind: "make";
  /** Absolute path of the container's directory, and its mode. */
  readonly directory: string;
  readonly mode: number;
  readonly subdirectories: readonly string[];
  /** [name, content, places of the address in it] */
  readonly files: readonly (readonly [string, string | Uint8Array, (readonly Place[])?])[];
  /** Where the front leases the container an address: net/src/leases.ts has the same directory and range. */
  readonly lease?: { readonly directory: string; readonly first: number; readonly count: number } | undefined;
  /** Where address and link stand in the plan. */
  readonly planPlaces?: readonly Place[];
}

/** A command in a container that runs. */
export interface EnterLine extends CommonLine {
  readonly kind: "enter";
  /** Absolute path of the file with /proc/PID/stat of its first process, as it was at its start. */
  readonly record: string;
}

/** A container of bb-oci that was made, in its own directory: what the front starts, shows and deletes it by. */
export interface MadeLine extends CommonLine {
  readonly kind: "made";
  readonly directory: string;
  /** Absolute paths of its groups, one for each hierarchy. */
  readonly groups: readonly string[];
  /** What `state` prints, each piece called what comes behind it. */
  readonly pieces: readonly (readonly [string, string])[];
}

/** Numbers of `enum line_kind`. */
export const LINE_KIND = { make: 1, enter: 2, made: 3 } as const;

/** struct line_header. */
export const lineHeader = struct({
  magic: "u32",
  version: "u32",
  bytes: "u32",
  kind: "u32",
  skeleton: "u32",
  skeletonBytes: "u32",
  factCount: "u32",
  facts: "u32",
  directory: "u32",
  directoryMode: "u32",
  subdirectories: "u32",
  subdirectoriesBytes: "u32",
  fileCount: "u32",
  files: "u32",
  plan: "u32",
  planBytes: "u32",
  placeCount: "u32",
  places: "u32",
  record: "u32",
  passed: "u32",
  output: "u32",
  nofile: "u32",
  leases: "u32",
  leaseFirst: "u32",
  leaseCount: "u32",
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

/** struct line_file. */
export const lineFile = struct({ name: "u32", content: "u32", contentBytes: "u32" });

/** struct line_place. */
export const linePlace = struct({ offset: "u32", hole: "u16", bytes: "u16" });

/** Under which name the front looks for a line: FNV-1a of its skeleton, which vouches for nothing. */
export function lineName(skeleton: Uint8Array): string {
  // In halves: a BigInt for each of thousands of bytes would take milliseconds.
  let [high, low] = [0xcbf29ce4, 0x84222325];
  for (const byte of skeleton) {
    low = (low ^ byte) >>> 0;
    // Times 2^40 + 0x1b3.
    const product = low * 0x1b3;
    high = (Math.imul(high, 0x1b3) + Math.floor(product / 0x1_0000_0000) + (low << 8)) >>> 0;
    low = product >>> 0;
  }
  return `line-${high.toString(16).padStart(8, "0")}${low.toString(16).padStart(8, "0")}`;
}

/** Words as the front has them: one behind the other, each with its zero byte. */
export function wordBytes(words: readonly string[]): Uint8Array {
  return Buffer.from(words.map((word) => `${word}\0`).join(""));
}

/** The file's content. */
export function encodeLine(line: MakeLine | EnterLine | MadeLine): Uint8Array<ArrayBuffer> {
  const { files, names, where, record } = partsOf(line);
  const tables = { facts: lineHeader.size, files: lineHeader.size + line.facts.length * lineFact.size };
  const file = new Parts(tables.files + files.length * lineFile.size);
  const skeleton = file.add(line.skeleton);
  // From here on are the places. Paths come first: they are looked at, the rest is handed on.
  const first = file.length;
  const facts = Buffer.concat(
    line.facts.map(({ kind, path, detail, value, isLate }) => {
      const bytes = Buffer.from(value, kind === "accepts" ? "latin1" : "utf8");
      return lineFact.encode({
        kind: FACT[kind],
        late: isLate ? 1 : 0,
        path: file.text(path).at,
        detail: file.text(detail).at,
        value: file.add(Buffer.concat([bytes, new Uint8Array(1)])).at,
        valueBytes: bytes.length,
      });
    }),
  );
  const directory = file.text(where).at;
  const subdirectories = file.add(wordBytes(names));
  const recordAt = file.text(record).at;
  const lease = line.kind === "make" ? line.lease : undefined;
  const leases = file.text(lease?.directory ?? "").at;
  const known: Place[] = [];
  const contents = Buffer.concat(
    files.map(([name, content, places = []]) => {
      const bytes = typeof content === "string" ? Buffer.from(content) : content;
      const named = file.text(name).at;
      const { at, length } = file.add(bytes);
      for (const place of places) known.push({ ...place, offset: at + place.offset });
      return lineFile.encode({ name: named, content: at, contentBytes: length });
    }),
  );
  const plan = file.add(line.plan);
  for (const place of (line.kind === "make" && line.planPlaces) || [])
    known.push({ ...place, offset: plan.at + place.offset });
  file.align();
  const places = placesOf(file.bytes(), line.holes, first, known);
  const placeTable = file.add(Buffer.concat(places.map((place) => linePlace.encode(place)))).at;
  file.text("");

  const bytes = file.bytes();
  lineHeader.encodeInto(bytes, 0, {
    magic: LINE_MAGIC,
    version: LINE_VERSION,
    bytes: bytes.length,
    kind: LINE_KIND[line.kind],
    skeleton: skeleton.at,
    skeletonBytes: skeleton.length,
    factCount: line.facts.length,
    facts: tables.facts,
    directory,
    directoryMode: line.kind === "make" ? line.mode : 0,
    subdirectories: subdirectories.at,
    subdirectoriesBytes: subdirectories.length,
    fileCount: files.length,
    files: tables.files,
    plan: plan.at,
    planBytes: plan.length,
    placeCount: places.length,
    places: placeTable,
    record: recordAt,
    passed: line.passed,
    output: line.output ?? 0,
    nofile: line.nofile,
    leases,
    leaseFirst: lease?.first ?? 0,
    leaseCount: lease?.count ?? 0,
  });
  bytes.set(facts, tables.facts);
  bytes.set(contents, tables.files);
  return bytes;
}

/** What the kinds have in the same places. */
function partsOf(line: MakeLine | EnterLine | MadeLine): {
  readonly files: MakeLine["files"];
  readonly names: readonly string[];
  readonly where: string;
  readonly record: string;
} {
  switch (line.kind) {
    case "make":
      return { files: line.files, names: line.subdirectories, where: line.directory, record: "" };
    case "enter":
      return { files: [], names: [], where: "", record: line.record };
    case "made":
      return { files: line.pieces, names: line.groups, where: line.directory, record: "" };
  }
}

/** A file that grows part by part, behind room of `start` bytes that is filled in last. */
class Parts {
  readonly #parts: Uint8Array[];
  length: number;

  constructor(start: number) {
    this.#parts = [new Uint8Array(start)];
    this.length = start;
  }

  add(bytes: Uint8Array): { at: number; length: number } {
    const at = this.length;
    this.#parts.push(bytes);
    this.length += bytes.length;
    return { at, length: bytes.length };
  }

  text(text: string): { at: number; length: number } {
    return this.add(Buffer.from(`${text}\0`));
  }

  /** To four bytes. */
  align(): void {
    this.add(new Uint8Array(-this.length & 3));
  }

  bytes(): Uint8Array<ArrayBuffer> {
    // Not Uint8Array.from(), which takes every byte by itself.
    return new Uint8Array(Buffer.concat(this.#parts));
  }
}

/** How much of an ID people see, and a hostname shows. */
const SHORT_DIGITS = 12;

/** Where a hole, or so much of its beginning, stands in a text. */
export interface Place {
  readonly offset: number;
  readonly hole: number;
  readonly bytes: number;
}

/** Where holes stand in `content` from `from` on, beside the places that are `known`. A longer one goes before one that it contains. */
export function placesOf(content: Uint8Array, holes: readonly Hole[], from = 0, known: readonly Place[] = []): Place[] {
  const buffer = Buffer.from(content.buffer, content.byteOffset, content.length);
  const taken = new Uint8Array(content.length);
  const places: Place[] = [...known];
  for (const { offset, bytes } of known) taken.fill(1, offset, offset + bytes);
  const mark = (text: string, hole: number, beside?: RegExp): void => {
    const wanted = Buffer.from(text);
    for (let at = buffer.indexOf(wanted, from); at !== -1; at = buffer.indexOf(wanted, at + 1)) {
      if (taken.subarray(at, at + wanted.length).includes(1)) continue;
      const neighbours = [buffer[at - 1], buffer[at + wanted.length]];
      if (neighbours.some((byte) => byte !== undefined && beside?.test(String.fromCharCode(byte)))) continue;
      taken.fill(1, at, at + wanted.length);
      places.push({ offset: at, hole, bytes: wanted.length });
    }
  };
  for (const { index, text, beside } of holes.toSorted((a, b) => b.text.length - a.text.length)) {
    if (index !== "fresh") mark(text, index, beside);
    else for (const length of [text.length, SHORT_DIGITS]) mark(text.slice(0, length), HOLE.fresh);
  }
  return places.sort((a, b) => a.offset - b.offset);
}

/** The places that a line has. */
export function placesOfLine(line: Uint8Array): Place[] {
  const { places, placeCount } = lineHeader.decode(line);
  return Array.from({ length: placeCount }, (_, i) => linePlace.decode(line, places + i * linePlace.size));
}

/** Fills holes anew, as the front does. @param own What it would draw and lease. */
export function fillPlaces(
  content: Uint8Array,
  places: readonly Place[],
  texts: readonly string[],
  own: Own = { id: "", address: 0, link: 0 },
): Uint8Array {
  const filled = content.slice();
  for (const { offset, hole, bytes } of places) filled.set(bytesOf(hole, bytes, texts, own), offset);
  return filled;
}

/** What a container has of its own: its ID, an address, and the index of its link's end on the host. */
export interface Own {
  readonly id: string;
  readonly address: number;
  readonly link: number;
}

function bytesOf(hole: number, bytes: number, texts: readonly string[], { id, address, link }: Own): Uint8Array {
  const number = new DataView(new ArrayBuffer(4));
  if (hole === HOLE.link) number.setUint32(0, link, true);
  else number.setUint32(0, address);
  const binary = new Uint8Array(number.buffer);
  if (hole === HOLE.link || (hole === HOLE.address && bytes === ADDRESS_BYTES.binary)) return binary;
  if (hole === HOLE.address)
    return Buffer.from(bytes === ADDRESS_BYTES.digits ? binary.toHex() : binary.join(".").padEnd(ADDRESS_BYTES.text));
  return Buffer.from(hole === HOLE.fresh ? id : (texts[hole] ?? "")).subarray(0, bytes);
}
