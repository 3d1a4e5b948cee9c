import { afterAll, describe, expect, test } from "bun:test";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, symlinkSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { BoxError } from "@bantubox/ffi";
import { sha256 } from "../document/digest.ts";
import { OCI_MANIFEST } from "../document/manifest.ts";
import { encode, makeLayer } from "../registry/registry-fixture.ts";
import { findImage, getImage } from "../store/find.ts";
import { collectGarbage } from "../store/garbage.ts";
import { listImages } from "../store/list.ts";
import { layersDirectory } from "../store/store.ts";
import { contents, temporaryStore } from "../store/store-fixture.ts";
import { entryOf, type FixtureEntry, tarOf } from "../tar/tar-fixture.ts";
import {
  addImage,
  blobName,
  configOf,
  dockerFiles,
  type Files,
  layoutFiles,
  named,
  Place,
  tarFiles,
  withIndex,
} from "./archive-fixture.ts";
import { type LoadOptions, loadImages } from "./load.ts";
import { saveImages } from "./save.ts";

const base = makeLayer([{ path: "etc/" }, { path: "etc/os", content: "base" }, { path: "gone", content: "x" }]);
const top = makeLayer([{ path: "etc/os", content: "top" }, { path: ".wh.gone" }]);
const image = { layers: [base, top], config: { Cmd: ["/bin/sh"] } };
const id = sha256(configOf(image));
const EMPTY = { layers: [], blobs: [], ingest: [], images: 0, rows: 0 };

/** Loads an archive once as a file that is read where it lies, and once as a stream. */
async function load(archive: Uint8Array, options: LoadOptions = {}) {
  const results = [];
  for (const bytes of [archive, Bun.gzipSync(Buffer.from(archive))]) {
    using place = new Place();
    using store = temporaryStore();
    const loaded = await loadImages(store, place.file("archive", bytes), options);
    results.push({ loaded, images: listImages(store), contents: contents(store) });
  }
  expect(results[1]).toEqual(results[0] as never);
  return results[0] as (typeof results)[number];
}

const untouched = temporaryStore();
afterAll(() => untouched[Symbol.dispose]());

/** Why an archive is refused, in both ways, and that nothing of it is left. */
async function refusal(archive: Uint8Array, options: LoadOptions = {}, ways = 2): Promise<string> {
  const codes = new Set<string>();
  for (const bytes of [archive, Bun.gzipSync(Buffer.from(archive))].slice(0, ways)) {
    using place = new Place();
    const store = untouched;
    const error = await loadImages(store, place.file("archive", bytes), options).then(
      () => new Error("it was loaded"),
      (reason: unknown) => reason,
    );
    if (!(error instanceof BoxError)) throw error;
    codes.add(error.code);
    expect(contents(store)).toEqual(EMPTY);
  }
  return [...codes].join(" or ");
}

function changed(files: Files, change: (files: Files) => void): Buffer {
  change(files);
  return tarFiles(files);
}

describe("good archives", () => {
  test.each([
    ["an OCI archive", tarFiles(layoutFiles(image, "docker.io/library/app:1"))],
    ["one with gzip layers", tarFiles(layoutFiles({ ...image, compress: "gzip" }, "app:1"))],
    ["one with zstd layers", tarFiles(layoutFiles({ ...image, compress: "zstd" }, "app:1"))],
    ["a docker-archive", tarFiles(dockerFiles(image, ["app:1"]))],
    [
      "one whose names begin with ./",
      tarOf(
        ...[...dockerFiles(image, ["app:1"])].map(([name, data]) => ({ name: `./${name}`, data: Buffer.from(data) })),
      ),
    ],
    [
      "one with directories and what else tar writes",
      tarOf(
        { name: "x", type: "g", data: "" },
        { name: "d/", type: "5" },
        ...[...dockerFiles(image, ["app:1"])].map(([name, data]) => ({ name, data: Buffer.from(data) })),
        { name: "fifo", type: "6" },
      ),
    ],
  ])("loadImages() takes %s", async (_, archive) => {
    const { loaded, images } = await load(archive);
    expect(loaded).toEqual([{ id, names: ["app:1"] }]);
    expect(images).toMatchObject([{ id, names: ["app:1"], layers: 2 }]);
  });

  test("loadImages() takes a layout in a directory", async () => {
    using place = new Place();
    using store = temporaryStore();
    expect(await loadImages(store, place.directory("layout", layoutFiles(image, "app:1")))).toEqual([
      { id, names: ["app:1"] },
    ]);
    const [, layer = ""] = getImage(store, "app:1").layers;
    expect(readFileSync(join(layersDirectory(store), layer, "etc/os"), "utf8")).toBe("top");
  });

  test("loadImages() takes what comes by a pipe", async () => {
    using place = new Place();
    using store = temporaryStore();
    const path = place.file("archive", tarFiles(dockerFiles(image, ["app:1"])));
    const child = Bun.spawn(["cat", path], { stdout: "pipe" });
    // The end of a pipe that another process writes to, as standard input is.
    await Bun.$`mkfifo ${join(place.path, "fifo")}`;
    const writer = Bun.spawn(["sh", "-c", `cat ${path} > ${join(place.path, "fifo")}`]);
    const fd = openSync(join(place.path, "fifo"), "r");
    try {
      expect(await loadImages(store, fd)).toEqual([{ id, names: ["app:1"] }]);
    } finally {
      closeSync(fd);
      await Promise.all([writer.exited, child.exited]);
    }
  });

  test("several images and several names of one come at once, and layers that they share once", async () => {
    const other = { layers: [base], config: { Cmd: ["other"] } };
    const files: Files = new Map();
    const first = addImage(files, image);
    const second = addImage(files, other);
    withIndex(files, [
      { ...first, ...named("app:1") },
      { ...first, ...named("app:2") },
      { ...second, ...named("registry.example.org:5000/team/other:x") },
      second,
    ]);
    const { loaded, contents } = await load(tarFiles(files));
    expect(loaded).toEqual([
      { id, names: ["app:1", "app:2"] },
      { id: sha256(configOf(other)), names: ["registry.example.org:5000/team/other:x"] },
    ]);
    expect(contents.layers.length).toBe(2);
  });

  test("an image without a name is found by its ID", async () => {
    expect((await load(tarFiles(layoutFiles(image)))).loaded).toEqual([{ id, names: [] }]);
    expect((await load(tarFiles(dockerFiles(image)))).loaded).toEqual([{ id, names: [] }]);
  });

  test("docker's links within the archive lead to layers, and podman's whole names are names", async () => {
    const files = dockerFiles(image, ["app:1"]);
    const layer = files.get("layer0/layer.tar") as Uint8Array;
    files.delete("layer0/layer.tar");
    files.set(`${"a".repeat(64)}.tar`, layer);
    const linked = tarFiles(files, [{ name: "layer0/layer.tar", type: "2", linkname: `../${"a".repeat(64)}.tar` }]);
    expect((await load(linked)).loaded).toEqual([{ id, names: ["app:1"] }]);

    const layout: Files = new Map();
    const descriptor = addImage(layout, image);
    const refName = (name: string) => ({ annotations: { "org.opencontainers.image.ref.name": name } });
    withIndex(layout, [
      { ...descriptor, ...refName("localhost/app:1") },
      { ...descriptor, ...refName("1.0") },
    ]);
    expect((await load(tarFiles(layout))).loaded).toEqual([{ id, names: ["localhost/app:1"] }]);
  });

  test("of several platforms the host's is taken, or the one that is asked for, or the only one that is there", async () => {
    const files: Files = new Map();
    const arm = { layers: [base], platform: { os: "linux", architecture: "arm", variant: "v7" } };
    const host = addImage(files, image);
    const foreign = addImage(files, arm);
    const platforms = [
      { ...foreign, platform: arm.platform },
      { ...host, platform: { os: "linux", architecture: process.arch === "arm64" ? "arm64" : "amd64" } },
    ];
    const inner = encode({ schemaVersion: 2, manifests: platforms });
    files.set(blobName(inner), inner);
    const entry = { mediaType: "application/vnd.oci.image.index.v1+json", digest: sha256(inner), size: inner.length };
    withIndex(files, [{ ...entry, ...named("app:1") }]);
    const armId = sha256(configOf(arm));
    expect((await load(tarFiles(files))).loaded).toEqual([{ id, names: ["app:1"] }]);
    expect((await load(tarFiles(files), { platform: "linux/arm/v7" })).loaded).toEqual([
      { id: armId, names: ["app:1"] },
    ]);
    expect(await refusal(tarFiles(files), { platform: "linux/s390x" })).toBe("platform-missing");
    files.delete(blobName(files.get(`blobs/sha256/${host.digest.slice(7)}`) as Uint8Array));
    expect((await load(tarFiles(files))).loaded).toEqual([{ id: armId, names: ["app:1"] }]);
  });

  test("what is here already is not read again, and keeps its manifest when the archive has none", async () => {
    using place = new Place();
    using store = temporaryStore();
    const layout = layoutFiles({ ...image, compress: "gzip" }, "app:1");
    await loadImages(store, place.file("a", tarFiles(layout)));
    const before = listImages(store);
    const phases: string[] = [];
    const onProgress = ({ phase }: { phase: string }) => phases.push(phase);
    await loadImages(store, place.file("b", tarFiles(dockerFiles(image, ["other:1"]))), { onProgress });
    expect(phases).toEqual(["exists", "exists"]);
    expect(listImages(store)).toMatchObject([
      { ...before[0], names: ["app:1", "other:1"], digests: expect.anything() },
    ]);
    await saveImages(store, ["other:1"], join(place.path, "saved"));
    const again = temporaryStore();
    await loadImages(again, join(place.path, "saved"));
    expect(listImages(again)[0]?.digests[0]).toBe(before[0]?.digests[0]?.replace("app@", "other@"));
    again[Symbol.dispose]();
  });

  test("a tar without its end marker, and one with more behind it, are taken as Go takes them", async () => {
    const archive = tarFiles(dockerFiles(image, ["app:1"]));
    expect((await load(archive.subarray(0, -1024))).loaded).toEqual([{ id, names: ["app:1"] }]);
    expect((await load(Buffer.concat([archive, Buffer.alloc(9000)]))).loaded).toEqual([{ id, names: ["app:1"] }]);
  });
});

describe("hostile archives leave nothing (IMG-*, TAR-*)", () => {
  const layout = () => layoutFiles(image, "app:1");
  const docker = () => dockerFiles(image, ["app:1"]);
  const entry = (name: string, data: string | Uint8Array): FixtureEntry => ({ name, data: Buffer.from(data) });
  const manifest = (value: unknown) =>
    changed(docker(), (files) => files.set("manifest.json", encode(value as object)));
  const descriptor = (change: object) => {
    const files: Files = new Map();
    return tarFiles(withIndex(files, [{ ...addImage(files, image), ...change }]));
  };

  test.each<[string, Uint8Array, string]>([
    ["nothing at all", Buffer.alloc(0), "archive-invalid"],
    ["only an end marker", Buffer.alloc(1024), "archive-invalid"],
    ["no tar", Buffer.from("#!/bin/sh\n".repeat(200)), "tar-corrupt"],
    ["a root file system", tarOf(entry("etc/passwd", "root:x")), "archive-invalid"],
    ["a JSON that is none", manifest("{"), "archive-invalid"],
    ["null", changed(docker(), (files) => files.set("manifest.json", Buffer.from("null"))), "archive-invalid"],
    ["no images", manifest([]), "archive-invalid"],
    ["numbers for names (IMG-01)", manifest([{ Config: 1, RepoTags: [2], Layers: [3] }]), "archive-invalid"],
    ["a config outside (IMG-08)", manifest([{ Config: "../../../../etc/passwd", Layers: [] }]), "archive-invalid"],
    ["an absolute config", manifest([{ Config: "/etc/passwd", Layers: [] }]), "archive-invalid"],
    ["a config that is not there", manifest([{ Config: "nowhere", Layers: [] }]), "archive-invalid"],
    [
      "a layer outside",
      manifest([{ Config: [...docker().keys()][0], Layers: ["../layer0/layer.tar", "layer1/layer.tar"] }]),
      "archive-invalid",
    ],
    [
      "fewer layers than its config (IMG-04)",
      manifest([{ Config: [...docker().keys()][0], Layers: ["layer0/layer.tar"] }]),
      "config-invalid",
    ],
    [
      "layers of another config (IMG-04)",
      manifest([{ Config: [...docker().keys()][0], Layers: ["layer1/layer.tar", "layer0/layer.tar"] }]),
      "layer-corrupt or blob-corrupt",
    ],
    ["a name that is none", tarFiles(dockerFiles(image, ["../../x"])), "archive-invalid"],
    ["a name with control characters", tarFiles(layoutFiles(image, "app:1\u001b[2J")), "archive-invalid"],
    ["a tag that is a digest", tarFiles(dockerFiles(image, [`app@${sha256(base)}`])), "archive-invalid"],
    ["a name with another digest (IMG-04)", tarFiles(layoutFiles(image, `app@${sha256(base)}`)), "archive-invalid"],
    [
      "a digest that leads elsewhere (IMG-04)",
      descriptor({ digest: "sha256:../../../etc/passwd" }),
      "manifest-invalid",
    ],
    ["a digest of another algorithm", descriptor({ digest: `md5:${"0".repeat(32)}` }), "manifest-invalid"],
    ["a negative size (IMG-05)", descriptor({ size: -1 }), "manifest-invalid"],
    ["a size that is not whole (IMG-05)", descriptor({ size: 1.5 }), "manifest-invalid"],
    ["a wrong size", descriptor({ size: 1 }), "blob-corrupt"],
    ["a manifest that is not there", descriptor({ digest: sha256(base).replace(/.$/, "0") }), "archive-invalid"],
    [
      "a version of layouts that nobody knows",
      changed(layout(), (files) => files.set("oci-layout", encode({ imageLayoutVersion: "2.0" }))),
      "archive-invalid",
    ],
    [
      "an index that is a manifest as well (IMG-03)",
      changed(layout(), (files) =>
        files.set("index.json", encode({ schemaVersion: 2, manifests: [], layers: [], config: {} })),
      ),
      "manifest-invalid",
    ],
    [
      "an index larger than any (IMG-02)",
      changed(layout(), (files) => files.set("index.json", Buffer.alloc(5 << 20, " "))),
      "archive-invalid",
    ],
    [
      "two indexes that differ",
      tarFiles(layout(), [entry("./index.json", '{"schemaVersion":2,"manifests":[]}')]),
      "archive-invalid",
    ],
    ["two manifests that differ", tarFiles(docker(), [entry("manifest.json", "[]")]), "archive-invalid"],
    [
      "a manifest put in place of a link",
      tarFiles(new Map(), [{ name: "manifest.json", type: "2", linkname: "x" }, entry("manifest.json", "[]")]),
      "archive-invalid",
    ],
  ])("%s", async (_, archive, code) => {
    expect(await refusal(archive)).toBe(code);
  });

  test("what is compressed by tools that are not here is said to be so", async () => {
    const xz = Buffer.concat([Buffer.from("\xfd7zXZ\0", "latin1"), Buffer.alloc(2000)]);
    expect(await refusal(xz, {}, 1)).toBe("archive-invalid");
    expect(await refusal(Buffer.from(`BZh91AY&SY${"x".repeat(600)}`), {}, 1)).toBe("archive-invalid");
  });

  test("a layer whose bytes are not its digest's (IMG-04)", async () => {
    const files = layoutFiles({ ...image, compress: "gzip" }, "app:1");
    const name = blobName(Bun.gzipSync(Buffer.from(top)));
    const bytes = Buffer.from(files.get(name) as Uint8Array);
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    files.set(name, bytes);
    expect(await refusal(tarFiles(files))).toMatch(/^(layer|blob)-corrupt( or blob-corrupt)?$/);
  });

  test("a config or manifest whose bytes are not its digest's", async () => {
    for (const broken of [configOf(image), undefined]) {
      const files = layout();
      const name = broken === undefined ? [...files.keys()][0] : blobName(broken);
      const bytes = Buffer.from(files.get(name ?? "") as Uint8Array);
      bytes[20] = 0x20;
      files.set(name ?? "", bytes);
      expect(await refusal(tarFiles(files))).toBe("blob-corrupt");
    }
  });

  test("links that lead out of the archive lead nowhere, and circles end (IMG-08, CVE-2014-9356)", async () => {
    for (const linkname of ["/etc/passwd", "../../../../etc/passwd", "layer0/layer.tar"]) {
      const files = docker();
      files.delete("layer0/layer.tar");
      for (const type of ["1", "2"]) {
        expect(await refusal(tarFiles(files, [{ name: "layer0/layer.tar", type, linkname }]))).toBe("archive-invalid");
      }
    }
  });

  test("a layout in a directory is read through no link, and no file that blocks (IMG-08)", async () => {
    const outside = new Place();
    for (const name of ["index.json", "blobs", "blobs/sha256", blobName(configOf(image)), "fifo"]) {
      using place = new Place();
      using store = temporaryStore();
      const directory = place.directory("layout", layout());
      const path = join(directory, name);
      if (name === "fifo") {
        unlinkSync(join(directory, blobName(configOf(image))));
        await Bun.$`mkfifo ${join(directory, blobName(configOf(image)))}`;
      } else {
        await Bun.$`mv ${path} ${join(outside.path, name.replaceAll("/", "-"))}`;
        symlinkSync(join(outside.path, name.replaceAll("/", "-")), path);
      }
      const error = await loadImages(store, directory).catch((reason: unknown) => reason);
      expect(error).toMatchObject({ code: "archive-invalid" });
      expect(contents(store)).toEqual(EMPTY);
    }
    outside[Symbol.dispose]();
  });

  test("an archive that is cut off anywhere", async () => {
    const archive = tarFiles(layout());
    for (const length of [100, 512, 700, 1024, 3000, archive.length - 1024 - 600, archive.length - 1024 - 1]) {
      expect(await refusal(archive.subarray(0, length))).toMatch(/^(tar-corrupt|archive-invalid)( or |$)/);
    }
    const zipped = Bun.gzipSync(Buffer.from(archive));
    using place = new Place();
    using store = temporaryStore();
    for (const length of [3, 20, zipped.length >> 1, zipped.length - 9]) {
      const error = await loadImages(store, place.file("cut", zipped.subarray(0, length))).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(BoxError);
      expect(contents(store)).toEqual(EMPTY);
    }
  });

  test("indexes in indexes end, however deep they go (IMG-02)", async () => {
    const files: Files = new Map();
    let entry: object = addImage(files, image);
    for (let depth = 0; depth < 6; depth++) {
      const index = encode({ schemaVersion: 2, manifests: [entry] });
      files.set(blobName(index), index);
      entry = { mediaType: "application/vnd.oci.image.index.v1+json", digest: sha256(index), size: index.length };
    }
    expect(await refusal(tarFiles(withIndex(files, [entry])))).toBe("archive-invalid");
  });

  test("one bad image takes the good ones with it, and changes no name (I5, IMG-09)", async () => {
    using place = new Place();
    using store = temporaryStore();
    await loadImages(store, place.file("before", tarFiles(dockerFiles({ layers: [base] }, ["app:1", "keep:1"]))));
    const before = { ...contents(store), listed: listImages(store) };
    const files = dockerFiles(image, ["app:1"]);
    const bad = { layers: [makeLayer([{ path: "bad" }])] };
    files.set("bad.json", configOf(bad));
    const entries = JSON.parse(Buffer.from(files.get("manifest.json") as Uint8Array).toString());
    entries.push({ Config: "bad.json", RepoTags: ["bad:1"], Layers: ["layer0/layer.tar"] });
    files.set("manifest.json", encode(entries));
    await expect(loadImages(store, place.file("bad", tarFiles(files)))).rejects.toMatchObject({
      code: "layer-corrupt",
    });
    expect({ ...contents(store), listed: listImages(store) }).toEqual(before);
    // The twin: without the bad one, only the name that the archive has moves on.
    await loadImages(store, place.file("good", tarFiles(dockerFiles(image, ["app:1"]))));
    expect([findImage(store, "app:1")?.id, findImage(store, "keep:1")?.id]).toEqual([
      id,
      sha256(configOf({ layers: [base] })),
    ]);
  });

  test("names of the archive's files become none here (TAR-01)", async () => {
    using place = new Place();
    using store = temporaryStore();
    const evil = [
      entry("../../../../tmp/bantubox-evil", "x"),
      entry("/tmp/bantubox-evil", "x"),
      entry("images.lock", "x"),
    ];
    const archive = Bun.gzipSync(Buffer.concat([...evil.map(entryOf), tarFiles(docker())]));
    await loadImages(store, place.file("evil", archive));
    expect(existsSync("/tmp/bantubox-evil")).toBe(false);
    expect(readdirSync(join(store.root, "ingest"))).toEqual([]);
  });

  test("what a killed load has left, the next command clears away", async () => {
    using place = new Place();
    using store = temporaryStore();
    const path = place.file("archive", tarFiles(docker()));
    const stop = new AbortController();
    const onProgress = () => stop.abort(new Error("stopped"));
    await expect(loadImages(store, path, { signal: stop.signal, onProgress })).rejects.toThrow("stopped");
    expect(contents(store)).toEqual(EMPTY);
    await Bun.$`mkdir -p ${join(store.root, "ingest/.tmp-load-dead")} && touch ${join(store.root, "ingest/.tmp-load-dead/0")}`;
    await collectGarbage(store);
    expect(contents(store)).toEqual(EMPTY);
  });
});

test("an archive brings what an image that is here has lost of its bytes, and the image can be saved again", async () => {
  for (const files of [layoutFiles(image, "app:1"), dockerFiles(image, ["app:1"])]) {
    using place = new Place();
    using store = temporaryStore();
    const archive = place.file("archive", tarFiles(files));
    await loadImages(store, place.file("gzipped", tarFiles(layoutFiles({ ...image, compress: "gzip" }, "app:1"))));
    for (const blob of contents(store).blobs) {
      const path = join(store.root, "blobs/sha256", blob);
      if (readFileSync(path)[0] === 0x1f) unlinkSync(path);
    }
    await loadImages(store, archive);
    expect(contents(store)).toMatchObject({ ingest: [], images: 1, rows: 2 });
    await saveImages(store, ["app:1"], join(place.path, "saved"));
    using other = temporaryStore();
    expect(await loadImages(other, join(place.path, "saved"))).toEqual([{ id, names: ["app:1"] }]);
  }
});

test("an archive whose blob is not of the layer that is here is refused, wherever that blob is", async () => {
  using place = new Place();
  using store = temporaryStore();
  const files: Files = new Map();
  addImage(files, { layers: [base], compress: "gzip" });
  const lie = JSON.parse(new TextDecoder().decode([...files.values()][0])) as { layers: object[] };
  const wrong = Bun.gzipSync(Buffer.from(top));
  lie.layers = [{ ...lie.layers[0], digest: sha256(wrong), size: wrong.length }];
  const manifest = encode(lie);
  for (const bytes of [manifest, wrong]) files.set(blobName(bytes), bytes);
  withIndex(files, [{ mediaType: OCI_MANIFEST, digest: sha256(manifest), size: manifest.length, ...named("evil:1") }]);
  const archive = place.file("evil", tarFiles(files));
  for (const layers of [[base], [top]]) {
    await loadImages(store, place.file("good", tarFiles(layoutFiles({ layers, compress: "gzip" }, "good:1"))));
    expect(await loadImages(store, archive).catch((error: BoxError) => error.code)).toBe("layer-corrupt");
    expect(findImage(store, "evil:1")).toBeUndefined();
  }
});
