import { type InspectedManifest, inspectManifest } from "@bantubox/core";
import { defineCommand } from "../../command.ts";
import { escapeJson } from "../../escape.ts";
import { registryFlags, registryOptions } from "../../flags.ts";
import { printLine } from "../../output.ts";

/** Docker's shape of one manifest with all that is known of it. */
function detailed({ reference, mediaType, digest, size, platform, bytes }: InspectedManifest): object {
  const document: unknown = JSON.parse(new TextDecoder().decode(bytes));
  return {
    Ref: reference,
    Descriptor: { mediaType, digest, size, ...(platform && { platform }) },
    Raw: Buffer.from(bytes).toString("base64"),
    [mediaType.startsWith("application/vnd.docker.") ? "SchemaV2Manifest" : "OCIManifest"]: document,
  };
}

export default defineCommand({
  name: "manifest inspect",
  summary: "Print an image's manifest or index, as its registry has it",
  operands: { usage: "NAME[:TAG|@DIGEST]", min: 1, max: 1 },
  flags: {
    verbose: { type: "boolean", short: "v", description: "With digests, sizes and, of an index, all that it lists" },
    ...registryFlags,
  },
  examples: ["bb manifest inspect alpine", "bb manifest inspect -v alpine:3.20"],
  async run({ flags, operands: [name = ""] }) {
    const verbose = flags.verbose === true;
    const found = await inspectManifest(name, { ...registryOptions(flags), verbose });
    const shown = found.map((each) =>
      verbose ? detailed(each) : (JSON.parse(new TextDecoder().decode(each.bytes)) as object),
    );
    printLine(escapeJson(shown.length === 1 ? shown[0] : shown, 4));
    return 0;
  },
});
