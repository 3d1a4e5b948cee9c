import { mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { isErrno, readTextSync } from "@bantubox/ffi";
import { buildFact, textFact } from "@bantubox/ffi/facts";
import { findHoles, renameHoles } from "@bantubox/ffi/holes";
import {
  encodeLine,
  type Fact,
  fillPlaces,
  lineHeader,
  lineName,
  type MakeLine,
  placesOfLine,
  wordBytes,
} from "@bantubox/ffi/line";
import type { Recording } from "@bantubox/ffi/recorded";
import { CONFIG, STATE } from "./container.ts";
import { type MadeContainer, type MakeRequest, prepareContainer } from "./prepare.ts";

/**
 * Commands that were carried out, for the front of the executable
 * (ffi/c/front-oci.c): it compares every fact that this writes down, and carries
 * out the like of them without Bun. What engines ask of one container differs
 * from the last by IDs; those are holes in what is remembered.
 *
 * Whether a hole is no more than a name is not believed but tried: the same is
 * compiled once more with other IDs, and has to be, byte for byte, what filling
 * the holes makes of the first.
 */

/** front-oci.c looks there. */
const LINES = "/run/bb-oci.lines";
const MAX_LINES = 128;
const OTHERS_WRITE = 0o022;
/** What decides how this process behaves beside its arguments. */
const VARIABLES = ["LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET"] as const;

/** Remembers a create or a run, unless something of it is its own in a way that no hole can tell. */
export async function rememberMake(request: MakeRequest, made: MadeContainer, recording: Recording): Promise<void> {
  const { program } = request.globals;
  if (program.line === undefined || made.warnings.length > 0 || request.preserved.count > 0 || made.asksMore) return;
  const words = requestWords(program.line);
  const asked = Buffer.concat([words, Buffer.from(`${request.text}\0`)]);
  const found = findHoles(asked, words.length);
  if (found === undefined) return;
  const line = encodeLine(makeLine(found, request, made, recording));
  if (await isAsFilled(line, found.holes, request, recording)) write(found.skeleton, line);
}

/** The words, and where they were said; as add_words of front-oci.c. */
function requestWords(words: readonly string[]): Uint8Array {
  return wordBytes([...words, process.cwd()]);
}

type Found = NonNullable<ReturnType<typeof findHoles>>;

function makeLine(found: Found, request: MakeRequest, made: MadeContainer, recording: Recording): MakeLine {
  const { plan, directory, saved, lock, output, sharesEnvironment } = made;
  return {
    kind: "make",
    skeleton: found.skeleton,
    facts: [...hostFacts(sharesEnvironment), ...recording.facts],
    holes: found.holes.map((text, index) => ({ index, text })),
    directory,
    mode: 0o711,
    subdirectories: [],
    files: [
      [CONFIG, request.text],
      [STATE, JSON.stringify(saved)],
    ],
    plan,
    passed: lock,
    output,
    nofile: Number(/^Max open files +([0-9]+)/m.exec(readTextSync("/proc/self/limits"))?.[1] ?? 0),
  };
}

/** What compiling depends on without reading it: the program, what it may hand on, what it was told. */
function hostFacts(sharesEnvironment: boolean): Fact[] {
  return [
    buildFact(),
    textFact("/proc/self/status", "Cap"),
    ...(sharesEnvironment ? [""] : VARIABLES).map((name) => environmentFact(name)),
  ];
}

function environmentFact(name: string): Fact {
  const entries = readTextSync("/proc/self/environ").split("\0").slice(0, -1);
  const value = entries.filter((entry) => name === "" || entry.startsWith(`${name}=`)).map((entry) => `${entry}\n`);
  return { kind: "environment", path: name, detail: "", value: value.join("") };
}

/** Compiles the like of it, and compares. */
async function isAsFilled(
  line: Uint8Array<ArrayBuffer>,
  holes: readonly string[],
  request: MakeRequest,
  recording: Recording,
): Promise<boolean> {
  const others = holes.map(otherLike);
  const there = new Map(holes.map((hole, i) => [hole, others[i] as string]));
  const back = new Map(holes.map((hole, i) => [others[i] as string, hole]));
  const rename = <T>(value: T): T => renameAll(value, there);
  let again: MadeContainer;
  recording.replay((path) => renameHoles(path, back));
  try {
    again = await prepareContainer({ ...rename(request), preserved: request.preserved });
  } catch {
    // It is another's in a way that matters: a name that is looked for, or not taken.
    return false;
  } finally {
    recording.stop();
  }
  const filled = fillPlaces(line, placesOfLine(line), others);
  const expected = encodeLine({
    ...makeLine({ skeleton: new Uint8Array(), holes: [] }, rename({ ...request }), again, recording),
    facts: [],
  });
  return sameParts(filled, expected);
}

/** Whether two lines make the same directory, files and plan. */
function sameParts(a: Uint8Array, b: Uint8Array): boolean {
  const [one, other] = [partsOf(a), partsOf(b)];
  return one.length === other.length && one.every((part, i) => Buffer.compare(part, other[i] as Uint8Array) === 0);
}

function partsOf(line: Uint8Array): Uint8Array[] {
  const header = lineHeader.decode(line);
  const view = new DataView(line.buffer, line.byteOffset);
  const parts = [line.subarray(header.plan, header.plan + header.planBytes)];
  parts.push(line.subarray(header.directory, line.indexOf(0, header.directory)));
  for (let i = 0; i < header.fileCount; i++) {
    const at = view.getUint32(header.files + i * 12 + 4, true);
    parts.push(line.subarray(at, at + view.getUint32(header.files + i * 12 + 8, true)));
  }
  return parts;
}

/** Every text in a value, with other holes. */
function renameAll<T>(value: T, names: ReadonlyMap<string, string>): T {
  if (typeof value === "string") return renameHoles(value, names) as T;
  if (Array.isArray(value)) return value.map((each) => renameAll(each, names)) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, renameAll(each, names)])) as T;
}

/** Another ID or number of the same length. */
function otherLike(hole: string): string {
  const isNumber = /^[0-9]+$/.test(hole);
  const bytes = crypto.getRandomValues(new Uint8Array(hole.length));
  const digits = isNumber ? "0123456789" : "0123456789abcdef";
  const other = Array.from(bytes, (byte) => digits[byte % digits.length]).join("");
  return isNumber ? other : `a0${other.slice(2)}`;
}

/** Nothing depends on it: where it cannot be written, the next command is Bun's again. */
function write(skeleton: Uint8Array, line: Uint8Array): void {
  try {
    mkdirSync(LINES, { mode: 0o700, recursive: true });
    const { uid, mode } = statSync(LINES);
    if (uid !== 0 || (mode & OTHERS_WRITE) !== 0) return;
    const names = readdirSync(LINES);
    if (names.length >= MAX_LINES) for (const name of names) rmSync(`${LINES}/${name}`, { force: true });
    const aside = `${LINES}/.${process.pid}`;
    writeFileSync(aside, line, { mode: 0o600 });
    renameSync(aside, `${LINES}/${lineName(skeleton)}`);
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "ENOTDIR", "EEXIST")) throw error;
  }
}
