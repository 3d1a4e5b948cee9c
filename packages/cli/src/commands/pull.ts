import { type Engine, openEngine, pullImage } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { escapeText } from "../escape.ts";
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

/** Pulls, and has drawn its progress for the last time when it returns. */
async function pullShown(
  engine: Engine,
  reference: string,
  { quiet = false, platform }: { readonly quiet?: boolean; readonly platform?: string },
): ReturnType<typeof pullImage> {
  using view = quiet ? undefined : showProgress();
  return await pullImage(engine, reference, {
    ...(platform !== undefined && { platform }),
    ...(view !== undefined && { onProgress: view.onProgress }),
  });
}

export default defineCommand({
  name: "pull",
  summary: "Bring an image from its registry",
  operands: { usage: "NAME[:TAG] | NAME TAG", min: 1, max: 2 },
  flags: {
    platform: { type: "string", value: "OS/ARCH", description: "Platform, such as linux/arm64 (default: this host's)" },
    quiet: { type: "boolean", short: "q", description: "Print only the name" },
  },
  examples: ["bb pull alpine", "bb pull alpine 3.20", "bb pull registry.example.org/team/app@sha256:…"],
  async run({ flags, operands, globals }) {
    const { digest, status, name } = await pullShown(openEngine(globals), referenceOf(operands), flags);
    if (!flags.quiet) {
      printLine(`Digest: ${escapeText(digest)}`);
      printLine(
        `Status: ${status === "downloaded" ? "Downloaded newer image" : "Image is up to date"} for ${escapeText(name)}`,
      );
    }
    printLine(escapeText(name));
    return 0;
  },
});
