import { createVolume, openEngine } from "@bantubox/core";
import { defineCommand } from "../../command.ts";
import { printLine } from "../../output.ts";

export default defineCommand({
  name: "volume create",
  summary: "Make a volume",
  operands: { usage: "[NAME]", min: 0, max: 1 },
  flags: {},
  examples: ["bb volume create data", "bb run -v $(bb volume create):/data alpine"],
  async run({ operands: [name], globals }) {
    printLine(await createVolume(openEngine(globals), name));
    return 0;
  },
});
