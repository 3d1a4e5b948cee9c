import type { Flags } from "./command.ts";
import { confirm } from "./confirm.ts";
import { usageError } from "./usage.ts";

/** Of everything that deletes what nobody needs. */
export const pruneFlags = {
  force: { type: "boolean", short: "f", description: "Do not ask" },
} as const satisfies Flags;

export const pruneFilterFlags = {
  filter: {
    type: "list",
    value: "KEY=VALUE",
    description: "Only what was made before until=24h, has label=NAME[=VALUE], or has not (label!=)",
  },
} as const satisfies Flags;

/**
 * Asks whether it shall be done, on a terminal or by way of a pipe.
 *
 * @param warning What will be lost.
 * @throws {BoxError} `usage` where nobody can answer.
 */
export async function mayPrune(command: string, warning: string, force = false): Promise<boolean> {
  if (force) return true;
  const answer = await confirm(warning);
  if (answer !== undefined) return answer;
  throw usageError(`Cannot ask before "bb ${command}": nobody answers`, "Use --force to do it without a question");
}

/** What was deleted, a list with its heading, if there is anything. */
export function deletedText(heading: string, names: readonly string[]): string {
  return names.length === 0 ? "" : `${heading}:\n${names.map((name) => `${name}\n`).join("")}\n`;
}
