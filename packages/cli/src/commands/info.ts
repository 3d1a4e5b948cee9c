import { info, openEngine } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { formatFacts } from "../facts.ts";
import { printLine } from "../output.ts";

export default defineCommand({
  name: "info",
  summary: "Print what there is and what this host offers",
  operands: { usage: "", min: 0, max: 0 },
  flags: {
    format: { type: "string", short: "f", value: "FORMAT", description: 'Print as "json", or by a template' },
  },
  examples: ["bb info", "bb info -f json"],
  async run({ flags, globals }) {
    printLine(await formatFacts(await info(openEngine(globals)), flags.format));
    return 0;
  },
});
