import type { Flags } from "./arguments.ts";
import { COMMANDS } from "./commands.ts";
import { GLOBAL_FLAGS } from "./globals.ts";

/** The help of one command, or of all. */
export async function helpText(program: string, name: string | undefined): Promise<string> {
  const entry = name !== undefined && Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (entry === undefined) return overview(program);
  const { summary, operands, flags } = (await entry[1]()).default;
  return [
    "NAME:",
    `   ${program} ${name} - ${summary}`,
    "",
    "USAGE:",
    `   ${program} ${name} [command options] ${operands}`,
    ...(Object.keys(flags).length === 0 ? [] : ["", "OPTIONS:", ...optionLines(flags)]),
  ].join("\n");
}

function overview(program: string): string {
  return [
    "NAME:",
    `   ${program} - Open Container Initiative runtime of BantuBox`,
    "",
    "USAGE:",
    `   ${program} [global options] command [command options] [arguments...]`,
    "",
    "COMMANDS:",
    ...Object.entries(COMMANDS).map(([name, [summary]]) => `   ${name.padEnd(12)}${summary}`),
    "",
    "GLOBAL OPTIONS:",
    ...optionLines(GLOBAL_FLAGS),
  ].join("\n");
}

function optionLines(flags: Flags): string[] {
  return Object.entries(flags).map(([name, { short, type, help }]) => {
    const names = `--${name}${short === undefined ? "" : `, -${short}`}${type === "boolean" ? "" : " value"}`;
    return `   ${names.padEnd(34)}${help}`;
  });
}
