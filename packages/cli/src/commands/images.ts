import { listImages, openEngine } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { listFlags } from "../flags.ts";
import { imageColumns, imageRows } from "../image-row.ts";
import { formatListing } from "../listing.ts";
import { writeOut } from "../output.ts";

export default defineCommand({
  name: "images",
  summary: "List images",
  operands: { usage: "[NAME]", min: 0, max: 1 },
  flags: {
    digests: { type: "boolean", description: "Show digests" },
    ...listFlags,
  },
  examples: ["bb images", "bb images -q", `bb images --format '{{.Repository}}:{{.Tag}} {{.Size}}'`],
  async run({ flags, operands: [name], globals }) {
    const nowMs = Date.now();
    const truncate = !flags["no-trunc"];
    const rows = (await listImages(openEngine(globals)))
      .flatMap((image) => imageRows(image, { nowMs, truncate }))
      .filter(({ Repository, Tag }) => name === undefined || Repository === name || `${Repository}:${Tag}` === name);
    const { ID, CreatedSince, Size, ...names } = imageColumns;
    const columns = flags.digests ? { ...names, Digest: "DIGEST", ID, CreatedSince, Size } : imageColumns;
    writeOut(formatListing({ columns, rows, format: flags.format, quiet: flags.quiet ? "ID" : undefined }));
    return 0;
  },
});
