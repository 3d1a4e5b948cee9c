import { basename, resolve } from "node:path";
import { initImage, openEngine } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { printLine } from "../output.ts";
import { invalid, usageError } from "../usage.ts";
import { environmentOf, parseEnv, parseLabel } from "../values/env.ts";

/** `["a", "b"]`, or a line for the image's shell, as in a Dockerfile. */
function parseCommand(text: string, label: string): string[] {
  if (!text.trimStart().startsWith("[")) return text === "" ? [] : ["/bin/sh", "-c", text];
  let words: unknown;
  try {
    words = JSON.parse(text);
  } catch {
    words = undefined;
  }
  if (Array.isArray(words) && words.every((word) => typeof word === "string")) return words;
  throw invalid(
    text,
    label,
    "it is not a JSON list of strings",
    `Write '["/bin/server", "--port", "80"]', or a line for the shell`,
  );
}

/** The directory's own name, as an image may be called. */
function nameOf(dir: string): string {
  const name = basename(resolve(dir))
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/^[._-]+|[._-]+$/g, "");
  if (name === "")
    throw usageError(`Cannot name an image after ${JSON.stringify(dir)}: no letter is left`, "Write a name behind it");
  return name;
}

export default defineCommand({
  name: "init",
  summary: "Make an image of a directory",
  operands: { usage: "DIR [NAME[:TAG]]", min: 1, max: 2 },
  flags: {
    cmd: {
      type: "string",
      value: "COMMAND",
      parse: parseCommand,
      description: "Default command: a line for the shell, or a JSON list",
    },
    entrypoint: {
      type: "string",
      value: "COMMAND",
      parse: parseCommand,
      description: "Command that arguments are added to",
    },
    env: { type: "list", short: "e", value: "NAME=VALUE", parse: parseEnv, description: "Set a variable" },
    workdir: { type: "string", short: "w", value: "DIR", description: "Directory that commands start in" },
    user: { type: "string", short: "u", value: "USER[:GROUP]", description: "User that commands run as" },
    label: { type: "list", short: "l", value: "NAME=VALUE", parse: parseLabel, description: "Set a label" },
  },
  examples: ["bb init ./rootfs", `bb init ./rootfs tools:1.0 --cmd '["/bin/bash"]' -e LANG=C.UTF-8`],
  async run({ flags: { cmd, entrypoint, env, workdir, user, label }, operands: [dir = "", name], globals }) {
    if (dir === "") throw usageError("Cannot make an image: the directory's name is empty");
    const id = await initImage(openEngine(globals), resolve(dir), name ?? nameOf(dir), {
      ...(cmd !== undefined && { cmd }),
      ...(entrypoint !== undefined && { entrypoint }),
      ...(env !== undefined && { env: environmentOf([], env) }),
      ...(workdir !== undefined && { workdir }),
      ...(user !== undefined && { user }),
      ...(label !== undefined && { labels: label }),
    });
    printLine(id);
    return 0;
  },
});
