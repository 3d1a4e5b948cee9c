import { openEngine, renameContainer } from "@bantubox/core";
import { defineCommand } from "../command.ts";

export default defineCommand({
  name: "rename",
  summary: "Give a container another name",
  operands: { usage: "CONTAINER NAME", min: 2, max: 2 },
  flags: {},
  examples: ["bb rename quick_fox web"],
  async run({ operands: [container = "", name = ""], globals }) {
    await renameContainer(openEngine(globals), container, name);
    return 0;
  },
});
