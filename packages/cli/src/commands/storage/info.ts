import { openEngine, storageInfo } from "@bantubox/core";
import { defineCommand } from "../../command.ts";
import { formatFacts } from "../../facts.ts";
import { formatSize } from "../../format.ts";
import { printLine } from "../../output.ts";

export default defineCommand({
  name: "storage info",
  summary: "Print what the store's layers and containers lie on",
  operands: { usage: "", min: 0, max: 0 },
  flags: {
    format: { type: "string", short: "f", value: "FORMAT", description: 'Print as "json", or by a template' },
  },
  examples: ["bb storage info", "bb storage info -f '{{.driver}}'"],
  async run({ flags, globals }) {
    const facts = await storageInfo(openEngine(globals));
    const { totalBytes, availableBytes, ...rest } = facts;
    const shown = { ...rest, total: formatSize(totalBytes), available: formatSize(availableBytes) };
    printLine(await formatFacts(flags.format === undefined ? shown : facts, flags.format));
    return 0;
  },
});
