import { attachForeground, openEngine } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { processFlags } from "../flags.ts";

export default defineCommand({
  name: "attach",
  summary: "Connect this terminal to a running container",
  operands: { usage: "CONTAINER", min: 1, max: 1 },
  flags: {
    "no-stdin": { type: "boolean", description: "Pass no standard input on" },
    "detach-keys": processFlags["detach-keys"],
  },
  examples: ["bb attach web"],
  async run({ flags, operands: [name = ""], globals }) {
    const keys = flags["detach-keys"];
    return await attachForeground(openEngine(globals), name, {
      noStdin: flags["no-stdin"] === true,
      ...(keys !== undefined && { detachKeys: keys }),
    });
  },
});
