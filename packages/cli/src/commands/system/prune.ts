import { openEngine, pruneContainers, pruneImages, pruneVolumes } from "@bantubox/core";
import { defineCommand } from "../../command.ts";
import { formatSize } from "../../format.ts";
import { imageFilter, PRUNE_FILTERS } from "../../image-filter.ts";
import { imageLines } from "../../image-row.ts";
import { writeOut } from "../../output.ts";
import { deletedText, mayPrune, pruneFilterFlags, pruneFlags } from "../../prune.ts";
import { usageError } from "../../usage.ts";

export default defineCommand({
  name: "system prune",
  summary: "Remove containers that do not run, and images that nothing needs",
  operands: { usage: "", min: 0, max: 0 },
  flags: {
    all: {
      type: "boolean",
      short: "a",
      description: "Every image that no container is made of, not only nameless ones",
    },
    volumes: { type: "boolean", description: "Anonymous volumes that no container uses as well" },
    ...pruneFlags,
    ...pruneFilterFlags,
  },
  examples: ["bb system prune", "bb system prune -af --volumes"],
  async run({ flags: { all = false, volumes = false, force, filter: filters = [] }, globals }) {
    const filter = imageFilter(filters, PRUNE_FILTERS);
    if (volumes && filter.untilMs !== undefined) {
      throw usageError("Cannot use --filter until with --volumes: volumes are not chosen by their age");
    }
    const what = [
      "all containers that do not run",
      ...(volumes ? ["all anonymous volumes not used by at least one container"] : []),
      all ? "all images without at least one container" : "all dangling images",
    ];
    if (!(await mayPrune("system prune", `This will remove ${what.join(", ")}.`, force))) return 1;
    const engine = openEngine(globals);
    // In this order: containers hold volumes and images.
    const containers = await pruneContainers(engine, filter);
    const gone = volumes ? await pruneVolumes(engine) : { removed: [], bytes: 0 };
    const images = await pruneImages(engine, { all, ...filter });
    const lines = images.removed.flatMap((image) => imageLines(image).split("\n"));
    writeOut(deletedText("Deleted Containers", containers.removed));
    writeOut(deletedText("Deleted Volumes", gone.removed));
    writeOut(deletedText("Deleted Images", lines));
    writeOut(`Total reclaimed space: ${formatSize(containers.bytes + gone.bytes + images.bytes)}\n`);
    return 0;
  },
});
