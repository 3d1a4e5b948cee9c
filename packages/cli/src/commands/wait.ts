import { openEngine, waitContainer } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { forEachName } from "../each.ts";

export default defineCommand({
  name: "wait",
  summary: "Wait until containers end, and print their exit statuses",
  operands: { usage: "CONTAINER [CONTAINER...]", min: 1 },
  flags: {},
  examples: ["bb wait job"],
  async run({ operands, globals }) {
    const engine = openEngine(globals);
    return await forEachName(operands, globals, async (name) => String(await waitContainer(engine, name)));
  },
});
