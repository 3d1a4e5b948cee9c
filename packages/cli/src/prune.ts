import { isatty } from "node:tty";
import type { PruneFilter } from "@bantubox/core";
import type { Flags } from "./command.ts";
import { confirm } from "./confirm.ts";
import { usageError } from "./usage.ts";
import { parseMoment } from "./values/time.ts";

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
 * Asks whether it shall be done.
 *
 * @param warning What will be lost.
 * @throws {BoxError} `usage` where nobody can answer.
 */
export async function mayPrune(command: string, warning: string, force = false): Promise<boolean> {
  if (force) return true;
  if (isatty(0)) return await confirm(warning);
  throw usageError(`Cannot ask before "bb ${command}": this is no terminal`, "Use --force to do it without a question");
}

/** Reads `until=…`, `label=…` and `label!=…`. */
export function parsePruneFilters(filters: readonly string[] = []): PruneFilter {
  const labels: string[] = [];
  const withoutLabels: string[] = [];
  let untilMs: number | undefined;
  for (const filter of filters) {
    const [, key, value = ""] = /^([a-z]+!?)=(.+)$/s.exec(filter) ?? [];
    if (key === "until") untilMs = parseMoment(value, "--filter until");
    else if (key === "label") labels.push(value);
    else if (key === "label!") withoutLabels.push(value);
    else {
      throw usageError(
        `Cannot use ${JSON.stringify(filter)} for --filter: there is no such filter`,
        "The filters are until=, label= and label!=",
      );
    }
  }
  return { untilMs, labels, withoutLabels };
}

/** What was deleted, a list with its heading, if there is anything. */
export function deletedText(heading: string, names: readonly string[]): string {
  return names.length === 0 ? "" : `${heading}:\n${names.map((name) => `${name}\n`).join("")}\n`;
}
