import { version } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { formatFacts } from "../facts.ts";
import { printLine } from "../output.ts";

export default defineCommand({
  name: "version",
  summary: "Print the versions of BantuBox and what it stands on",
  operands: { usage: "", min: 0, max: 0 },
  flags: {
    format: { type: "string", short: "f", value: "FORMAT", description: 'Print as "json", or by a template' },
  },
  examples: ["bb version", "bb version -f '{{json .}}'"],
  async run({ flags }) {
    printLine(await formatFacts(await version(), flags.format));
    return 0;
  },
});
