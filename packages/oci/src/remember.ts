import { mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { RECORD } from "@bantubox/core/runtime/records";
import { isErrno, readTextSync } from "@bantubox/ffi";
import { releaseCode } from "@bantubox/ffi/code-pages";
import { buildFact, openFiles, textFact, thawedFacts } from "@bantubox/ffi/facts";
import { besideHole, findHoles, renameBehind, renameHoles } from "@bantubox/ffi/holes";
import {
  type EnterLine,
  encodeLine,
  type Fact,
  fillPlaces,
  lineFact,
  lineFile,
  lineHeader,
  lineName,
  type MakeLine,
  placesOfLine,
  wordBytes,
} from "@bantubox/ffi/line";
import type { Recording } from "@bantubox/ffi/recorded";
import { CONFIG, LINE, STATE } from "./container.ts";
import { madeFacts, madeLine } from "./made-line.ts";
import { type MadeContainer, type MakeRequest, prepareContainer } from "./prepare.ts";
import { type ExecRequest, type PreparedExec, prepareExec } from "./prepare-exec.ts";

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
  const { program, values } = request.globals;
  // With --debug there is something to be said each time.
  if (
    program.line === undefined ||
    values.debug ||
    made.warnings.length > 0 ||
    request.preserved.count > 0 ||
    made.asksMore
  )
    return;
  const facts = madeFacts();
  await remember({
    id: request.options.id,
    words: program.line,
    files: [request.text],
    line: makeLine(request, made, { recording, facts }),
    recording,
    sharesEnvironment: made.sharesEnvironment,
    async again(rename, renameRead) {
      const { preserved, text } = request;
      const other = { ...rename(request), preserved, text: renameRead(text) };
      return makeLine(other, await prepareContainer(other), { recording, facts });
    },
  });
}

/** What an exec is, beside its plan. */
export interface EnteredContainer extends PreparedExec {
  /** The container's, with the record of its first process. */
  readonly directory: string;
  /** Text of state.json. */
  readonly state: string;
  /** Files that say whether the container is frozen, unless that does not matter. */
  readonly freezers: readonly string[];
}

/** Remembers an exec, as `rememberMake` does. */
export async function rememberExec(
  request: ExecRequest,
  entered: EnteredContainer,
  recording: Recording,
): Promise<void> {
  const { program, values } = request.globals;
  if (program.line === undefined || values.debug || entered.warnings.length > 0 || request.preserved.count > 0) return;
  await remember({
    id: request.saved.id,
    // Without one, what looks like it is an argument of the command.
    words: request.process === undefined ? program.line : withoutProcess(program.line),
    files: [entered.state, request.config, ...(request.process === undefined ? [] : [request.process])],
    line: enterLine(entered, recording),
    recording,
    async again(rename, renameRead) {
      const { preserved, saved, config, process: given } = request;
      const other = { ...rename(request), ...renameRead({ saved, config, process: given }), preserved };
      const freezers = renameRead(entered.freezers);
      return enterLine({ ...rename(entered), freezers, ...(await prepareExec(other)) }, recording);
    },
  });
}

/** The file's name is another one each time, and its content is compared: as add_words of front-oci.c has it. */
function withoutProcess(words: readonly string[]): string[] {
  return words.map((word, i) => {
    const before = words[i - 1];
    return before === "--process" || before === "-p" || word.startsWith("--process=") ? "" : word;
  });
}

type WithoutHoles<Line> = Omit<Line, "skeleton" | "holes" | "nofile">;
type AnyLine = WithoutHoles<MakeLine> | WithoutHoles<EnterLine>;

interface Remembered {
  /** The container's. */
  readonly id: string;
  readonly words: readonly string[];
  /** Texts of the files that the command has read. */
  readonly files: readonly string[];
  readonly line: AnyLine;
  readonly recording: Recording;
  /** Hooks have the environment of this process. */
  readonly sharesEnvironment?: boolean;
  /** The same with other names: of what was said, and of what was read. */
  again(rename: Rename, renameRead: Rename): Promise<AnyLine>;
}

type Rename = <T>(value: T) => T;

async function remember({
  id,
  words: said,
  files,
  line,
  recording,
  sharesEnvironment = false,
  again,
}: Remembered): Promise<void> {
  // The words, and where they were said; then what was read.
  const words = wordBytes([...said, process.cwd()]);
  const found = findHoles(Buffer.concat([words, wordBytes(files)]), words.length, id);
  if (found === undefined) return;
  const holes = found.holes.map((text, index) => ({ index, text, beside: besideHole(text) }));
  const facts = [...hostFacts(sharesEnvironment), ...line.facts];
  const nofile = openFiles();
  const encoded = encodeLine({ ...line, facts, nofile, skeleton: found.skeleton, holes });
  const others = found.holes.map(otherLike);
  const there = new Map(found.holes.map((hole, i) => [hole, others[i] as string]));
  const back = new Map(found.holes.map((hole, i) => [others[i] as string, hole]));
  releaseCode();
  recording.replay((path) => renameHoles(path, back));
  let other: AnyLine;
  try {
    other = await again(
      (value) => renameAll(value, (text) => renameHoles(text, there)),
      (value) => renameAll(value, (text) => renameBehind(text, there, id)),
    );
  } catch {
    // It is another's in a way that matters: a name that is looked for, or not taken.
    return;
  } finally {
    recording.stop();
    releaseCode();
  }
  const filled = fillPlaces(encoded, placesOfLine(encoded), others);
  const expected = encodeLine({
    ...other,
    facts: renameAll(facts, (text) => renameHoles(text, there)),
    nofile,
    skeleton: new Uint8Array(),
    holes: [],
  });
  if (sameParts(filled, expected)) write(found.skeleton, encoded);
}

function makeLine(
  request: MakeRequest,
  made: MadeContainer,
  { recording, facts }: { readonly recording: Recording; readonly facts: readonly Fact[] },
): WithoutHoles<MakeLine> {
  const { plan, directory, saved, lock, output } = made;
  const line = madeLine(made, facts);
  return {
    kind: "make",
    facts: recording.facts,
    directory,
    mode: 0o711,
    subdirectories: [],
    files: [
      [CONFIG, request.text],
      [STATE, JSON.stringify(saved)],
      ...(line === undefined ? [] : [[LINE, line] as const]),
    ],
    plan,
    passed: lock,
    output,
  };
}

function enterLine(entered: EnteredContainer, recording: Recording): WithoutHoles<EnterLine> {
  const { plan, directory, pidfd, freezers } = entered;
  return {
    kind: "enter",
    facts: [...recording.facts, ...thawedFacts(freezers)],
    record: `${directory}/${RECORD.pid}`,
    plan,
    passed: pidfd,
  };
}

/** What compiling depends on without reading it: the program, what it may hand on, what it was told. */
function hostFacts(sharesEnvironment: boolean): Fact[] {
  return [
    buildFact(),
    textFact("/proc/self/status", "Cap"),
    // Bun raises the soft one as far as the hard one goes, and the container inherits both.
    textFact("/proc/self/limits", "Max open files"),
    ...(sharesEnvironment ? [""] : VARIABLES).map((name) => environmentFact(name)),
  ];
}

function environmentFact(name: string): Fact {
  const entries = readTextSync("/proc/self/environ").split("\0").slice(0, -1);
  const value = entries.filter((entry) => name === "" || entry.startsWith(`${name}=`)).map((entry) => `${entry}\n`);
  return { kind: "environment", path: name, detail: "", value: value.join("") };
}

/** Whether two lines make the same directory, files and plan of the same facts. */
function sameParts(a: Uint8Array, b: Uint8Array): boolean {
  const [one, other] = [partsOf(a), partsOf(b)];
  return one.length === other.length && one.every((part, i) => Buffer.compare(part, other[i] as Uint8Array) === 0);
}

function partsOf(line: Uint8Array): Uint8Array[] {
  const header = lineHeader.decode(line);
  const text = (at: number): Uint8Array => line.subarray(at, line.indexOf(0, at));
  const parts = [line.subarray(header.plan, header.plan + header.planBytes)];
  parts.push(text(header.directory), text(header.record));
  for (let i = 0; i < header.fileCount; i++) {
    const { name, content, contentBytes } = lineFile.decode(line, header.files + i * lineFile.size);
    parts.push(text(name), line.subarray(content, content + contentBytes));
  }
  for (let i = 0; i < header.factCount; i++) {
    const { path, detail, value } = lineFact.decode(line, header.facts + i * lineFact.size);
    parts.push(text(path), text(detail), text(value));
  }
  return parts;
}

/** Every text in a value, with other holes. */
function renameAll<T>(value: T, rename: (text: string) => string): T {
  if (typeof value === "string") return rename(value) as T;
  if (Array.isArray(value)) return value.map((each) => renameAll(each, rename)) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, renameAll(each, rename)])) as T;
}

/** Another ID or number of the same length, without a character in its place: one that was filled in wrongly would not show. */
function otherLike(hole: string): string {
  const bytes = crypto.getRandomValues(new Uint8Array(hole.length));
  const draw = (digits: string): string =>
    Array.from(bytes, (byte, i) => {
      const others = digits.replace(hole[i] ?? "", "");
      return others[byte % others.length];
    }).join("");
  if (/^[0-9]+$/.test(hole)) return draw("0123456789");
  if (!/^[0-9a-f]{12,}$/.test(hole)) return draw("abcdefghijklmnopqrstuvwxyz");
  // One of each kind, or it were none.
  return `${hole[0] === "a" ? "b" : "a"}${hole[1] === "0" ? "1" : "0"}${draw("0123456789abcdef").slice(2)}`;
}

/** Nothing depends on it: where it cannot be written, the next command is Bun's again. */
function write(skeleton: Uint8Array, line: Uint8Array): void {
  try {
    mkdirSync(LINES, { mode: 0o700, recursive: true });
    const { uid, mode } = statSync(LINES);
    if (uid !== 0 || (mode & OTHERS_WRITE) !== 0) return;
    makeRoom();
    const aside = `${LINES}/.${process.pid}`;
    writeFileSync(aside, line, { mode: 0o600 });
    renameSync(aside, `${LINES}/${lineName(skeleton)}`);
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "ENOTDIR", "EEXIST")) throw error;
  }
}

/** The older half goes when there are too many. */
function makeRoom(): void {
  const names = readdirSync(LINES);
  if (names.length < MAX_LINES) return;
  const writtenAt = (name: string): number => statSync(`${LINES}/${name}`, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const lines = names.map((name) => ({ name, ms: writtenAt(name) })).sort((a, b) => a.ms - b.ms);
  for (const { name } of lines.slice(0, MAX_LINES / 2)) rmSync(`${LINES}/${name}`, { force: true });
}
