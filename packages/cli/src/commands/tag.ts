import { openEngine, tagImage } from "@bantubox/core";
import { defineCommand } from "../command.ts";

export default defineCommand({
  name: "tag",
  summary: "Give an image one more name",
  operands: { usage: "IMAGE NAME[:TAG]", min: 2, max: 2 },
  flags: {},
  examples: ["bb tag app:1.0 registry.example.org/team/app:1.0", "bb tag 3f2a app:latest"],
  async run({ operands: [image = "", name = ""], globals }) {
    await tagImage(openEngine(globals), image, name);
    return 0;
  },
});
