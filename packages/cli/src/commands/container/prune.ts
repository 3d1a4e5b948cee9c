import { openEngine, pruneContainers } from "@bantubox/core";
import { defineCommand } from "../../command.ts";
import { formatSize } from "../../format.ts";
import { imageFilter, PRUNE_FILTERS } from "../../image-filter.ts";
import { writeOut } from "../../output.ts";
import { deletedText, mayPrune, pruneFilterFlags, pruneFlags } from "../../prune.ts";

export default defineCommand({
  name: "container prune",
  summary: "Remove the containers that do not run",
  operands: { usage: "", min: 0, max: 0 },
  flags: { ...pruneFlags, ...pruneFilterFlags },
  examples: ["bb container prune", "bb container prune -f --filter until=24h"],
  async run({ flags, globals }) {
    const filter = imageFilter(flags.filter ?? [], PRUNE_FILTERS);
    const warning = "This will remove all containers that do not run.";
    if (!(await mayPrune("container prune", warning, flags.force))) return 1;
    const { removed, bytes } = await pruneContainers(openEngine(globals), filter);
    writeOut(`${deletedText("Deleted Containers", removed)}Total reclaimed space: ${formatSize(bytes)}\n`);
    return 0;
  },
});
