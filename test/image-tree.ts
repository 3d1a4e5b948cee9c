/** What an image's files are on disk, file by file. */
import { Database } from "bun:sqlite";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PROJECT, run, type Store } from "./harness.ts";

const FIXTURE = join(PROJECT, "packages/image/src/layer/extract-fixture.ts");

/** Runs a command that must succeed. @returns What it prints. */
export async function must(command: readonly string[], cwd?: string): Promise<string> {
  const result = await run(command, cwd === undefined ? {} : { cwd });
  if (result.code !== 0) throw new Error(`${command.join(" ")}: ${result.stderr}`);
  return result.stdout;
}

export interface TreeOptions {
  /** Times change with every run where nobody said what they should be. */
  readonly times?: boolean;
}

/** Every file of a tree with all that it has, in a line each: see `describeTree`. */
export async function treeOf(path: string, options: TreeOptions = {}): Promise<string[]> {
  return JSON.parse(await must([process.execPath, "-e", describer(path, options)]));
}

/** The same of an image's layers, through the kernel's overlay. @param image Its full name. */
export async function imageTree(store: Store, image: string, options: TreeOptions = {}): Promise<string[]> {
  const layers = layersOf(store, image).map((name) => join(store.root, "layers", name));
  const merged = mkdtempSync(join(tmpdir(), "bb-merged-"));
  const script = `${merged}.ts`;
  try {
    // By short names: the kernel takes a page of options.
    for (const [n, layer] of layers.entries()) symlinkSync(layer, join(merged, String(n)));
    // A single directory is no overlay; this one is empty.
    mkdirSync(join(merged, "none"));
    mkdirSync(join(merged, "root"));
    await Bun.write(script, describer(join(merged, "root"), options));
    const mount = 'mount -t overlay -o "$1" overlay root && exec "$2" "$3"';
    const lower = `ro,lowerdir=${[...layers.keys()].toReversed().join(":")}:none`;
    return JSON.parse(
      await must(["unshare", "--mount", "sh", "-ec", mount, "sh", lower, process.execPath, script], merged),
    );
  } finally {
    rmSync(script, { force: true });
    rmSync(merged, { recursive: true, force: true });
  }
}

/** Directories of an image's layers, from bottom to top. */
function layersOf(store: Store, image: string): string[] {
  using database = new Database(join(store.root, "db.sqlite"), { readonly: true });
  const row = database
    .query<{ layers: string }, [string]>(
      "SELECT layers FROM image i JOIN image_name n ON n.image = i.id WHERE name = ?1",
    )
    .get(image);
  return (row?.layers ?? "").split(" ");
}

function describer(path: string, options: TreeOptions): string {
  return `import { describeTree } from ${JSON.stringify(FIXTURE)};
    console.log(JSON.stringify(describeTree(${JSON.stringify(path)}, ${JSON.stringify(options)})));`;
}
