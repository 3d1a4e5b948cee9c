import { isErrno, openEngine, removeVolume } from "@bantubox/core";
import { defineCommand } from "../../command.ts";
import { forEachName } from "../../each.ts";

export default defineCommand({
  name: "volume rm",
  summary: "Delete volumes and what is in them",
  operands: { usage: "VOLUME [VOLUME...]", min: 1 },
  flags: { force: { type: "boolean", short: "f", description: "No error if there is none" } },
  examples: ["bb volume rm data"],
  async run({ flags, operands, globals }) {
    const engine = openEngine(globals);
    return await forEachName(operands, globals, async (name) => {
      try {
        await removeVolume(engine, name);
      } catch (error) {
        if (!flags.force || !isErrno(error, "no-such-volume")) throw error;
      }
      return name;
    });
  },
});
