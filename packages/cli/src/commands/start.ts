import { openEngine, startContainer, startForeground } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { forEachName } from "../each.ts";
import { processFlags } from "../flags.ts";
import { usageError } from "../usage.ts";

export default defineCommand({
  name: "start",
  summary: "Start containers that were created or have ended",
  operands: { usage: "CONTAINER [CONTAINER...]", min: 1 },
  flags: {
    attach: { type: "boolean", short: "a", description: "Stay, show its output, and end with its status" },
    interactive: { type: "boolean", short: "i", description: "Stay, and pass standard input on" },
    "detach-keys": processFlags["detach-keys"],
  },
  examples: ["bb start web db", "bb start -ai shell"],
  async run({ flags, operands, globals }) {
    const engine = openEngine(globals);
    const [name = ""] = operands;
    if (!flags.attach && !flags.interactive) {
      return await forEachName(operands, globals, async (each) => {
        await startContainer(engine, each);
        return each;
      });
    }
    if (operands.length > 1) throw usageError("Cannot attach to several containers: start them one by one");
    const keys = flags["detach-keys"];
    return await startForeground(engine, name, {
      interactive: flags.interactive === true,
      ...(keys !== undefined && { detachKeys: keys }),
    });
  },
});
