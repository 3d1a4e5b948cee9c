import { killContainer, openEngine } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { forEachName } from "../each.ts";

export default defineCommand({
  name: "kill",
  summary: "Send a signal to running containers",
  operands: { usage: "CONTAINER [CONTAINER...]", min: 1 },
  flags: {
    signal: { type: "string", short: "s", value: "SIGNAL", description: "Signal to send (default: KILL)" },
  },
  examples: ["bb kill web", "bb kill -s HUP web"],
  async run({ flags, operands, globals }) {
    const engine = openEngine(globals);
    return await forEachName(operands, globals, async (name) => {
      await killContainer(engine, name, flags.signal ?? "KILL");
      return name;
    });
  },
});
