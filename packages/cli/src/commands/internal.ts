import { internalFailed } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { usageError } from "../usage.ts";

/** What processes of ours execute, and nobody types. */
export default defineCommand({
  name: "internal",
  summary: "For BantuBox's own processes",
  operands: { usage: "VERB [ARG...]", min: 1, rest: true },
  flags: {},
  failure: 125,
  examples: [],
  async run({ operands: [verb = "", ...args] }) {
    if (verb === "failed") return await internalFailed(args);
    throw usageError(`Cannot run "bb internal ${verb}": there is no such command`);
  },
});
