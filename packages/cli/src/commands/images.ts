import { listImages, openEngine } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { listFlags } from "../flags.ts";
import { IMAGE_FILTERS, imageFilter } from "../image-filter.ts";
import { imageColumns, imageRows } from "../image-row.ts";
import { formatListing } from "../listing.ts";
import { writeOut } from "../output.ts";

export default defineCommand({
  name: "images",
  summary: "List images",
  operands: { usage: "[NAME[:TAG]]", min: 0, max: 1 },
  flags: {
    all: { type: "boolean", short: "a", description: "All images; there are no others that would be left out" },
    digests: { type: "boolean", description: "Show digests" },
    filter: {
      type: "list",
      short: "f",
      value: "KEY=VALUE",
      description: `Only these: ${IMAGE_FILTERS.join(", ")}`,
    },
    ...listFlags,
  },
  examples: [
    "bb images",
    "bb images 'team/*:1.?'",
    "bb images -q --filter dangling=true",
    `bb images --format '{{.Repository}}:{{.Tag}} {{.Size}}'`,
  ],
  async run({ flags, operands, globals }) {
    const nowMs = Date.now();
    const truncate = !flags["no-trunc"];
    const filters = [...(flags.filter ?? []), ...operands.map((name) => `reference=${name}`)];
    const found = await listImages(openEngine(globals), imageFilter(filters, IMAGE_FILTERS));
    const rows = found.flatMap((image) => imageRows(image, { nowMs, truncate }));
    const { ID, CreatedSince, Size, ...names } = imageColumns;
    const columns = flags.digests ? { ...names, Digest: "DIGEST", ID, CreatedSince, Size } : imageColumns;
    writeOut(formatListing({ columns, rows, format: flags.format, quiet: flags.quiet ? "ID" : undefined }));
    return 0;
  },
});
