/** What is done to images that are here: listed, filtered, named, imported, told of, pruned. */
import { describe, expect, test } from "bun:test";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { dockerFiles, Place, tarFiles } from "../archive/archive-fixture.ts";
import { loadImages } from "../archive/load.ts";
import { describeImage } from "../document/describe.ts";
import { type Digest, sha256 } from "../document/digest.ts";
import { imageHistory } from "../document/history.ts";
import { importImage } from "../make/import.ts";
import { encode, makeLayer } from "../registry/registry-fixture.ts";
import { findImage, getImage } from "./find.ts";
import { listImages } from "./list.ts";
import { recordImage } from "./record.ts";
import { pruneImages, removeImage } from "./remove.ts";
import { HOST_IMAGE, type ImageStore, layersDirectory } from "./store.ts";
import { contents, temporaryStore } from "./store-fixture.ts";
import { tagImage } from "./tag.ts";

/** Writes the rows of an image without files, made on that day of January 2026. */
function record(store: ImageStore, names: readonly string[], day: number, labels: [string, string][] = []): Digest {
  const id = sha256(encode({ names, day }));
  const image = {
    id,
    kind: "pulled" as const,
    manifest: sha256(encode({ manifest: id })),
    platform: "linux/amd64",
    created: `2026-01-${String(day).padStart(2, "0")}T00:00:00Z`,
    config: { ...HOST_IMAGE.config, labels },
    diffIds: [],
    blobs: [id],
  };
  recordImage(store, image);
  for (const name of names) {
    const repository = name.replace(/:[^:/]*$/, "");
    recordImage(store, image, { name, repository, digest: sha256(encode({ name })), requested: "linux/amd64" });
  }
  return id;
}

describe("listImages() with filters", () => {
  const store = temporaryStore();
  record(store, ["docker.io/library/alpine:3.19", "docker.io/library/alpine:old"], 1, [["tier", "base"]]);
  record(store, ["docker.io/library/alpine:3.20"], 2, [
    ["tier", "base"],
    ["__proto__", "x"],
  ]);
  record(store, ["docker.io/team/app:1"], 3, [["tier", "top"]]);
  record(store, ["registry.example.org:5000/team/app:1"], 4);
  record(store, [], 5, [["tier", "top"]]);
  const all = ["alpine:3.19,alpine:old", "alpine:3.20", "team/app:1", "registry.example.org:5000/team/app:1", ""];

  test.each<[string, Parameters<typeof listImages>[1], string[]]>([
    ["nothing asked for", {}, all],
    ["dangling ones", { dangling: true }, [""]],
    ["others", { dangling: false }, all.slice(0, 4)],
    ["a label", { labels: ["tier"] }, ["alpine:3.19,alpine:old", "alpine:3.20", "team/app:1", ""]],
    ["a label's value", { labels: ["tier=top"] }, ["team/app:1", ""]],
    ["two labels", { labels: ["tier=base", "__proto__"] }, ["alpine:3.20"]],
    ["what every object has is no label", { labels: ["constructor"] }, []],
    ["without a label", { withoutLabels: ["tier=base"] }, ["team/app:1", "registry.example.org:5000/team/app:1", ""]],
    ["before", { before: "team/app:1" }, ["alpine:3.19,alpine:old", "alpine:3.20"]],
    ["since", { since: "team/app:1" }, ["registry.example.org:5000/team/app:1", ""]],
    ["until", { untilMs: Date.parse("2026-01-02T12:00:00Z") }, ["alpine:3.19,alpine:old", "alpine:3.20"]],
    ["a repository", { references: ["alpine"] }, ["alpine:3.19,alpine:old", "alpine:3.20"]],
    ["its full name", { references: ["docker.io/library/alpine"] }, ["alpine:3.19,alpine:old", "alpine:3.20"]],
    ["a tag leaves other names out", { references: ["alpine:o*"] }, ["alpine:old"]],
    ["one of two patterns", { references: ["*/app", "alpine:3.2?"] }, ["alpine:3.20", "team/app:1"]],
    [
      "everything at once",
      { references: ["alpine"], labels: ["tier"], dangling: false, since: "alpine:3.19" },
      ["alpine:3.20"],
    ],
  ])("%s", (_, filter, expected) => {
    const found = listImages(store, filter).map(({ names }) => names.join());
    expect(found.sort()).toEqual([...expected].sort());
  });

  test("what a filter names must be there, and a pattern be one", () => {
    expect(() => listImages(store, { before: "nowhere" })).toThrow(expect.objectContaining({ code: "no-such-image" }));
    expect(() => listImages(store, { references: ["["] })).toThrow(
      expect.objectContaining({ code: "reference-invalid" }),
    );
  });
});

describe("tagImage()", () => {
  test("gives a name, takes it from another image, and keeps a repository's digest", () => {
    using store = temporaryStore();
    const one = record(store, ["docker.io/library/app:1"], 1);
    const two = record(store, ["docker.io/library/app:2"], 2);
    expect(tagImage(store, "app:1", "app:latest")).toBe("app:latest");
    expect(findImage(store, "app")?.id).toBe(one);
    expect(tagImage(store, two.slice(7, 19), "app")).toBe("app:latest");
    expect(findImage(store, "app")?.id).toBe(two);
    tagImage(store, "app:1", "other.example.org/app:1");
    const [, first] = listImages(store);
    expect(first?.digests).toEqual([
      `app@${sha256(encode({ name: "docker.io/library/app:1" }))}`,
      `other.example.org/app@${sha256(encode({ manifest: one }))}`,
    ]);
  });

  test.each([
    ["a digest", "app:1", `app@${sha256(encode({}))}`, "reference-invalid"],
    ["the built-in name", "app:1", "host", "reference-invalid"],
    ["the built-in image", "host", "mine", "image-built-in"],
    ["no name", "app:1", "App", "reference-invalid"],
    ["an ID", "app:1", "a".repeat(64), "reference-invalid"],
    ["nothing there", "nowhere", "mine", "no-such-image"],
  ])("refuses %s", (_, image, name, code) => {
    using store = temporaryStore();
    record(store, ["docker.io/library/app:1"], 1);
    expect(() => tagImage(store, image, name)).toThrow(expect.objectContaining({ code }));
    expect(listImages(store)[0]?.names).toEqual(["app:1"]);
  });
});

describe("names by digest and by ID", () => {
  test("a manifest's digest names an image in its repository only", () => {
    using store = temporaryStore();
    const id = record(store, ["docker.io/library/app:1"], 1);
    const manifest = sha256(encode({ manifest: id }));
    expect(findImage(store, `app@${manifest}`)?.id).toBe(id);
    expect(findImage(store, `app@${sha256(encode({ name: "docker.io/library/app:1" }))}`)?.id).toBe(id);
    expect(findImage(store, `other@${manifest}`)).toBeUndefined();
  });

  test("an ID that is too short is shown with what it could be", () => {
    using store = temporaryStore();
    const ids: string[] = [];
    for (let day = 1; day <= 28; day++) ids.push(record(store, [`docker.io/library/i${day}:latest`], day).slice(7));
    const twice = ids.find((id) => ids.some((other) => other !== id && other[0] === id[0])) ?? "";
    const thrown = (() => {
      try {
        return findImage(store, twice.slice(0, 1));
      } catch (error) {
        return error;
      }
    })();
    expect(thrown).toMatchObject({
      code: "image-ambiguous",
      hint: expect.stringMatching(/[0-9a-f]{12} \(i\d+:latest\) or /),
    });
  });
});

const tree = makeLayer([{ path: "etc/" }, { path: "etc/os", content: "mine" }]);

describe("importImage()", () => {
  test.each([
    ["plain", tree, "application/vnd.oci.image.layer.v1.tar"],
    ["gzip", Bun.gzipSync(Buffer.from(tree)), "application/vnd.oci.image.layer.v1.tar+gzip"],
    ["zstd", Bun.zstdCompressSync(tree), "application/vnd.oci.image.layer.v1.tar+zstd"],
  ])("makes an image of a %s tar, whose blob is the file itself", async (_, bytes, mediaType) => {
    using place = new Place();
    using store = temporaryStore();
    const file = place.file("root.tar", bytes);
    const options = {
      name: "mine:1",
      changes: ['CMD ["/bin/sh"]', "LABEL a=b"],
      message: "by hand",
      created: "2026-01-01T00:00:00Z",
    };
    const id = await importImage(store, file, options);
    const image = getImage(store, "mine:1");
    expect(image).toMatchObject({ id, kind: "local", config: { cmd: ["/bin/sh"], labels: [["a", "b"]] } });
    expect(readFileSync(join(layersDirectory(store), image.layers[0] ?? "", "etc/os"), "utf8")).toBe("mine");
    expect(contents(store).blobs).toContain(sha256(bytes).slice(7));
    expect(contents(store).ingest).toEqual([]);
    expect(await imageHistory(store, "mine:1")).toEqual([
      {
        id,
        bytes: tree.length,
        created: options.created,
        createdBy: undefined,
        author: undefined,
        comment: "by hand",
        isEmpty: undefined,
      },
    ]);
    const { manifest, comment, diffIds } = await describeImage(store, image);
    expect([comment, diffIds, manifest?.mediaType]).toEqual([
      "by hand",
      [sha256(tree)],
      expect.stringContaining("manifest"),
    ]);
    const stored = readFileSync(join(store.root, "blobs/sha256", manifest?.digest.slice(7) ?? ""), "utf8");
    expect(JSON.parse(stored).layers).toEqual([{ mediaType, digest: sha256(bytes), size: bytes.length }]);
    // The same file at the same time is the same image, and needs nothing new but its name.
    const fd = openSync(file, "r");
    expect(await importImage(store, fd, { ...options, name: "again:1" })).toBe(id);
    closeSync(fd);
    expect(listImages(store)).toMatchObject([{ id, names: ["again:1", "mine:1"] }]);
    await removeImage(store, id, { force: true });
    expect(contents(store)).toEqual({ layers: [], blobs: [], ingest: [], images: 0, rows: 0 });
  });

  test.each<[string, Uint8Array, object, string]>([
    ["a cut one", tree.subarray(0, -1024), {}, "tar-corrupt"],
    ["no tar", Buffer.from("text\n".repeat(300)), {}, "tar-corrupt"],
    ["xz", Buffer.concat([Buffer.from("\xfd7zXZ\0", "latin1"), tree]), {}, "archive-invalid"],
    ["an instruction that is none", tree, { changes: ["RUN x"] }, "change-invalid"],
    ["a name with a digest", tree, { name: `x@${sha256(tree)}` }, "reference-invalid"],
    ["a platform that is none", tree, { platform: "a/b/c/d" }, "platform-invalid"],
  ])("refuses %s and leaves nothing", async (_, bytes, options, code) => {
    using place = new Place();
    using store = temporaryStore();
    const imported = importImage(store, place.file("root.tar", bytes), options);
    await expect(imported).rejects.toMatchObject({ code });
    expect(contents(store)).toMatchObject({ layers: [], blobs: [], ingest: [], images: 0 });
  });
});

test("imageHistory() tells a Dockerfile's steps, each layer with its size, and layers that no step tells of", async () => {
  using place = new Place();
  using store = temporaryStore();
  const files = dockerFiles({ layers: [tree, makeLayer([{ path: "x" }])] }, ["app:1"]);
  const [name = ""] = files.keys();
  const config = JSON.parse(Buffer.from(files.get(name) as Uint8Array).toString());
  config.history = [
    { created: "2026-01-01T00:00:00Z", created_by: "COPY . /", comment: "buildkit" },
    { created_by: "ENV A=b", empty_layer: true },
  ];
  files.set(name, encode(config));
  await loadImages(store, place.file("a.tar", tarFiles(files)));
  expect(await imageHistory(store, "app:1")).toMatchObject([
    { id: sha256(encode(config)), bytes: 1536 },
    { createdBy: "ENV A=b", bytes: 0, isEmpty: true },
    { createdBy: "COPY . /", comment: "buildkit", bytes: tree.length },
  ]);
});

describe("pruneImages()", () => {
  test("takes those without names, or all that no container needs", async () => {
    using place = new Place();
    using store = temporaryStore();
    const load = (tag: string | null, content: string) => {
      const image = { layers: [makeLayer([{ path: content, content }])] };
      return loadImages(store, place.file(content, tarFiles(dockerFiles(image, tag === null ? null : [tag]))));
    };
    const [dangling] = await load(null, "dangling");
    const [used] = await load(null, "used");
    const [named] = await load("named:1", "named");
    const inUse = (id: string) => (id === used?.id ? ["box"] : []);
    const first = await pruneImages(store, { inUse });
    expect(first.removed).toEqual([{ untagged: [], deleted: dangling?.id }]);
    expect(first.bytes).toBeGreaterThan(2048 * 2);
    expect((await pruneImages(store, { all: true, inUse, untilMs: 0 })).removed).toEqual([]);
    expect((await pruneImages(store, { all: true, inUse })).removed).toEqual([
      { untagged: ["named:1"], deleted: named?.id },
    ]);
    expect(listImages(store).map(({ id }) => id)).toEqual([used?.id ?? ""]);
    expect(contents(store).layers.length).toBe(1);
  });
});
