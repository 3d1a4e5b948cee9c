import { openEngine, pruneImages } from "@bantubox/core";
import { defineCommand } from "../../command.ts";
import { escapeText } from "../../escape.ts";
import { formatSize } from "../../format.ts";
import { imageFilter, PRUNE_FILTERS } from "../../image-filter.ts";
import { imageLines } from "../../image-row.ts";
import { printLine } from "../../output.ts";
import { mayPrune, pruneFlags } from "../../prune.ts";

export default defineCommand({
  name: "image prune",
  summary: "Remove images that no container is made of",
  operands: { usage: "", min: 0, max: 0 },
  flags: {
    all: { type: "boolean", short: "a", description: "Those with names as well" },
    filter: { type: "list", value: "KEY=VALUE", description: "Only these: until, label, label!" },
    ...pruneFlags,
  },
  examples: ["bb image prune", "bb image prune -af --filter until=240h"],
  async run({ flags: { all = false, filter = [], force = false }, globals }) {
    const wanted = imageFilter(filter, PRUNE_FILTERS);
    const which = all ? "all images that no container is made of" : "all images without a name";
    if (!(await mayPrune("image prune", `This will remove ${which}.`, force))) return 1;
    const { removed, bytes } = await pruneImages(openEngine(globals), { ...wanted, all });
    if (removed.length > 0) printLine(`Deleted Images:\n${removed.map(imageLines).join("\n")}\n`);
    printLine(escapeText(`Total reclaimed space: ${formatSize(bytes)}`));
    return 0;
  },
});
