import { createContainer, openEngine } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { containerFlags, containerOptions } from "../container-options.ts";
import { printLine } from "../output.ts";
import { pullHooks } from "../pull-hooks.ts";

export default defineCommand({
  name: "create",
  summary: "Make a container without starting it",
  operands: { usage: "IMAGE [COMMAND] [ARG...]", min: 1, rest: true },
  flags: containerFlags,
  failure: 125,
  examples: ["bb create --name job IMAGE make all", "bb start --attach job"],
  async run({ flags, operands, globals }) {
    const options = containerOptions(flags, operands);
    printLine(await createContainer(openEngine(globals), options, pullHooks(flags.quiet === true)));
    return 0;
  },
});
