import { imageHistory, openEngine } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { listFlags } from "../flags.ts";
import { ellipsis, formatAge, formatDate, formatSize, shortId } from "../format.ts";
import { formatListing } from "../listing.ts";
import { writeOut } from "../output.ts";

/** A command is cut after so many columns, as Docker does it. */
const COMMAND_WIDTH = 45;

const columns = {
  ID: "IMAGE",
  CreatedSince: "CREATED",
  CreatedBy: "CREATED BY",
  Size: "SIZE",
  Comment: "COMMENT",
} as const;

export default defineCommand({
  name: "history",
  summary: "Show how an image was made",
  operands: { usage: "IMAGE", min: 1, max: 1 },
  flags: {
    human: { type: "boolean", short: "H", description: "Sizes and dates for people (default: true)" },
    ...listFlags,
  },
  examples: ["bb history debian", "bb history --no-trunc --format '{{.CreatedBy}}' app:1.0"],
  async run({ flags, operands: [image = ""], globals }) {
    const nowMs = Date.now();
    const isForPeople = flags.human !== false;
    const truncate = !flags["no-trunc"];
    const rows = (await imageHistory(openEngine(globals), image)).map((step) => {
      const createdMs = Date.parse(step.created ?? "");
      const date = Number.isNaN(createdMs) ? "" : formatDate(createdMs);
      // Docker shows a tab of a Dockerfile as a space, and so does a table need it.
      const command = (step.createdBy ?? "").replaceAll("\t", " ");
      return {
        ID: step.id === undefined ? "<missing>" : truncate ? shortId(step.id) : step.id,
        CreatedSince: Number.isNaN(createdMs) ? "N/A" : isForPeople ? formatAge(createdMs, nowMs) : date,
        CreatedAt: date === "" ? "N/A" : date,
        CreatedBy: truncate ? ellipsis(command, COMMAND_WIDTH) : command,
        Size: isForPeople ? formatSize(step.bytes) : String(step.bytes),
        Comment: step.comment ?? "",
      };
    });
    writeOut(formatListing({ columns, rows, format: flags.format, quiet: flags.quiet ? "ID" : undefined }));
    return 0;
  },
});
