import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { call, cstr, Fd } from "@bantubox/ffi";
import fc from "fast-check";
import type { Digest } from "../document/digest.ts";
import { FUZZ_TIMEOUT_MS, runs } from "../fuzz-fixture.ts";
import { describeTree } from "../layer/extract-fixture.ts";
import { extractLayer } from "../layer/layer.ts";
import { commitLayers, makeLayerDirectory, missingLayers } from "../store/commit.ts";
import { lockForWriting } from "../store/garbage.ts";
import { layersDirectory } from "../store/store.ts";
import { temporaryStore } from "../store/store-fixture.ts";
import { chainOf } from "../store/trees.ts";
import { type FixtureEntry, tarOf } from "../tar/tar-fixture.ts";

setDefaultTimeout(FUZZ_TIMEOUT_MS);

const name = fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 3 }).map((parts) => parts.join("/"));
const whiteout = fc
  .array(fc.constantFrom("a", "b", "c"), { maxLength: 2 })
  .chain((parents) =>
    fc.constantFrom(".wh.a", ".wh.b", ".wh.c", ".wh..wh..opq").map((leaf) => [...parents, leaf].join("/")),
  );
const time = fc.integer({ min: 1, max: 2_000_000_000 });
const entry: fc.Arbitrary<FixtureEntry> = fc.oneof(
  fc.record({ name, type: fc.constant("0"), data: fc.constantFrom("one", "two", ""), mtime: time }),
  fc.record({
    name,
    type: fc.constant("5"),
    mode: fc.constantFrom(0o755, 0o1777, 0o2700),
    uid: fc.nat(9),
    mtime: time,
  }),
  fc.record({ name, type: fc.constant("2"), linkname: fc.constantFrom("a", "/b", "../c", "/", "nowhere") }),
  fc.record({ name, type: fc.constant("1"), linkname: name }),
  fc.record({ name, type: fc.constant("6") }),
  fc.record({ name: whiteout, type: fc.constant("0") }),
);
const layers = fc.array(fc.array(entry, { minLength: 1, maxLength: 7 }), { minLength: 1, maxLength: 4 });

/** What the kernel shows of layers that lie on each other, from bottom to top. */
function overlayOf(directories: readonly string[], bottom: string): string[] {
  const set = (key: string, value: string): void =>
    void call("fsconfig", key, context.raw, 1, cstr(key), cstr(value), 0);
  using context = new Fd(call("fsopen", "overlay", cstr("overlay"), 1));
  for (const directory of directories.toReversed()) set("lowerdir+", directory);
  set("lowerdir+", bottom);
  for (const option of ["index", "metacopy"]) set(option, "off");
  call("fsconfig", "create", context.raw, 6, null, null, 0);
  using mounted = new Fd(call("fsmount", "overlay", context.raw, 1, 0));
  return describeTree(`/proc/self/fd/${mounted.raw}/.`);
}

test("whole trees are what the kernel's overlay shows of the same layers, however they arrive (FZ-02)", async () => {
  await fc.assert(
    fc.asyncProperty(layers, fc.nat(3), async (content, split) => {
      using disposable = temporaryStore();
      const store = { root: disposable.root, database: disposable.database, storageDriver: "copy" };
      using _writing = await lockForWriting(store);
      const bottom = mkdtempSync(join(store.root, "bottom-"));
      const prepared = [];
      for (const entries of content) {
        const directory = makeLayerDirectory(store);
        async function* blob(): AsyncGenerator<Uint8Array> {
          yield tarOf(...entries);
        }
        const result = await extractLayer({ blob: blob(), directory }).catch((error: { code?: string }) => error);
        // What cannot be extracted is no layer.
        if (!("diffId" in result)) return expect(result.code).toMatch(/^layer-/);
        prepared.push({ ...result, diffId: result.diffId as Digest, directory });
      }
      const first = Math.max(
        0,
        prepared.findLastIndex(({ isRootOpaque }) => isRootOpaque),
      );
      const expected = overlayOf(
        prepared.slice(first).map(({ directory }) => directory),
        bottom,
      );
      const diffIds = prepared.map(({ diffId }) => diffId);
      const extracted = [...new Map(prepared.map((layer) => [layer.diffId, layer])).values()];
      expect(missingLayers(store, diffIds).sort()).toEqual(extracted.map(({ diffId }) => diffId).sort());

      // In two parts, as when another process fetches some of them: nothing is placed until all are there.
      const waiting = await commitLayers(store, extracted.slice(split), diffIds);
      if (split > 0 && extracted.length > 0) expect(waiting.length).toBe(extracted.slice(split).length);
      if (waiting.length > 0 || split > 0) {
        expect(await commitLayers(store, [...waiting, ...extracted.slice(0, split)], diffIds)).toEqual([]);
      }
      expect(missingLayers(store, diffIds)).toEqual([]);
      expect(describeTree(join(layersDirectory(store), chainOf(diffIds).at(-1) ?? ""))).toEqual(expected);
    }),
    runs(40),
  );
});

test("a chain that is there in part is continued from it", async () => {
  using disposable = temporaryStore();
  const store = { root: disposable.root, database: disposable.database, storageDriver: "copy" };
  using _writing = await lockForWriting(store);
  const make = async (...entries: FixtureEntry[]) => {
    const directory = makeLayerDirectory(store);
    async function* blob(): AsyncGenerator<Uint8Array> {
      yield tarOf(...entries);
    }
    const result = await extractLayer({ blob: blob(), directory });
    return { ...result, diffId: result.diffId as Digest, directory };
  };
  const base = await make({ name: "a", data: "base" }, { name: "b", data: "base" });
  expect(await commitLayers(store, [base], [base.diffId])).toEqual([]);
  const upper = await make({ name: ".wh.a" }, { name: "c", data: "upper" });
  const diffIds = [base.diffId, upper.diffId];
  expect(missingLayers(store, diffIds)).toEqual([upper.diffId]);
  expect(await commitLayers(store, [upper], diffIds)).toEqual([]);
  const [whole = ""] = chainOf(diffIds).slice(1);
  const names = (tree: string): string[] =>
    describeTree(join(layersDirectory(store), tree), { times: false }).map((line) => line.split(" ")[0] ?? "");
  expect(names(whole)).toEqual(["/", "b", "c"]);
  // The one below is another image's, and stays as it was.
  expect(names(base.diffId.slice(7))).toEqual(["/", "a", "b"]);
  // The same layer in another place is another tree.
  expect(missingLayers(store, [upper.diffId, base.diffId])).toEqual([upper.diffId, base.diffId]);
});
