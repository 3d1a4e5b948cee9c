import { commitContainer, openEngine } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { printLine } from "../output.ts";

export default defineCommand({
  name: "commit",
  summary: "Make an image of what a container has become",
  operands: { usage: "CONTAINER [NAME[:TAG]]", min: 1, max: 2 },
  flags: {
    author: { type: "string", short: "a", value: "NAME", description: "Who made it" },
    message: { type: "string", short: "m", value: "TEXT", description: "What for" },
    change: {
      type: "list",
      short: "c",
      value: "INSTRUCTION",
      description: "Change the image by a Dockerfile's instruction, such as 'CMD [\"sh\"]'",
    },
    pause: {
      type: "boolean",
      short: "p",
      description: "Let its processes stand still while its files are copied (default: true)",
    },
  },
  examples: ["bb commit web web:debug", `bb commit -m "curl added" -c 'ENV LANG=C.UTF-8' web tools`],
  async run({ flags: { author, message, change, pause }, operands: [container = "", name], globals }) {
    const options = { author, message, changes: change, pause };
    printLine(await commitContainer(openEngine(globals), container, name, options));
    return 0;
  },
});
