import { type Engine, openEngine, type PullResult, pullAllTags, pullImage } from "@bantubox/core";
import { defineCommand, type ParsedFlags } from "../command.ts";
import { escapeText } from "../escape.ts";
import { describe } from "../fail.ts";
import { registryFlags, registryOptions } from "../flags.ts";
import { say } from "../message.ts";
import { printLine } from "../output.ts";
import { showProgress } from "../progress.ts";
import { usageError } from "../usage.ts";

/** `pull NAME TAG` is `pull NAME:TAG`. */
export function referenceOf([name = "", tag]: readonly string[]): string {
  if (tag === undefined) return name;
  const last = name.slice(name.lastIndexOf("/") + 1);
  if (last.includes(":") || name.includes("@")) {
    throw usageError(`Cannot pull ${JSON.stringify(`${name} ${tag}`)}: the name has a tag or digest already`);
  }
  return tag.startsWith("sha256:") ? `${name}@${tag}` : `${name}:${tag}`;
}

const flags = {
  "all-tags": { type: "boolean", short: "a", description: "Pull all tags of the repository" },
  platform: { type: "string", value: "OS/ARCH", description: "Platform, such as linux/arm64 (default: this host's)" },
  quiet: { type: "boolean", short: "q", description: "Print only the name" },
  ...registryFlags,
} as const;

/** Pulls, and has drawn its progress for the last time when it returns. */
async function pullShown(engine: Engine, reference: string, given: ParsedFlags<typeof flags>): Promise<PullResult[]> {
  using view = given.quiet ? undefined : showProgress();
  const options = {
    ...registryOptions(given),
    ...(given.platform !== undefined && { platform: given.platform }),
    ...(view !== undefined && { onProgress: view.onProgress }),
  };
  if (!given["all-tags"]) return [await pullImage(engine, reference, options)];
  const { pulled, skipped } = await pullAllTags(engine, reference, options);
  for (const { reason } of skipped) say("warn", describe(reason).text);
  return [...pulled];
}

export default defineCommand({
  name: "pull",
  summary: "Bring an image from its registry",
  operands: { usage: "NAME[:TAG] | NAME TAG", min: 1, max: 2 },
  flags,
  examples: [
    "bb pull alpine",
    "bb pull alpine 3.20",
    "bb pull --platform linux/arm64 registry.example.org/team/app@sha256:…",
    "bb pull -a registry.example.org/team/app",
  ],
  async run({ flags: given, operands, globals }) {
    for (const { digest, status, name } of await pullShown(openEngine(globals), referenceOf(operands), given)) {
      if (!given.quiet) {
        const words = status === "downloaded" ? "Downloaded newer image" : "Image is up to date";
        printLine(`Digest: ${escapeText(digest)}`);
        printLine(`Status: ${words} for ${escapeText(name)}`);
      }
      printLine(escapeText(name));
    }
    return 0;
  },
});
