import { parseArguments } from "./arguments.ts";
import { checkCount } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { fail } from "./fail.ts";
import { absolute, defaultRoot, GLOBAL_FLAGS, type Globals, type Program } from "./globals.ts";
import { makeLog, parseLogFormat, print } from "./log.ts";

/**
 * Runs the OCI runtime's command line. What goes wrong is said where the caller wants it.
 *
 * @returns The exit status.
 */
export async function runOci(args: readonly string[], program: Program): Promise<number> {
  let globals: Globals = { program, values: {}, root: defaultRoot(), log: undefined, isJson: false };
  try {
    const { values, rest } = parseArguments(GLOBAL_FLAGS, args);
    const log = values.log ? absolute(values.log) : undefined;
    const root = values.root ? absolute(values.root) : defaultRoot();
    const [name, ...words] = rest;
    globals = { ...globals, values, root };
    if (values.version) return await showVersion(globals);
    if (values.help) return await showHelp(globals, words[0]);
    globals = { ...globals, isJson: parseLogFormat(values["log-format"]) === "json" };
    // What explains a failure has something better to say than that.
    if (log !== undefined && name !== "internal") makeLog(log);
    globals = { ...globals, log };
    if (name === undefined || name === "help") return await showHelp(globals, words[0]);
    return await dispatch(globals, name, words);
  } catch (error) {
    return fail(globals, error);
  }
}

/** As runc ends. */
const UNKNOWN = 3;

async function dispatch(globals: Globals, name: string, words: readonly string[]): Promise<number> {
  if (name === "internal") return await (await import("./internal.ts")).runInternal(globals, words);
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (entry === undefined) {
    return fail(globals, `No help topic for '${name}'`, UNKNOWN);
  }
  const { default: command } = await entry[1]();
  if (words[0] === "--help" || words[0] === "-h") return await showHelp(globals, name);
  // What is passed on to another program may have options of its own.
  const passesOn = command.count[1] === undefined;
  const { values, rest } = parseArguments(command.flags, words, !passesOn);
  checkCount(command, rest.length);
  return await command.run(globals, values, rest);
}

async function showVersion({ program }: Globals): Promise<number> {
  print((await import("./version.ts")).versionText(program.name));
  return 0;
}

async function showHelp({ program }: Globals, name: string | undefined): Promise<number> {
  print(await (await import("./help.ts")).helpText(program.name, name));
  return 0;
}
