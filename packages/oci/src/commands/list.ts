import { BoxError, nodeFs } from "@bantubox/ffi";
import { command } from "../command.ts";
import { type Container, findContainer, statusOf } from "../container.ts";
import { print } from "../log.ts";
import { userName } from "../user-name.ts";

export default command({
  name: "list",
  summary: "List the containers of the root",
  operands: "",
  flags: {
    format: { type: "string", short: "f", help: '"table" or "json" (default: table)' },
    quiet: { type: "boolean", short: "q", help: "IDs only" },
  },
  count: [0, 0],
  run(globals, { format = "table", quiet }) {
    if (format !== "table" && format !== "json") throw new BoxError("usage", "invalid format option");
    const rows = containersOf(globals.root).map(rowOf);
    if (quiet) for (const { id } of rows) print(id);
    else if (format === "json") print(rows.length === 0 ? "null" : JSON.stringify(rows));
    else printTable(rows);
    return 0;
  },
});

interface Row {
  readonly ociVersion: string;
  readonly id: string;
  readonly pid: number;
  readonly status: string;
  readonly bundle: string;
  readonly rootfs: string;
  readonly created: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly owner: string;
}

/** Those whose making was cut off are among them: whoever lists them wants to delete them. */
function containersOf(root: string): Container[] {
  const names = nodeFs().existsSync(root) ? nodeFs().readdirSync(root, { withFileTypes: true }) : [];
  return names
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort()
    .flatMap((id) => findContainer({ root }, id) ?? []);
}

function rowOf(container: Container): Row {
  const { id, saved } = container;
  const { status, pid } = statusOf(container);
  return {
    ociVersion: saved?.ociVersion ?? "",
    id,
    pid,
    status,
    bundle: saved?.bundle ?? "",
    rootfs: saved?.rootfs ?? "",
    created: saved?.created ?? "",
    ...(saved?.annotations && { annotations: saved.annotations }),
    owner: saved === undefined ? "" : userName(saved.owner),
  };
}

function printTable(rows: readonly Row[]): void {
  const cells = rows.map(({ id, pid, status, bundle, created, owner }) => [
    id,
    `${pid}`,
    status,
    bundle,
    created,
    owner,
  ]);
  const lines = [["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"], ...cells];
  const widths = [0, 1, 2, 3, 4].map((i) => Math.max(12, ...lines.map((line) => line[i]?.length ?? 0)));
  for (const line of lines)
    print(
      line
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join("  ")
        .trimEnd(),
    );
}
