import { openEngine, runDetached, runForeground } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { containerFlags, containerOptions } from "../container-options.ts";
import { processFlags } from "../flags.ts";
import { wholeLine } from "../line.ts";
import { printLine } from "../output.ts";
import { pullHooks } from "../pull-hooks.ts";

export default defineCommand({
  name: "run",
  summary: "Run a command in a new container",
  operands: { usage: "IMAGE [COMMAND] [ARG...]", min: 1, rest: true },
  flags: { detach: processFlags.detach, "detach-keys": processFlags["detach-keys"], ...containerFlags },
  failure: 125,
  examples: [
    "bb run -it --rm debian bash                     a shell in a new Debian",
    "bb run -it --rm host bash                       the same over the host's own files",
    "bb run --rm ./rootfs /bin/ls -la /              a directory as root",
    "bb run -d --name web -v ./site:/srv:ro IMAGE    in the background, with a directory of yours",
    "bb run --rm --memory 256m --cpus 1.5 IMAGE      with limits",
  ],
  async run({ flags, operands, globals }) {
    const options = containerOptions(flags, operands);
    const engine = openEngine(globals);
    const hooks = { ...pullHooks(flags.quiet === true), line: wholeLine(flags) };
    if (flags.detach) {
      printLine(await runDetached(engine, options, hooks));
      return 0;
    }
    const keys = flags["detach-keys"];
    return await runForeground(engine, keys === undefined ? options : { ...options, detachKeys: keys }, hooks);
  },
});
