import { openEngine, stopContainer } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { forEachName } from "../each.ts";
import { parseTimeout } from "../values/time.ts";

export default defineCommand({
  name: "stop",
  summary: "Ask containers to end, and kill those that do not",
  operands: { usage: "CONTAINER [CONTAINER...]", min: 1 },
  flags: {
    timeout: {
      type: "string",
      short: "t",
      aliases: ["time"],
      value: "SECONDS",
      parse: parseTimeout,
      description: "How long to wait before killing (default: 10); -1 waits without end",
    },
    signal: {
      type: "string",
      short: "s",
      value: "SIGNAL",
      description: "Signal to ask with (default: the image's, or TERM)",
    },
  },
  examples: ["bb stop web", "bb stop -t 1 web db"],
  async run({ flags: { timeout, signal }, operands, globals }) {
    const engine = openEngine(globals);
    return await forEachName(operands, globals, async (name) => {
      await stopContainer(engine, name, {
        ...(timeout !== undefined && { timeoutSec: timeout }),
        ...(signal !== undefined && { signal }),
      });
      return name;
    });
  },
});
