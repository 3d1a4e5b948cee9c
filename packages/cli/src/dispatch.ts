import type { Command, Globals } from "./command.ts";
import { aliases, commands, groups, hidden, type Load } from "./commands.ts";
import { nearest } from "./near.ts";
import { writeOut } from "./output.ts";
import { parse, parseGlobals } from "./parse.ts";
import { usageError } from "./usage.ts";

/**
 * Carries out one command line, without the program's name in front.
 *
 * The way to a command is two look-ups and one import: whatever is only for help or for failures is loaded then.
 *
 * @returns The exit status; what went wrong has been said.
 */
export async function dispatch(args: readonly string[]): Promise<number> {
  const globals: Globals = {};
  let command: Command | undefined;
  try {
    let at = parseGlobals(args, globals);
    let word = args[at++];
    if (word === undefined || word === "help" || word === "--help" || word === "-h") return await help(args.slice(at));
    if (word === "--version" || word === "-v") word = "version";
    let group: string | undefined;
    if (Object.hasOwn(groups, word)) {
      group = word;
      word = args[at++];
      if (word === undefined || word === "help" || word === "--help" || word === "-h") return await help([group]);
    }
    command = await findCommand(word, group);
    const parsed = parse(command, args.slice(at), globals);
    if (parsed.help) return await help(group === undefined ? [word] : [group, word]);
    return await command.run({ ...parsed, globals, group });
  } catch (error) {
    const { report } = await import("./fail.ts");
    return await report(error, { status: command?.failure, debug: globals.debug });
  }
}

/** Prints the usage of what `words` name: a command, a group, a command of a group, or everything. */
async function help(words: readonly string[]): Promise<number> {
  const [first, second] = words;
  const { usage } = await import("./help.ts");
  const group = first !== undefined && Object.hasOwn(groups, first) ? first : undefined;
  const word = group === undefined ? first : second;
  const command = word === undefined ? undefined : await findCommand(word, group);
  writeOut(await usage({ group, word, command }));
  return 0;
}

async function findCommand(word: string, group: string | undefined): Promise<Command> {
  const words = group === undefined ? undefined : groups[group];
  const load = words === undefined ? loadOf(own(aliases, word) ?? word) : loadOf(own(words, word));
  if (load !== undefined) return (await load()).default;

  const before = group === undefined ? "bb" : `bb ${group}`;
  const names = Object.keys(words ?? { ...commands, ...aliases, ...groups });
  const near = nearest(word, names);
  throw usageError(
    `Cannot run "${before} ${word}": there is no such command`,
    near === undefined ? `See "${before} --help"` : `Did you mean "${before} ${near}"?`,
  );
}

function loadOf(name: string | Load | undefined): Load | undefined {
  return typeof name === "string" ? (own(commands, name) ?? own(hidden, name)) : name;
}

/** A value of a table; what every object inherits is none. */
function own<T>(table: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}
