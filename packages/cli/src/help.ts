import { type ArgsDef, type CommandDef, defineCommand, renderUsage } from "citty";
import { painter } from "./color.ts";
import { type Command, type Flags, globalFlags } from "./command.ts";
import { commands, groupSummaries, groups, type Load } from "./commands.ts";

const SUMMARY = "Linux containers without a daemon";

const EXAMPLES = ["bb run -it --rm host bash", "bb run --rm debian cat /etc/os-release", "bb run --help"];

export interface Topic {
  readonly group?: string | undefined;
  /** How the command was called: `rm` of `image rm`. */
  readonly word?: string | undefined;
  readonly command?: Command | undefined;
}

/** The usage text of everything, of a group, or of one command, ready to print. */
export async function usage({ group, word, command }: Topic): Promise<string> {
  if (command !== undefined)
    return finish(await renderUsage(toCitty({ ...command, name: word ?? command.name }), named(group)), command);
  if (group !== undefined) return finish(await renderUsage(groupOf(group), named()), {});
  return finish(await renderUsage(rootOf()), { examples: EXAMPLES });
}

/** The tree of commands as citty knows it. */
function rootOf(): CommandDef {
  const subCommands: Record<string, () => Promise<CommandDef>> = {};
  for (const name in commands) subCommands[name] = () => load(name);
  for (const name in groups) subCommands[name] = async () => groupOf(name);
  return defineCommand({ meta: { name: "bb", description: SUMMARY }, args: toArgs(globalFlags), subCommands });
}

function groupOf(group: string): CommandDef {
  const words = groups[group] ?? {};
  const subCommands: Record<string, () => Promise<CommandDef>> = {};
  // Of several words for one command, the first is shown.
  for (const [word, name] of Object.entries(words)) {
    if (Object.values(words).indexOf(name) === Object.keys(words).indexOf(word)) subCommands[word] = () => load(name);
  }
  return defineCommand({ meta: { name: group, description: groupSummaries[group] ?? "" }, subCommands });
}

function named(group?: string): CommandDef {
  return { meta: { name: group === undefined ? "bb" : `bb ${group}` } };
}

async function load(command: string | Load): Promise<CommandDef> {
  const module = await (typeof command === "string" ? commands[command] : command)?.();
  return module === undefined ? {} : toCitty(module.default);
}

/** A command of ours as one of citty's: for its help, not for its parser. */
function toCitty({ name, summary, flags }: Command): CommandDef {
  return defineCommand({ meta: { name, description: summary }, args: toArgs(flags) });
}

function toArgs(flags: Flags): ArgsDef {
  const args: ArgsDef = {};
  for (const [name, flag] of Object.entries(flags)) {
    const alias = flag.short === undefined ? [] : [flag.short];
    const also = flag.aliases === undefined ? "" : ` (or --${flag.aliases.join(", --")})`;
    if (flag.type === "boolean") args[name] = { type: "boolean", alias, description: flag.description + also };
    else args[name] = { type: "string", alias, description: flag.description + also, valueHint: flag.value };
  }
  return args;
}

/** Lays citty's text out as Docker's readers know it, with our colours instead of its own. */
function finish(text: string, { operands, examples = [] }: Pick<Partial<Command>, "operands" | "examples">): string {
  const paint = painter(1);
  const lines = Bun.stripANSI(text).trimEnd().split("\n");
  // A row is a label, moved to the right by spaces, four spaces, and a description.
  const rows = lines.map((line) => /^ {2,}(\S.*?) {4}(\S.*?) *$/.exec(line));
  const hasShort = rows.some((row) => /^-[^-]/.test(row?.[1] ?? ""));
  const labels = rows.map((row) => (hasShort && row?.[1]?.startsWith("--") ? `    ${row[1]}` : (row?.[1] ?? "")));
  const width = Math.max(0, ...labels.map((label) => label.length));
  const shown = lines.map((line, index) => {
    const row = rows[index];
    const label = labels[index] ?? "";
    if (row) return `  ${paint("mist", label)}${" ".repeat(width - label.length)}  ${row[2]}`;
    if (!line.startsWith("USAGE ")) return line.replace(/^[A-Z]+$/, (title) => paint("sage", title));
    // Citty names every command here, or every operand by itself.
    const usage = line
      .slice(6)
      .replace(/\S+\|\S+$/, "COMMAND [ARG...]")
      .trimEnd();
    return `${paint("sage", "USAGE")} ${usage}${operands?.usage ? ` ${operands.usage}` : ""}`;
  });
  if (examples.length > 0) shown.push("", paint("sage", "EXAMPLES"), "", ...examples.map((each) => `  ${each}`));
  return `${shown.join("\n")}\n`;
}
