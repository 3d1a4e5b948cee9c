import { posix } from "node:path";
import { BoxError } from "@bantubox/ffi";
import { quote } from "../document/digest.ts";
import type { Healthcheck, RunConfig } from "../store/store.ts";
import { expandWord, splitWords } from "./shell-words.ts";

/** What the change at hand is made to. */
interface Draft {
  /** As it was written, for errors. */
  readonly change: string;
  config: RunConfig;
  /** Whether one of the changes has set it: an ENTRYPOINT takes away what it was before. */
  isCmdSet: boolean;
}

type Instruction = (draft: Draft, text: string) => Partial<RunConfig>;

const INSTRUCTIONS: Readonly<Record<string, Instruction>> = {
  CMD: (draft, text) => {
    draft.isCmdSet = true;
    return { cmd: commandOf(draft, text) };
  },
  ENTRYPOINT: (draft, text) => ({
    entrypoint: commandOf(draft, text),
    ...(draft.isCmdSet ? {} : { cmd: [] }),
  }),
  ENV: (draft, text) => ({ env: pairsOf(draft, text).reduce(setVariable, draft.config.env) }),
  EXPOSE: (draft, text) => ({
    exposedPorts: union(
      draft.config.exposedPorts,
      wordsOf(draft, text).flatMap((word) => portsOf(draft, word)),
    ),
  }),
  HEALTHCHECK: (draft, text) => ({ healthcheck: healthcheckOf(draft, text) }),
  LABEL: (draft, text) => ({ labels: pairsOf(draft, text).reduce(setLabel, draft.config.labels) }),
  ONBUILD: (draft, text) => {
    if (/^(?:ONBUILD|FROM|MAINTAINER)\b/i.test(text)) throw wrong(draft, "ONBUILD cannot keep that instruction");
    return { onBuild: [...draft.config.onBuild, text] };
  },
  SHELL: (draft, text) => {
    const shell = jsonWords(text);
    if (shell === undefined || shell.length === 0) throw wrong(draft, "SHELL takes a JSON list of strings");
    return { shell };
  },
  STOPSIGNAL: (draft, text) => {
    const signal = oneOf(draft, text);
    if (!/^(?:SIG)?[A-Z][A-Z0-9+-]{1,15}$|^[1-9][0-9]?$/.test(signal)) throw wrong(draft, "it is not a signal");
    return { stopSignal: signal };
  },
  USER: (draft, text) => ({ user: oneOf(draft, text) }),
  VOLUME: (draft, text) => {
    const paths = jsonWords(text) ?? wordsOf(draft, text);
    if (paths.some((path) => path.trim() === "")) throw wrong(draft, "a volume's path is empty");
    return { volumes: union(draft.config.volumes, paths) };
  },
  WORKDIR: (draft, text) => ({ workdir: posix.resolve("/", draft.config.workdir, oneOf(draft, text)) }),
};

/**
 * What an image's config becomes by instructions of a Dockerfile, as `import --change` and `commit --change` take
 * them: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME, WORKDIR.
 * One change may hold several lines. Variables are those of the config, as far as it has come.
 *
 * @throws {BoxError} `change-invalid`
 * @see https://docs.docker.com/reference/dockerfile/
 */
export function applyChanges(config: RunConfig, changes: readonly string[]): RunConfig {
  const draft = { config, isCmdSet: false };
  for (const change of changes.flatMap(logicalLines)) {
    const [, word = "", text = ""] = /^(\S+)\s*(.*)$/s.exec(change) ?? [];
    const name = word.toUpperCase();
    const state: Draft = { ...draft, change };
    if (change.includes("\0")) throw wrong(state, "it contains a NUL character");
    const apply = Object.hasOwn(INSTRUCTIONS, name) ? INSTRUCTIONS[name] : undefined;
    if (apply === undefined) {
      throw wrong(state, `${quote(word)} is no instruction that changes a config`, INSTRUCTION_HINT);
    }
    if (text.trim() === "") throw wrong(state, `${name} needs a value`);
    draft.config = { ...draft.config, ...apply(state, text.trim()) };
    draft.isCmdSet = state.isCmdSet;
  }
  return draft.config;
}

const INSTRUCTION_HINT = `Use one of ${Object.keys(INSTRUCTIONS).join(", ")}`;

/** Lines without comments, those put together that end in a backslash. */
function logicalLines(text: string): string[] {
  return text
    .replace(/\\[ \t]*\r?\n/g, " ")
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
}

function wrong({ change }: Pick<Draft, "change">, why: string, hint?: string): BoxError {
  return new BoxError("change-invalid", `Cannot apply change ${quote(change)}: ${why}`, { hint });
}

/** A JSON list of strings; undefined for what is none, which Dockerfiles take as words. */
function jsonWords(text: string): string[] | undefined {
  if (!text.startsWith("[")) return undefined;
  try {
    const words: unknown = JSON.parse(text);
    if (!Array.isArray(words) || !words.every((word) => typeof word === "string")) return undefined;
    return words.some((word) => word.includes("\0")) ? undefined : words;
  } catch {
    return undefined;
  }
}

/** The words of a JSON list, or a line for the config's shell. */
function commandOf({ config }: Draft, text: string): readonly string[] {
  return jsonWords(text) ?? [...(config.shell.length > 0 ? config.shell : ["/bin/sh", "-c"]), text];
}

function expand(draft: Draft, word: string): string {
  const expanded = expandWord(word, (name) => variable(draft.config.env, name));
  if (expanded === undefined) throw wrong(draft, "a quote or brace is not closed");
  return expanded;
}

function wordsOf(draft: Draft, text: string): string[] {
  return splitWords(text).map((word) => expand(draft, word));
}

/** The whole text as one value. */
function oneOf(draft: Draft, text: string): string {
  const value = expand(draft, text);
  if (value === "") throw wrong(draft, "its value is empty");
  return value;
}

type Pair = readonly [string, string];

/** `a=b c="d e"`, or `a all the rest`. Variables are those from before the instruction. */
function pairsOf(draft: Draft, text: string): Pair[] {
  const words = splitWords(text);
  const [first = ""] = words;
  if (!first.includes("=")) {
    const value = text.slice(first.length).trim();
    if (value === "") throw wrong(draft, `${quote(first)} has no value`, "Write NAME=VALUE");
    return [pair(draft, first, value)];
  }
  return words.map((word) => {
    const equals = word.indexOf("=");
    if (equals < 0) throw wrong(draft, `${quote(word)} is not of the form NAME=VALUE`);
    return pair(draft, word.slice(0, equals), word.slice(equals + 1));
  });
}

function pair(draft: Draft, name: string, value: string): Pair {
  const expanded = expand(draft, name);
  if (expanded === "") throw wrong(draft, "a name is empty");
  return [expanded, expand(draft, value)];
}

function variable(env: readonly string[], name: string): string | undefined {
  return env.findLast((each) => each.startsWith(`${name}=`))?.slice(name.length + 1);
}

function setVariable(env: readonly string[], [name, value]: Pair): readonly string[] {
  const entry = `${name}=${value}`;
  if (!env.some((each) => each.startsWith(`${name}=`))) return [...env, entry];
  return env.map((each) => (each.startsWith(`${name}=`) ? entry : each));
}

function setLabel(labels: readonly Pair[], [name, value]: Pair): readonly Pair[] {
  return [...labels.filter(([known]) => known !== name), [name, value]];
}

function union(known: readonly string[], added: readonly string[]): readonly string[] {
  return [...new Set([...known, ...added])];
}

/** `80`, `53/udp`, `8000-8010/tcp`: each port with its protocol. */
function portsOf(draft: Draft, word: string): string[] {
  const match = /^([0-9]{1,5})(?:-([0-9]{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(word);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  if (match === null || first < 1 || last > 65535 || last < first) {
    throw wrong(draft, `${quote(word)} is not a port`, "Write it as 80, 53/udp or 8000-8010");
  }
  const protocol = (match[3] ?? "tcp").toLowerCase();
  return Array.from({ length: last - first + 1 }, (_, index) => `${first + index}/${protocol}`);
}

const UNIT_NS: Readonly<Record<string, number>> = { h: 3600e9, m: 60e9, s: 1e9, ms: 1e6, us: 1e3, µs: 1e3, ns: 1 };

const TIMES = {
  "--interval": "intervalNs",
  "--timeout": "timeoutNs",
  "--start-period": "startPeriodNs",
  "--start-interval": "startIntervalNs",
} as const;

/** `NONE`, or `[--interval=30s …] CMD command`. */
function healthcheckOf(draft: Draft, text: string): Healthcheck {
  const check = { intervalNs: 0, timeoutNs: 0, startPeriodNs: 0, startIntervalNs: 0, retries: 0 };
  let rest = text;
  for (;;) {
    const [whole, flag = "", value = ""] = /^(--[a-z-]+)=(\S+)\s*/.exec(rest) ?? [];
    if (whole === undefined) break;
    rest = rest.slice(whole.length);
    if (flag === "--retries" && /^[0-9]{1,6}$/.test(value)) check.retries = Number(value);
    else if (Object.hasOwn(TIMES, flag)) check[TIMES[flag as keyof typeof TIMES]] = nanoseconds(draft, value);
    else throw wrong(draft, `${quote(`${flag}=${value}`)} is not understood`);
  }
  const [, kind = "", command = ""] = /^(\S+)\s*(.*)$/s.exec(rest) ?? [];
  if (kind.toUpperCase() === "NONE" && command === "") return { ...check, test: ["NONE"] };
  if (kind.toUpperCase() !== "CMD" || command === "") throw wrong(draft, "it is neither NONE nor CMD with a command");
  const words = jsonWords(command);
  return { ...check, test: words === undefined ? ["CMD-SHELL", command] : ["CMD", ...words] };
}

/** Go's durations: `1m30s`. */
function nanoseconds(draft: Draft, text: string): number {
  if (!/^(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:h|m|s|ms|us|µs|ns))+$/.test(text)) {
    throw wrong(draft, `${quote(text)} is not a duration`, "Write it as 30s or 1m30s");
  }
  let sum = 0;
  for (const [, number, unit = ""] of text.matchAll(/([0-9.]+)(h|ms|us|µs|ns|m|s)/g)) {
    sum += Math.round(Number(number) * (UNIT_NS[unit] ?? 0));
  }
  return sum;
}
