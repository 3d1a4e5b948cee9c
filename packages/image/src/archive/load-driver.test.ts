/** Archives in a store whose driver keeps whole trees instead of layers. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "../document/digest.ts";
import { imageHistory } from "../document/history.ts";
import { importImage } from "../make/import.ts";
import { makeLayer } from "../registry/registry-fixture.ts";
import { getImage } from "../store/find.ts";
import { listImages } from "../store/list.ts";
import { removeImage } from "../store/remove.ts";
import { layersDirectory } from "../store/store.ts";
import { temporaryStore } from "../store/store-fixture.ts";
import { configOf, dockerFiles, layoutFiles, Place, tarFiles } from "./archive-fixture.ts";
import { loadImages } from "./load.ts";
import { saveImages } from "./save.ts";

const image = {
  layers: [
    makeLayer([{ path: "etc/" }, { path: "etc/os", content: "base" }, { path: "gone", content: "x" }]),
    makeLayer([{ path: "etc/os", content: "top" }, { path: ".wh.gone" }]),
  ],
  compress: "gzip" as const,
};
const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("skipped: merging trees needs root");

test.skipIf(!isRoot)(
  "load, save, history and import with the copy driver: trees are merged, digests stay",
  async () => {
    using place = new Place();
    using plain = temporaryStore();
    const store = { ...plain, storageDriver: "copy" as const };
    const archive = tarFiles(layoutFiles(image, "app:1"));
    await loadImages(store, place.file("a", archive));
    const [tree = "", ...more] = getImage(store, "app:1").layers;
    expect(more).toEqual([]);
    expect(readFileSync(join(layersDirectory(store), tree, "etc/os"), "utf8")).toBe("top");
    expect(existsSync(join(layersDirectory(store), tree, "gone"))).toBe(false);
    expect((await imageHistory(store, "app:1")).length).toBe(2);

    // The same layers below another name, from an archive that has no manifest: nothing is unpacked again.
    const phases: string[] = [];
    await loadImages(store, place.file("b", tarFiles(dockerFiles(image, ["app:2"]))), {
      onProgress: ({ phase }) => phases.push(phase),
    });
    expect(phases).toEqual(["exists", "exists"]);

    const saved = join(place.path, "saved");
    await saveImages(store, ["app:1"], saved);
    using other = temporaryStore();
    expect(await loadImages(other, saved)).toEqual([{ id: sha256(configOf(image)), names: ["app:1"] }]);
    expect(listImages(other)[0]?.digests).toEqual(listImages(store)[0]?.digests ?? []);

    await importImage(store, place.file("root.tar", image.layers[0] ?? Buffer.alloc(0)), { name: "mine:1" });
    expect(readFileSync(join(layersDirectory(store), getImage(store, "mine:1").layers[0] ?? "", "gone"), "utf8")).toBe(
      "x",
    );
    for (const name of ["app:1", "app:2", "mine:1"]) await removeImage(store, name);
    expect(readdirSync(join(store.root, "blobs/sha256"))).toEqual([]);
    expect(readdirSync(layersDirectory(store))).toEqual([]);
  },
);

test.skipIf(!isRoot).each([false, true])(
  "images of one archive that share a layer are merged from it each, streamed: %p (copy driver)",
  async (streamed) => {
    using place = new Place();
    using plain = temporaryStore();
    const [base = Buffer.alloc(0)] = image.layers;
    const names = ["app:1", "app:2", "app:3"];
    for (const name of names) {
      const layers = [base, makeLayer([{ path: "name", content: name }])];
      await loadImages(plain, place.file(name, tarFiles(layoutFiles({ layers, compress: "gzip" }, name))));
    }
    const saved = join(place.path, "saved");
    await saveImages(plain, names, saved);
    const archive = streamed ? place.file("saved.gz", Buffer.from(Bun.gzipSync(readFileSync(saved)))) : saved;

    using other = temporaryStore();
    const store = { ...other, storageDriver: "copy" as const };
    expect((await loadImages(store, archive)).map((each) => each.names)).toEqual(names.map((name) => [name]));
    for (const name of names) {
      const tree = join(layersDirectory(store), getImage(store, name).layers[0] ?? "");
      expect(readFileSync(join(tree, "name"), "utf8")).toBe(name);
      expect(readFileSync(join(tree, "etc/os"), "utf8")).toBe("base");
    }
  },
);
