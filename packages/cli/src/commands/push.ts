import { type Compression, type Engine, openEngine, type PushResult, pushAllTags, pushImage } from "@bantubox/core";
import { defineCommand, type ParsedFlags } from "../command.ts";
import { escapeText } from "../escape.ts";
import { registryFlags, registryOptions } from "../flags.ts";
import { printLine } from "../output.ts";
import { showProgress } from "../progress.ts";
import { usageError } from "../usage.ts";

function parseCompression(text: string): Compression {
  if (text === "gzip" || text === "zstd" || text === "none") return text;
  throw usageError(`Cannot compress with ${JSON.stringify(text)}`, "It is gzip, zstd or none");
}

const flags = {
  "all-tags": { type: "boolean", short: "a", description: "Push all tags of the repository that are here" },
  compression: {
    type: "string",
    value: "gzip|zstd|none",
    parse: parseCompression,
    description: "For layers that were made here (default: gzip)",
  },
  quiet: { type: "boolean", short: "q", description: "Print only names" },
  ...registryFlags,
} as const;

/** Pushes, and has drawn its progress for the last time when it returns. */
async function pushShown(
  engine: Engine,
  [name = "", destination]: readonly string[],
  given: ParsedFlags<typeof flags>,
): Promise<PushResult[]> {
  using view = given.quiet ? undefined : showProgress();
  const options = {
    ...registryOptions(given),
    ...(given.compression !== undefined && { compression: given.compression }),
    ...(view !== undefined && { onProgress: view.onProgress }),
  };
  if (given["all-tags"]) return await pushAllTags(engine, name, options);
  return [await pushImage(engine, name, { ...options, destination })];
}

export default defineCommand({
  name: "push",
  summary: "Bring an image to a registry",
  operands: { usage: "NAME[:TAG] [DESTINATION]", min: 1, max: 2 },
  flags,
  examples: [
    "bb push registry.example.org/team/app:1.0",
    "bb push -a registry.example.org/team/app",
    "bb push app:1.0 localhost:5000/app:1.0",
  ],
  async run({ flags: given, operands, globals }) {
    if (given["all-tags"] && operands.length > 1) {
      throw usageError("Cannot push all tags to another name: --all-tags takes one argument");
    }
    for (const { name, digest, size } of await pushShown(openEngine(globals), operands, given)) {
      const tag = name.slice(name.lastIndexOf(":") + 1);
      printLine(given.quiet ? escapeText(name) : `${escapeText(tag)}: digest: ${digest} size: ${size}`);
    }
    return 0;
  },
});
