import { BoxError } from "@bantubox/ffi";

/** One option of a command line, as runc has it. */
interface Flag {
  /** `list` may be given several times. */
  readonly type: "string" | "boolean" | "number" | "list";
  readonly short?: string;
  readonly help: string;
}

export type Flags = Readonly<Record<string, Flag>>;

/** The values of the options that were given. */
export type Values<F extends Flags> = {
  readonly [Name in keyof F]?: F[Name]["type"] extends "boolean"
    ? boolean
    : F[Name]["type"] extends "number"
      ? number
      : F[Name]["type"] extends "list"
        ? readonly string[]
        : string;
};

export interface Parsed<F extends Flags> {
  readonly values: Values<F>;
  /** What follows the options: the first word that is none ends them. */
  readonly rest: readonly string[];
}

/**
 * Reads options as Go's flag package does: one dash or two, `--name value` or
 * `--name=value`, up to the first other word or `--`.
 *
 * @param isMixed Options may also follow other words.
 * @throws {BoxError} `usage`
 */
export function parseArguments<F extends Flags>(flags: F, args: readonly string[], isMixed = false): Parsed<F> {
  const values: Record<string, string | boolean | number | string[]> = {};
  const words: string[] = [];
  let at = 0;
  for (; at < args.length; at++) {
    const arg = args[at] as string;
    if (!arg.startsWith("-") || arg === "-") {
      if (!isMixed) break;
      words.push(arg);
      continue;
    }
    if (arg === "--") {
      at++;
      break;
    }
    const equals = arg.indexOf("=");
    const given = arg.slice(arg.startsWith("--") ? 2 : 1, equals === -1 ? undefined : equals);
    const name = nameOf(flags, given);
    const flag = name === undefined ? undefined : flags[name];
    if (name === undefined || flag === undefined) {
      throw new BoxError("usage", `flag provided but not defined: -${given}`);
    }
    const attached = equals === -1 ? undefined : arg.slice(equals + 1);
    if (flag.type === "boolean") {
      values[name] = attached === undefined || parseBoolean(name, attached);
      continue;
    }
    const value = attached ?? args[++at];
    if (value === undefined) throw new BoxError("usage", `flag needs an argument: -${given}`);
    if (flag.type === "list") values[name] = [...((values[name] as string[] | undefined) ?? []), value];
    else values[name] = flag.type === "number" ? parseInteger(name, value) : value;
  }
  return { values: values as Values<F>, rest: [...words, ...args.slice(at)] };
}

function nameOf(flags: Flags, given: string): string | undefined {
  if (Object.hasOwn(flags, given)) return given;
  for (const name in flags) if (flags[name]?.short === given) return name;
  return undefined;
}

function parseBoolean(name: string, text: string): boolean {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  throw new BoxError("usage", `invalid boolean value ${JSON.stringify(text)} for -${name}`);
}

function parseInteger(name: string, text: string): number {
  const value = /^[+-]?[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(value)) return value;
  throw new BoxError("usage", `invalid value ${JSON.stringify(text)} for flag -${name}: it must be an integer`);
}
