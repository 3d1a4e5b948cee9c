import { type Command, type Flag, type Globals, globalFlags, type Parsed } from "./command.ts";
import { nearest } from "./near.ts";
import { usageError } from "./usage.ts";
import { parseBoolean } from "./values/number.ts";

/**
 * Parses what follows a command's name, as Docker's own parser (pflag) does:
 * `-it`, `-eA=b`, `-e A=b`, `--env=A=b`, `--rm=false`, `--`; nothing is guessed.
 *
 * @param globals Filled with the global flags that are met.
 * @throws {BoxError} `usage`.
 */
export function parse(command: Command, args: readonly string[], globals: Globals = {}): Parsed {
  if (command.operands.rest === "all") return { help: false, flags: {}, operands: args };
  const state: State = { command, args, index: 0, flags: {}, globals, help: false };
  const operands: string[] = [];
  while (state.index < args.length && !state.help) {
    const arg = args[state.index++] ?? "";
    if (arg.length > 2 && arg.startsWith("--")) {
      takeLong(state, arg);
    } else if (arg.length > 1 && arg[0] === "-" && arg !== "--") {
      takeShorts(state, arg);
    } else {
      if (arg !== "--") operands.push(arg);
      if (arg === "--" || command.operands.rest) {
        while (state.index < args.length) operands.push(args[state.index++] ?? "");
      }
    }
  }
  const { flags, help } = state;
  if (!help) checkCount(command, operands.length);
  return { help, flags, operands };
}

/** Parses the flags in front of the command's name. Returns how many words they took. */
export function parseGlobals(args: readonly string[], globals: Globals): number {
  let index = 0;
  while (index < args.length) {
    const arg = args[index] ?? "";
    if (!arg.startsWith("--") || arg === "--") break;
    const equals = arg.indexOf("=");
    const name = equals < 0 ? arg.slice(2) : arg.slice(2, equals);
    const flag = globalFlag(name);
    if (flag === undefined) break;
    index++;
    let text = equals < 0 ? undefined : arg.slice(equals + 1);
    if (text === undefined && flag.type !== "boolean") {
      text = args[index++];
      if (text === undefined) throw usageError(`Cannot use "--${name}": it needs a value`);
    }
    setGlobal(globals, name, flag.type === "boolean" ? parseBoolean(text ?? "true", `--${name}`) : text);
  }
  return index;
}

interface State {
  readonly command: Command;
  readonly args: readonly string[];
  /** Of the next word in `args`. */
  index: number;
  readonly flags: Record<string, unknown>;
  readonly globals: Globals;
  help: boolean;
}

/** `--name` or `--name=value`. */
function takeLong(state: State, arg: string): void {
  const equals = arg.indexOf("=");
  const label = equals < 0 ? arg : arg.slice(0, equals);
  if (label === "--help") {
    state.help = equals < 0 || parseBoolean(arg.slice(equals + 1), label);
    return;
  }
  const key = keyOf(state.command, label.slice(2));
  const flag = state.command.flags[key] ?? globalFlag(key);
  if (flag === undefined) throw unknownFlag(state.command, label);
  let text = equals < 0 ? undefined : arg.slice(equals + 1);
  if (flag.type !== "boolean") text ??= following(state, label);
  assign(state, { key, flag, text, label });
}

/** `-x`, `-xyz`, `-xvalue` or `-x=value`. */
function takeShorts(state: State, arg: string): void {
  for (let at = 1; at < arg.length; at++) {
    const label = `-${arg[at]}`;
    const key = keyOfShort(state.command, arg[at] ?? "");
    const flag = state.command.flags[key];
    if (flag === undefined) {
      if (label !== "-h") throw unknownFlag(state.command, label);
      state.help = true;
      return;
    }
    let text: string | undefined;
    if (arg[at + 1] === "=") text = arg.slice(at + 2);
    else if (flag.type !== "boolean") text = arg.slice(at + 1) || following(state, label);
    assign(state, { key, flag, text, label });
    if (text !== undefined) return;
  }
}

interface Met {
  readonly key: string;
  readonly flag: Flag;
  readonly text: string | undefined;
  readonly label: string;
}

function assign({ command, flags, globals }: State, { key, flag, text, label }: Met): void {
  let value: unknown;
  if (flag.type === "boolean") value = text === undefined || parseBoolean(text, label);
  else if (text?.includes("\0")) throw usageError(`Cannot use the value of ${label}: it contains a NUL character`);
  else value = flag.parse ? flag.parse(text ?? "", label) : text;

  if (!Object.hasOwn(command.flags, key)) {
    setGlobal(globals, key, value);
  } else if (flag.type === "list") {
    const values = flags[key];
    if (Array.isArray(values)) values.push(value);
    else flags[key] = [value];
  } else if (value === "" && flag.type === "string" && !flag.mayBeEmpty) {
    delete flags[key];
  } else {
    flags[key] = value;
  }
}

function setGlobal(globals: Globals, name: string, value: unknown): void {
  if (name === "debug") globals.debug = value === true;
  else if (typeof value !== "string" || value === "") throw usageError(`Cannot use "--${name}": its value is empty`);
  else if (name === "root") globals.root = value;
  else if (name === "storage-driver") globals.storageDriver = value;
  else globals.runRoot = value;
}

function globalFlag(name: string): Flag | undefined {
  return name === "root" || name === "run-root" || name === "storage-driver" || name === "debug"
    ? globalFlags[name]
    : undefined;
}

/** The flag's own name for itself or an alias; `name` when there is neither. */
function keyOf(command: Command, name: string): string {
  if (Object.hasOwn(command.flags, name)) return name;
  for (const key in command.flags) if (command.flags[key]?.aliases?.includes(name)) return key;
  return name in Object.prototype ? "" : name;
}

function keyOfShort(command: Command, letter: string): string {
  for (const key in command.flags) if (command.flags[key]?.short === letter) return key;
  return "";
}

function following(state: State, label: string): string {
  const text = state.args[state.index++];
  if (text !== undefined) return text;
  throw usageError(`Cannot use "${label}": it needs a value`, helpHint(state.command));
}

function unknownFlag(command: Command, label: string): Error {
  const names: string[] = [];
  if (label.startsWith("--")) {
    for (const key in command.flags)
      names.push(`--${key}`, ...(command.flags[key]?.aliases ?? []).map((a) => `--${a}`));
    names.push("--root", "--run-root", "--storage-driver", "--debug", "--help");
  }
  const near = nearest(label, names);
  const hint = near === undefined ? helpHint(command) : `Did you mean "${near}"? ${helpHint(command)}`;
  return usageError(`Cannot run "bb ${command.name}": it has no flag ${JSON.stringify(label)}`, hint);
}

function checkCount(command: Command, count: number): void {
  const { usage, min, max } = command.operands;
  if (count >= min && (max === undefined || count <= max)) return;
  const words = count === 1 ? "1 argument" : `${count} arguments`;
  const wanted = max === 0 ? "none" : max === min ? `${min}` : count < min ? `at least ${min}` : `at most ${max}`;
  throw usageError(
    `Cannot run "bb ${command.name}": it takes ${wanted} and got ${words}`,
    `Write "bb ${command.name} [flags]${usage === "" ? "" : ` ${usage}`}". ${helpHint(command)}`,
  );
}

function helpHint(command: Command): string {
  return `See "bb ${command.name} --help"`;
}
