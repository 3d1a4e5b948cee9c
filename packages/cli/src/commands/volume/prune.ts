import { openEngine, pruneVolumes } from "@bantubox/core";
import { defineCommand } from "../../command.ts";
import { formatSize } from "../../format.ts";
import { writeOut } from "../../output.ts";
import { deletedText, mayPrune, pruneFlags } from "../../prune.ts";

export default defineCommand({
  name: "volume prune",
  summary: "Delete the anonymous volumes that no container uses",
  operands: { usage: "", min: 0, max: 0 },
  flags: {
    all: { type: "boolean", short: "a", description: "Also those with a name" },
    ...pruneFlags,
  },
  examples: ["bb volume prune", "bb volume prune -af"],
  async run({ flags: { all = false, force }, globals }) {
    const which = all ? "all volumes" : "anonymous volumes";
    const warning = `This will remove ${which} not used by at least one container.`;
    if (!(await mayPrune("volume prune", warning, force))) return 1;
    const { removed, bytes } = await pruneVolumes(openEngine(globals), { all });
    writeOut(`${deletedText("Deleted Volumes", removed)}Total reclaimed space: ${formatSize(bytes)}\n`);
    return 0;
  },
});
