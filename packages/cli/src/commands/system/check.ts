import { checkSystem, openEngine } from "@bantubox/core";
import { defineCommand } from "../../command.ts";
import { shortId } from "../../format.ts";
import { formatListing } from "../../listing.ts";
import { printLine, writeOut } from "../../output.ts";

const COLUMNS = { Kind: "KIND", ID: "ID", Problem: "PROBLEM", Action: "ACTION" } as const;

export default defineCommand({
  name: "system check",
  summary: "Look whether everything that is stored is there and as it should be",
  operands: { usage: "", min: 0, max: 0 },
  flags: {
    repair: { type: "boolean", short: "r", description: "Extract broken layers again; remove what has lost its files" },
    quick: { type: "boolean", description: "Only look whether it is there, not what is in it" },
    format: { type: "string", value: "FORMAT", description: 'Print as "json", or by a template' },
    "no-trunc": { type: "boolean", description: "Print IDs in full" },
  },
  examples: ["bb system check", "bb system check --repair", "bb system check --quick --format json"],
  async run({ flags, globals }) {
    const problems = await checkSystem(openEngine(globals), {
      repair: flags.repair === true,
      quick: flags.quick === true,
    });
    const rows = problems.map((each) => ({
      Kind: each.kind,
      ID: flags["no-trunc"] || flags.format === "json" || each.kind === "leftover" ? each.id : shortId(each.id),
      Problem: each.problem,
      Action: each.action,
      Damage: each.isDamage,
      Repaired: each.isRepaired,
    }));
    if (rows.length === 0 && flags.format === undefined) printLine("Everything is there and as it should be");
    else writeOut(formatListing({ columns: COLUMNS, rows, format: flags.format }));
    return problems.some(({ isDamage, isRepaired }) => isDamage && !isRepaired) ? 1 : 0;
  },
});
