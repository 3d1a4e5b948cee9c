import { afterEach, beforeEach, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { FUZZ_TIMEOUT_MS, runs } from "../fuzz-fixture.ts";
import { type FixtureEntry, tarOf } from "../tar/tar-fixture.ts";
import { copyTree } from "../tree/copy.ts";
import { describeTree, temporaryDirectory } from "./extract-fixture.ts";
import { buildModel, mergeModels } from "./extract-model-fixture.ts";
import { extractLayer } from "./layer.ts";

// Owners, device nodes and mounts are root's business.
const isRoot = process.geteuid?.() === 0;
const skipped = isRoot ? "" : " (skipped: owners, devices and mounts need root)";
const rootTest = test.skipIf(!isRoot);

let temporary: string;

beforeEach(() => {
  temporary = temporaryDirectory();
});

afterEach(() => {
  rmSync(temporary, { recursive: true, force: true });
});

const name = fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 3 }).map((parts) => parts.join("/"));
const hidden = name.map((path) => path.replace(/([a-c])$/, ".wh.$1"));
const entry: fc.Arbitrary<FixtureEntry> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ name, type: fc.constant("0"), data: fc.constantFrom("one", "two", "") }) },
  { weight: 3, arbitrary: fc.record({ name, type: fc.constant("5"), mode: fc.constantFrom(0o755, 0o700, 0o1777) }) },
  { weight: 1, arbitrary: fc.record({ name, type: fc.constant("2"), linkname: fc.constantFrom("a", "/b", "../c") }) },
  { weight: 2, arbitrary: fc.record({ name, type: fc.constant("1"), linkname: fc.constantFrom("a", "b") }) },
  { weight: 2, arbitrary: fc.record({ name: hidden, type: fc.constant("0") }) },
  { weight: 1, arbitrary: fc.record({ name: name.map((path) => `${path}/.wh..wh..opq`), type: fc.constant("0") }) },
);
/** Layers that can all be made: what must be refused is another test's business. */
const layers = fc
  .array(fc.array(entry, { minLength: 1, maxLength: 7 }), { minLength: 2, maxLength: 6 })
  .map((all) => all.filter((entries) => typeof buildModel(entries) !== "string"))
  .filter((all) => all.length > 1);

/** One of each kind, tried before the random ones. */
const EVERYTHING: FixtureEntry[][] = [
  [
    { name: "a", type: "5", mode: 0o700 },
    { name: "a/a", type: "0", data: "one" },
    { name: "a/b", type: "1", linkname: "a/a" },
    { name: "b/a/c", type: "0", data: "two" },
    { name: "c", type: "2", linkname: "/b" },
  ],
  [
    { name: "a", type: "5", mode: 0o1777 },
    { name: ".wh.c", type: "0" },
    { name: "b/a/.wh..wh..opq", type: "0" },
    { name: "b/b", type: "2", linkname: "a" },
  ],
];

/** Extracts each layer into a directory of its own below `place`. @returns The directories, from bottom to top. */
async function extractAll(place: string, all: readonly FixtureEntry[][]): Promise<string[]> {
  const directories: string[] = [];
  for (const [n, entries] of all.entries()) {
    const directory = join(place, String(n));
    mkdirSync(directory, { recursive: true });
    const archive = tarOf(...entries);
    await extractLayer({
      blob: (async function* () {
        yield archive;
      })(),
      directory,
    });
    directories.push(directory);
  }
  return directories;
}

function expected(all: readonly FixtureEntry[][]): string[] {
  return mergeModels(all.map((entries) => buildModel(entries) as string[]));
}

rootTest(
  `layers merged into one tree, as the drivers btrfs and copy have them, are what the model says (FZ-02)${skipped}`,
  async () => {
    const seen = new Set<string>();
    await fc.assert(
      fc.asyncProperty(layers, async (all) => {
        const place = join(temporary, "run");
        rmSync(place, { recursive: true, force: true });
        const directories = await extractAll(place, all);
        const merged = join(place, "merged");
        mkdirSync(merged);
        for (const directory of directories) await copyTree(directory, merged, { difference: { move: false } });
        const found = describeTree(merged, { times: false }).slice(1);
        expect(found).toEqual(expected(all));
        for (const line of found) {
          for (const kind of [" = ", " 120777 ", " 41777 "]) if (line.includes(kind)) seen.add(kind);
        }
        for (const line of directories.flatMap((directory) => describeTree(directory))) {
          for (const kind of ["device 0:0", "opaque"]) if (line.includes(kind)) seen.add(kind);
        }
      }),
      { ...runs(20), examples: [[EVERYTHING]] },
    );
    for (const kind of [" = ", " 120777 ", " 41777 ", "device 0:0", "opaque"]) expect(seen).toContain(kind);
  },
  FUZZ_TIMEOUT_MS,
);

rootTest(
  `layers under the kernel's overlay are what the model says (FZ-02)${skipped}`,
  async () => {
    const seed = Number(process.env["BB_FUZZ_SEED"] ?? Date.now() % 2 ** 31);
    const samples = [EVERYTHING, ...fc.sample(layers, { ...runs(20), seed })];
    const stacks: string[][] = [];
    for (const [n, all] of samples.entries()) stacks.push(await extractAll(join(temporary, String(n)), all));
    // All in one mount namespace, which ends with the program.
    const script = join(temporary, "describe.ts");
    mkdirSync(join(temporary, "merged"));
    writeFileSync(
      script,
      `import { spawnSync } from "node:child_process";
       import { describeTree } from ${JSON.stringify(join(import.meta.dir, "extract-fixture.ts"))};
       const merged = ${JSON.stringify(join(temporary, "merged"))};
       const out = [];
       for (const stack of ${JSON.stringify(stacks)}) {
         const options = "ro,lowerdir=" + stack.toReversed().join(":");
         const mounted = spawnSync("mount", ["-t", "overlay", "-o", options, "overlay", merged], { encoding: "utf8" });
         if (mounted.status !== 0) throw new Error(mounted.stderr);
         out.push(describeTree(merged, { times: false }).slice(1));
         spawnSync("umount", [merged]);
       }
       console.log(JSON.stringify(out));`,
    );
    const { stdout, stderr } = spawnSync("sh", ["-c", `exec unshare --mount '${process.execPath}' '${script}'`], {
      encoding: "utf8",
      maxBuffer: 256 << 20,
    });
    expect(stderr).toBe("");
    const found = JSON.parse(stdout) as string[][];
    expect(found.length).toBe(samples.length);
    for (const [n, all] of samples.entries()) {
      expect({ seed, all, tree: found[n]?.map(withoutMark) }).toEqual({ seed, all, tree: expected(all) });
    }
  },
  FUZZ_TIMEOUT_MS,
);

/** Overlay shows its own mark of a directory to nobody but root, who is here. */
function withoutMark(line: string): string {
  return line.replace(" trusted.overlay.opaque=79", "");
}
