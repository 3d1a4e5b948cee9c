import { openEngine, removeImage } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { forEachName } from "../each.ts";
import { imageLines } from "../image-row.ts";

export default defineCommand({
  name: "rmi",
  summary: "Remove images",
  operands: { usage: "IMAGE [IMAGE...]", min: 1 },
  flags: {
    force: { type: "boolean", short: "f", description: "Even if it has several names or containers that have ended" },
  },
  examples: ["bb rmi alpine:3.20"],
  async run({ flags, operands, globals }) {
    const engine = openEngine(globals);
    return await forEachName(operands, globals, async (name) =>
      imageLines(await removeImage(engine, name, { force: flags.force === true })),
    );
  },
});
