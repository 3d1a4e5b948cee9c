import { expect, test } from "bun:test";
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { sha256 } from "../document/digest.ts";
import { initImage } from "../make/init.ts";
import { makeLayer } from "../registry/registry-fixture.ts";
import { getImage } from "../store/find.ts";
import type { ImageStore } from "../store/store.ts";
import { temporaryStore } from "../store/store-fixture.ts";
import { addImage, configOf, type Files, named, Place, tarFiles, withIndex } from "./archive-fixture.ts";
import { loadImages } from "./load.ts";
import { type SaveOptions, saveImages } from "./save.ts";

const one = { layers: [makeLayer([{ path: "one", content: "1" }])], compress: "gzip" as const };
const two = { layers: [makeLayer([{ path: "two", content: "2" }])] };

/** A store with `app:1`, `app:2` and `other:1`, the last two the same image. */
async function filled(place: Place, store: ImageStore): Promise<void> {
  const files: Files = new Map();
  const [first, second] = [addImage(files, one), addImage(files, two)];
  withIndex(files, [
    { ...first, ...named("app:1") },
    { ...second, ...named("app:2") },
    { ...second, ...named("other:1") },
  ]);
  await loadImages(store, place.file("all.tar", tarFiles(files)));
}

/** Names and IDs of what an archive holds, as another store takes them in. */
async function loaded(path: string): Promise<Record<string, readonly string[]>> {
  using store = temporaryStore();
  return Object.fromEntries((await loadImages(store, path)).map(({ id, names }) => [id, names]));
}

const [idOne, idTwo] = [sha256(configOf(one)), sha256(configOf(two))];

test.each<[string, string[], Record<string, string[]>]>([
  ["a tag is saved with that name alone", ["other:1"], { [idTwo]: ["other:1"] }],
  ["a repository with all its tags", ["app"], { [idOne]: ["app:1"], [idTwo]: ["app:2"] }],
  ["an ID without a name", [idTwo.slice(7, 19)], { [idTwo]: [] }],
  ["several names of one image together", ["other:1", "app:2", "other"], { [idTwo]: ["app:2", "other:1"] }],
])("saveImages(): %s", async (_, names, expected) => {
  using place = new Place();
  using store = temporaryStore();
  await filled(place, store);
  const path = join(place.path, "saved.tar");
  await saveImages(store, names, path);
  expect(await loaded(path)).toEqual(expected);
});

test("saveImages() writes the same bytes each time, to a descriptor as to a path, and tells how far it is", async () => {
  using place = new Place();
  using store = temporaryStore();
  await filled(place, store);
  mkdirSync(join(place.path, "tree"));
  writeFileSync(join(place.path, "tree/file"), "x");
  await initImage(store, join(place.path, "tree"), "made:1");
  const paths = ["a", "b", "c"].map((name) => join(place.path, name));
  const [a = "", b = "", c = ""] = paths;
  const phases = new Set<string>();
  const options: SaveOptions = { onProgress: ({ phase }) => phases.add(phase) };
  await saveImages(store, ["app", "made:1"], a, options);
  await saveImages(store, ["app", "made:1"], b);
  const fd = openSync(c, "a");
  await saveImages(store, ["app", "made:1"], fd);
  closeSync(fd);
  expect(readFileSync(b).equals(readFileSync(a))).toBe(true);
  expect(readFileSync(c).equals(readFileSync(a))).toBe(true);
  expect([...phases].sort()).toEqual(["saved", "saving"]);
  expect(statSync(a).mode & 0o777).toBe(0o600);
});

test("saveImages() replaces what a link leads to, and leaves the old file when it fails", async () => {
  using place = new Place();
  using store = temporaryStore();
  await filled(place, store);
  const target = place.file("old.tar", Buffer.from("old"));
  symlinkSync("old.tar", join(place.path, "link.tar"));
  await expect(saveImages(store, ["app:1", "nowhere"], target)).rejects.toMatchObject({ code: "no-such-image" });
  rmSync(join(store.root, "blobs/sha256", sha256(Bun.gzipSync(Buffer.from(one.layers[0] ?? ""))).slice(7)));
  await expect(saveImages(store, ["app:1"], target)).rejects.toMatchObject({ code: "image-incomplete" });
  expect(readFileSync(target, "utf8")).toBe("old");
  await saveImages(store, ["app:2"], join(place.path, "link.tar"));
  expect(await loaded(target)).toEqual({ [idTwo]: ["app:2"] });
  expect(readdirSync(place.path).sort()).toEqual(["all.tar", "link.tar", "old.tar"]);
});

test("saveImages() writes a layout to a new or empty directory only, and takes a half-written one away", async () => {
  using place = new Place();
  using store = temporaryStore();
  await filled(place, store);
  const layout = join(place.path, "layout");
  await saveImages(store, ["app"], layout, { format: "oci-dir" });
  expect(await loaded(layout)).toEqual({ [idOne]: ["app:1"], [idTwo]: ["app:2"] });
  const again = saveImages(store, ["app"], layout, { format: "oci-dir" });
  await expect(again).rejects.toMatchObject({ code: "directory-not-empty" });
  await expect(saveImages(store, ["app"], join(place.path, "no/where"))).rejects.toMatchObject({
    code: "file-unwritable",
  });
  await expect(saveImages(store, ["app"], place.path)).rejects.toMatchObject({ code: "file-unwritable" });
  const empty = join(place.path, "empty");
  mkdirSync(empty);
  rmSync(join(store.root, "blobs/sha256", sha256(Bun.gzipSync(Buffer.from(one.layers[0] ?? ""))).slice(7)));
  const broken = saveImages(store, ["app"], empty, { format: "oci-dir" });
  await expect(broken).rejects.toMatchObject({ code: "image-incomplete" });
  expect(readdirSync(empty)).toEqual([]);
});

test("saveImages() refuses the built-in image, and a layer whose tree has changed", async () => {
  using place = new Place();
  using store = temporaryStore();
  await expect(saveImages(store, ["host"], join(place.path, "x"))).rejects.toMatchObject({ code: "image-built-in" });
  mkdirSync(join(place.path, "tree"));
  writeFileSync(join(place.path, "tree/file"), "x");
  await initImage(store, join(place.path, "tree"), "made:1");
  writeFileSync(join(store.root, "layers", getImage(store, "made:1").layers[0] ?? "", "file"), "y");
  await expect(saveImages(store, ["made:1"], join(place.path, "x"))).rejects.toMatchObject({
    code: "image-incomplete",
  });
  expect(readdirSync(place.path)).toEqual(["tree"]);
});
