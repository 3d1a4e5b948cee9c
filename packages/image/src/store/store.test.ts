import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Digest, sha256 } from "../document/digest.ts";
import { encode, makeLayer, publish, startRegistry } from "../registry/registry-fixture.ts";
import { pullImage } from "../transfer/pull.ts";
import { findImage, getImage, suggestNames } from "./find.ts";
import { collectGarbage, lockForWriting } from "./garbage.ts";
import { listImages } from "./list.ts";
import { recordImage } from "./record.ts";
import { removeImage } from "./remove.ts";
import { HOST_IMAGE, type ImageStore } from "./store.ts";
import { contents, temporaryStore } from "./store-fixture.ts";

const registry = startRegistry();
afterAll(() => registry[Symbol.asyncDispose]());
const quick = { retryMs: 1, credentials: () => undefined };

/** Writes the rows of an image without files. */
function record(
  store: ImageStore,
  name: string | undefined,
  seed: string,
  { layers = ["l"], opaque = "" } = {},
): Digest {
  const id = sha256(encode({ seed }));
  const diffIds = layers.map((layer) => sha256(encode({ layer })));
  layers.forEach((layer, index) => {
    store.database
      .query("INSERT OR IGNORE INTO layer (id, bytes, opaque) VALUES (?1, 10, ?2)")
      .run(diffIds[index]?.slice(7) ?? "", layer === opaque ? 1 : 0);
  });
  const image = {
    id,
    kind: "local" as const,
    manifest: id,
    platform: "linux/amd64",
    created: `2026-01-01T00:00:0${seed.length}Z`,
    config: { ...HOST_IMAGE.config, cmd: [seed] },
    diffIds,
    blobs: [id],
  };
  const row =
    name === undefined
      ? undefined
      : { name, repository: name.replace(/:[^:/]*$/, ""), digest: id, requested: "linux/amd64" };
  recordImage(store, image, row);
  return id;
}

test("findImage() finds an image by every way to name it, and by no other", () => {
  using store = temporaryStore();
  const id = record(store, "docker.io/library/web:latest", "a");
  const hex = id.slice(7);
  const ways = [
    "web",
    "web:latest",
    "docker.io/web",
    hex,
    id,
    hex.slice(0, 12),
    hex.slice(0, 3),
    `web@${id}`,
    `web:other@${id}`,
  ];
  for (const text of ways) expect(findImage(store, text)).toMatchObject({ id, name: "web:latest" });
  for (const text of ["we", "web:1", "other", `other@${id}`, "ffff", "sha256:ffff", "f".repeat(64)])
    expect(findImage(store, text)).toBeUndefined();
  for (const text of ["", "Web", "%", "web; DROP TABLE image", "../x"]) {
    expect(() => findImage(store, text)).toThrow(expect.objectContaining({ code: "reference-invalid" }));
  }
});

test("the host's own root is an image before there is any", () => {
  using store = temporaryStore();
  expect(findImage(store, "host")).toBe(HOST_IMAGE);
  expect(HOST_IMAGE).toMatchObject({ kind: "host", layers: [], config: { cmd: ["/bin/sh"] } });
});

test("an ID that several images begin with is an error", () => {
  using store = temporaryStore();
  const ids = Array.from({ length: 20 }, (_, n) => record(store, `docker.io/library/i${n}:latest`, `s${n}`).slice(7));
  const first = ids.find((id) => ids.some((other) => other !== id && other[0] === id[0]))?.[0] ?? "";
  expect(() => findImage(store, first)).toThrow(expect.objectContaining({ code: "image-ambiguous" }));
});

test("suggestNames() knows what was meant", () => {
  using store = temporaryStore();
  for (const name of ["alpine:3.18", "debian:latest", "nginx:latest"]) record(store, `docker.io/library/${name}`, name);
  expect(suggestNames(store, "debain")).toEqual(["debian"]);
  expect(suggestNames(store, "alpine")).toEqual(["alpine:3.18"]);
  expect(suggestNames(store, "hots")).toEqual(["host"]);
  expect(suggestNames(store, "postgres")).toEqual([]);
  expect(() => getImage(store, "debain")).toThrow(
    expect.objectContaining({ code: "no-such-image", hint: 'Did you mean "debian"?' }),
  );
});

test("nothing below a layer that hides everything is stacked", () => {
  using store = temporaryStore();
  record(store, "docker.io/library/web:latest", "a", { layers: ["1", "2", "3"], opaque: "2" });
  expect(findImage(store, "web")?.layers).toEqual(["2", "3"].map((layer) => sha256(encode({ layer })).slice(7)));
  // It is needed all the same, for its blob and for its images.
  expect(store.database.query("SELECT count(*) AS n FROM image_layer").get()).toEqual({ n: 3 });
});

test("recordImage() makes no image of a layer that is gone", () => {
  using store = temporaryStore();
  record(store, "docker.io/library/web:latest", "a");
  expect(() =>
    recordImage(store, {
      id: sha256(encode({})),
      kind: "local",
      manifest: sha256(encode({})),
      platform: "",
      created: "",
      config: HOST_IMAGE.config,
      diffIds: [sha256(encode({ layer: "gone" }))],
      blobs: [],
    }),
  ).toThrow(expect.objectContaining({ code: "image-layer-missing" }));
  expect(listImages(store)).toHaveLength(1);
});

test("listImages() shows every image once, the newest first, also without a name", () => {
  using store = temporaryStore();
  const a = record(store, "docker.io/library/web:latest", "a");
  record(store, "quay.io/x/web:1", "a");
  const b = record(store, undefined, "bb", { layers: ["l", "m"] });
  expect(listImages(store)).toEqual([
    {
      id: b,
      kind: "local",
      names: [],
      digests: [],
      platform: "linux/amd64",
      created: "2026-01-01T00:00:02Z",
      bytes: 20,
      layers: 2,
    },
    {
      id: a,
      kind: "local",
      names: ["quay.io/x/web:1", "web:latest"],
      digests: [`quay.io/x/web@${a}`, `web@${a}`],
      platform: "linux/amd64",
      created: "2026-01-01T00:00:01Z",
      bytes: 10,
      layers: 1,
    },
  ]);
});

test("removeImage() deletes with the last name only, and with it what no other image needs", async () => {
  using store = temporaryStore();
  const shared = makeLayer([{ path: "shared", content: "s" }]);
  const own = makeLayer([{ path: "own", content: "o" }]);
  const small = publish(registry, "r/small:v1", [shared]);
  const large = publish(registry, "r/large:v1", [shared, own]);
  publish(registry, "r/large:v2", [shared, own]);
  const name = (path: string) => `${registry.domain}/r/${path}`;
  for (const path of ["small:v1", "large:v1", "large:v2"]) await pullImage(store, name(path), quick);

  expect(await removeImage(store, name("large:v1"))).toEqual({ untagged: [name("large:v1")], deleted: undefined });
  expect(contents(store)).toMatchObject({ images: 2, rows: 2 });
  expect(await removeImage(store, name("large:v2"))).toEqual({ untagged: [name("large:v2")], deleted: large.config });
  expect(contents(store)).toMatchObject({ images: 1, rows: 1, layers: [small.diffIds[0]?.slice(7)] });
  expect(contents(store).blobs).toEqual(
    [small.manifest, small.config, ...small.layers].map((digest) => digest.slice(7)).sort(),
  );
  expect(await removeImage(store, small.config.slice(7, 19))).toEqual({
    untagged: [name("small:v1")],
    deleted: small.config,
  });
  expect(contents(store)).toEqual({ layers: [], blobs: [], ingest: [], images: 0, rows: 0 });
  expect(removeImage(store, name("small:v1"))).rejects.toMatchObject({ code: "no-such-image" });
});

test("removeImage() keeps what containers stand on", async () => {
  using store = temporaryStore();
  const id = record(store, "docker.io/library/web:latest", "a");
  const inUse = (image: string) => (image === id ? ["one", "two", "three", "four"] : []);
  expect(removeImage(store, "web", { inUse })).rejects.toMatchObject({
    code: "image-in-use",
    message: 'Cannot remove image "web": containers use it ("one", "two", "three", …)',
  });
  expect(await removeImage(store, "web", { inUse, force: true })).toEqual({
    untagged: ["web:latest"],
    deleted: undefined,
  });
  expect(findImage(store, id)).toMatchObject({ id, name: "" });
  expect(removeImage(store, id, { inUse, force: true })).rejects.toMatchObject({ code: "image-in-use" });
  expect(await removeImage(store, id)).toEqual({ untagged: [], deleted: id });
});

test("removeImage() wants to be sure before it takes names in several repositories away", async () => {
  using store = temporaryStore();
  const id = record(store, "docker.io/library/web:latest", "a");
  record(store, "quay.io/x/web:1", "a");
  expect(removeImage(store, id)).rejects.toMatchObject({ code: "image-has-names" });
  expect(await removeImage(store, id, { force: true })).toEqual({
    untagged: ["web:latest", "quay.io/x/web:1"],
    deleted: id,
  });
  expect(removeImage(store, "host")).rejects.toMatchObject({ code: "image-built-in" });
});

test("what dead processes left is swept away, but not while someone writes, and no young download", async () => {
  using store = temporaryStore();
  (await lockForWriting(store)).close();
  const file = (path: string) => join(store.root, path);
  const half = `layers/${"b".repeat(64)}`;
  mkdirSync(file("layers/.tmp-abc/deep"), { recursive: true });
  mkdirSync(file(half));
  const [young, old] = [`ingest/${"c".repeat(64)}`, `ingest/${"d".repeat(64)}`];
  for (const path of [young, old, "ingest/.tmp-x", `blobs/sha256/${"e".repeat(64)}`]) writeFileSync(file(path), "x");
  utimesSync(file(old), 0, 0);
  {
    using _writing = await lockForWriting({ ...store, root: store.root });
    // That was the first to write, so it has swept.
    expect(existsSync(file("layers/.tmp-abc"))).toBe(false);
    expect(existsSync(file(half))).toBe(false);
    mkdirSync(file("layers/.tmp-living"));
    expect(await collectGarbage(store)).toEqual({ complete: false, layers: 0, blobs: 0, bytes: 0 });
    using _another = await lockForWriting(store);
    expect(existsSync(file("layers/.tmp-living"))).toBe(true);
  }
  expect(contents(store).ingest).toEqual(["c".repeat(64)]);
  expect(await collectGarbage(store)).toEqual({ complete: true, layers: 0, blobs: 1, bytes: expect.any(Number) });
  expect(contents(store)).toMatchObject({ layers: [], blobs: [] });
});
