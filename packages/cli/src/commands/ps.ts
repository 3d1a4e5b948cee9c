import { type ContainerSummary, containerSize, type Engine, listContainers, openEngine } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { containerColumns, containerRow } from "../container-row.ts";
import { filterContainers } from "../filter.ts";
import { listFlags } from "../flags.ts";
import { formatSize } from "../format.ts";
import { formatListing } from "../listing.ts";
import { writeOut } from "../output.ts";
import { parseInteger } from "../values/number.ts";

export default defineCommand({
  name: "ps",
  summary: "List containers",
  operands: { usage: "", min: 0, max: 0 },
  flags: {
    all: { type: "boolean", short: "a", description: "Those that do not run as well" },
    filter: {
      type: "list",
      short: "f",
      value: "KEY=VALUE",
      description: "Only these: id, name, label, status, exited, ancestor, before, since",
    },
    last: {
      type: "string",
      short: "n",
      value: "NUMBER",
      parse: (text: string, label: string) => parseInteger(text, label, { min: -1 }),
      description: "The last created ones, whatever their state",
    },
    size: { type: "boolean", short: "s", description: "What each has written, too" },
    latest: { type: "boolean", short: "l", description: "The last created one, whatever its state" },
    ...listFlags,
  },
  examples: ["bb ps -a", "bb ps -aq --filter status=exited", `bb ps --format 'table {{.Names}}\\t{{.Status}}'`],
  async run({ flags, globals }) {
    const last = flags.latest ? 1 : (flags.last ?? -1);
    const isAll = flags.all === true || last >= 0;
    // A filter may ask for those that do not run.
    const all = isAll || flags.filter !== undefined;
    const engine = openEngine(globals);
    const containers = await listContainers(engine, { all });
    const found = filterContainers(containers, flags.filter ?? [], isAll).sort((a, b) => b.createdMs - a.createdMs);
    const nowMs = Date.now();
    const truncate = !flags["no-trunc"];
    const shown = last < 0 ? found : found.slice(0, last);
    const rows = shown.map((each) => containerRow(each, { nowMs, truncate }));
    if (flags.size) await addSizes(engine, shown, rows);
    writeOut(
      formatListing({
        columns: flags.size ? { ...containerColumns, Size: "SIZE" } : containerColumns,
        rows,
        format: flags.format,
        quiet: flags.quiet ? "ID" : undefined,
      }),
    );
    return 0;
  },
});

/** Looks at every file that they have written, so only for who asks. */
async function addSizes(
  engine: Engine,
  containers: readonly ContainerSummary[],
  rows: readonly Record<string, string>[],
): Promise<void> {
  for (const [index, { id }] of containers.entries()) {
    const row = rows[index];
    if (row !== undefined) row["Size"] = formatSize(await containerSize(engine, id));
  }
}
