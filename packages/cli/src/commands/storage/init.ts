import { resolve } from "node:path";
import { initStorage, openEngine } from "@bantubox/core";
import { defineCommand } from "../../command.ts";
import { escapeJson, escapeText } from "../../escape.ts";
import { printLine } from "../../output.ts";
import { parseSize } from "../../values/size.ts";

const SAID = {
  made: "Made and mounted a file system for",
  mounted: "Mounted the file system of",
  chosen: "Chose the driver of",
  unchanged: "Nothing to do for",
} as const;

export default defineCommand({
  name: "storage init",
  summary: "Choose how a new store keeps layers, and make a btrfs in a file for it",
  operands: { usage: "", min: 0, max: 0 },
  flags: {
    driver: { type: "string", value: "NAME", description: "overlay, btrfs or copy" },
    size: { type: "string", value: "BYTES", parse: parseSize, description: "Size of the file (default: 10g)" },
    path: {
      type: "string",
      value: "FILE",
      mayBeEmpty: true,
      description: "File for the btrfs (default: the root's name with .btrfs)",
    },
    format: { type: "string", value: "FORMAT", description: 'Print as "json"' },
  },
  examples: [
    "bb storage init --driver btrfs --size 10G",
    "bb storage init                      # mounts it again after a reboot",
    "bb --root /srv/bb storage init --driver copy",
  ],
  async run({ flags: { driver, size, path, format }, globals }) {
    const made = await initStorage(openEngine(globals), {
      driver,
      sizeBytes: size,
      path: path === undefined ? undefined : resolve(path),
    });
    if (format === "json") {
      printLine(escapeJson(made));
      return 0;
    }
    printLine(escapeText(`${SAID[made.status]} ${made.root}: driver ${made.driver}`));
    if (made.fstab !== undefined) {
      printLine("To mount it at every boot, add this line to /etc/fstab:");
      printLine(escapeText(made.fstab));
    }
    return 0;
  },
});
