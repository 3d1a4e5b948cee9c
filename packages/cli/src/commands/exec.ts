import { type ExecOptions, execDetached, execForeground, openEngine } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { processFlags } from "../flags.ts";
import { wholeLine } from "../line.ts";
import { environmentOf } from "../values/env.ts";

export default defineCommand({
  name: "exec",
  summary: "Run a command in a running container",
  operands: { usage: "CONTAINER COMMAND [ARG...]", min: 2, rest: true },
  flags: {
    ...processFlags,
    detach: { ...processFlags.detach, description: "Run it in the background and print nothing" },
    privileged: { ...processFlags.privileged, description: "All capabilities, and no seccomp filter" },
  },
  failure: 125,
  examples: ["bb exec -it web sh", "bb exec -u postgres -w /tmp db pg_dump -f dump.sql"],
  async run({ flags, operands, globals }) {
    const [name = "", ...command] = operands;
    const options: { -readonly [K in keyof ExecOptions]: ExecOptions[K] } = { command };
    if (flags.env || flags["env-file"]) options.env = environmentOf(flags["env-file"], flags.env);
    if (flags.workdir !== undefined) options.workdir = flags.workdir;
    if (flags.user !== undefined) options.user = flags.user;
    if (flags.tty) options.tty = true;
    if (flags.interactive) options.interactive = true;
    if (flags.privileged) options.privileged = true;
    if (flags["detach-keys"] !== undefined) options.detachKeys = flags["detach-keys"];
    const engine = openEngine(globals);
    if (!flags.detach) return await execForeground(engine, name, options, wholeLine(flags));
    await execDetached(engine, name, options);
    return 0;
  },
});
