import { attachForeground, BoxError, openEngine, startContainer, startForeground } from "@bantubox/core";
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
      const start = async (each: string): Promise<string> => {
        await unlessRunning(
          () => startContainer(engine, each),
          async () => each,
        );
        return each;
      };
      return await forEachName(operands, globals, start, { inTurn: true });
    }
    if (operands.length > 1) throw usageError("Cannot attach to several containers: start them one by one");
    const keys = flags["detach-keys"];
    const interactive = flags.interactive === true;
    const more = keys === undefined ? {} : { detachKeys: keys };
    return await unlessRunning(
      () => startForeground(engine, name, { interactive, ...more }),
      () => attachForeground(engine, name, { noStdin: !interactive, ...more }),
    );
  },
});

/** As Docker has it, a container that runs is no failure of a start. */
async function unlessRunning<T>(start: () => Promise<T>, otherwise: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    if (!(error instanceof BoxError && error.code === "already-running")) throw error;
  }
  return await otherwise();
}
