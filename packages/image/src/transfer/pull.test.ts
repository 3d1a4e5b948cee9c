import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, lstatSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BoxError, call, cstr } from "@bantubox/ffi";
import { sha256 } from "../document/digest.ts";
import {
  encode,
  type Mischief,
  makeLayer,
  publish,
  putManifest,
  serveBlob,
  stalledBody,
  startRegistry,
  type TestImage,
} from "../registry/registry-fixture.ts";
import { findImage } from "../store/find.ts";
import { type ImageStore, layersDirectory } from "../store/store.ts";
import { contents, openDatabase, temporaryStore } from "../store/store-fixture.ts";
import { type PullOptions, type PullProgress, pullImage } from "./pull.ts";

const registry = startRegistry();
afterAll(() => registry[Symbol.asyncDispose]());
beforeEach(() => {
  registry.mischief = undefined;
  registry.requests.length = 0;
});

// The registry is in this very process: whatever keeps it busy must not look like a registry that stalls.
const quick: PullOptions = { retryMs: 1, stallMs: 10_000, connectMs: 10_000, credentials: () => undefined };

/** Incompressible, so that what is on the wire is as long as what is in the layer. */
function noise(bytes: number, seed = 1): Uint8Array {
  const out = new Uint8Array(bytes);
  let state = seed;
  for (let at = 0; at < bytes; at++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    out[at] = state >>> 16;
  }
  return out;
}

const base = makeLayer([{ path: "etc/" }, { path: "etc/os", content: "base" }, { path: "gone", content: "x" }]);
const top = makeLayer([{ path: "etc/os", content: "top" }, { path: ".wh.gone" }]);
const big = makeLayer([{ path: "noise", content: noise(300_000) }]);

let counter = 0;
/** A name that no other test has. */
function fresh(): { name: string; path: string } {
  const path = `t/image${counter++}`;
  return { name: `${registry.domain}/${path}:v1`, path: `${path}:v1` };
}

async function failure(promise: Promise<unknown>): Promise<BoxError> {
  const error = await promise.then(
    () => new Error("it went well"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof BoxError)) throw error;
  return error;
}

function layerFile(store: ImageStore, layer: string | undefined, path: string): string {
  return join(layersDirectory(store), layer ?? "", path);
}

function onBlob({ layers }: TestImage, mischief: Mischief): Mischief {
  return (request, path, count) => (path.endsWith(layers[0] ?? "-") ? mischief(request, path, count) : undefined);
}

describe("a good registry", () => {
  test("pullImage() stores layers as overlay wants them, and findImage() finds what the image says", async () => {
    using store = temporaryStore();
    const { name, path } = fresh();
    const image = publish(registry, path, [base, top], {
      config: { Cmd: ["/bin/sh"], Env: ["A=1"], Labels: { ["__proto__"]: "x", "io.bantubox.secret": "y" } },
    });
    const progress: PullProgress[] = [];
    const result = await pullImage(store, name, { ...quick, onProgress: (event) => progress.push(event) });
    expect(result.status).toBe("downloaded");
    expect(result.digest).toBe(image.manifest);
    const found = findImage(store, name);
    expect(found).toEqual(result.image);
    expect(found?.id).toBe(image.config);
    expect(found?.config).toMatchObject({ cmd: ["/bin/sh"], env: ["A=1"] });
    expect(found?.layers).toEqual(image.diffIds.map((diffId) => diffId.slice(7)));
    expect(readFileSync(layerFile(store, found?.layers[1], "etc/os"), "utf8")).toBe("top");
    expect(lstatSync(layerFile(store, found?.layers[1], "gone")).isCharacterDevice()).toBe(true);
    expect(contents(store)).toMatchObject({ ingest: [], images: 1, rows: 2 });
    expect(contents(store).blobs).toEqual(
      [image.manifest, image.config, ...image.layers].map((d) => d.slice(7)).sort(),
    );
    expect(
      progress
        .filter(({ phase }) => phase === "done")
        .map(({ layer }) => layer)
        .sort(),
    ).toEqual([...image.layers].sort());
  });

  test("pullImage() asks once, and only once, for a tag that has not changed", async () => {
    using store = temporaryStore();
    const { name, path } = fresh();
    publish(registry, path, [base]);
    await pullImage(store, name, quick);
    registry.requests.length = 0;
    expect((await pullImage(store, name, quick)).status).toBe("up-to-date");
    expect(registry.requests).toEqual([`HEAD /v2/${path.replace(":", "/manifests/")}`]);
    expect((await pullImage(store, name, { ...quick, policy: "missing" })).status).toBe("up-to-date");
    expect(registry.requests).toHaveLength(1);
  });

  test("pullImage() fetches only the layers that are new when a tag has moved on", async () => {
    using store = temporaryStore();
    const { name, path } = fresh();
    const before = publish(registry, path, [base]);
    await pullImage(store, name, quick);
    registry.requests.length = 0;
    const after = publish(registry, path, [base, top]);
    await pullImage(store, name, quick);
    expect(registry.requests.filter((request) => request.includes(before.layers[0] ?? "-"))).toEqual([]);
    expect(findImage(store, name)?.id).toBe(after.config);
    expect(findImage(store, before.config.slice(7, 19))).toMatchObject({ id: before.config, name: "" });
  });

  test("pullImage() takes the platform's image out of an index, and the same by its digest", async () => {
    using store = temporaryStore();
    const { name, path } = fresh();
    const [repository = ""] = path.split(":");
    const arm = publish(registry, path, [top], { platform: { os: "linux", architecture: "arm64" }, tag: false });
    const amd = publish(registry, path, [base], { platform: { os: "linux", architecture: "amd64" }, tag: false });
    const type = "application/vnd.oci.image.index.v1+json";
    const entry = ({ manifest }: TestImage, platform: object) => ({
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      digest: manifest,
      size: registry.manifests.get(manifest)?.bytes.length,
      platform,
    });
    const digest = putManifest(
      registry,
      path,
      type,
      encode({
        schemaVersion: 2,
        mediaType: type,
        manifests: [
          entry(arm, { os: "linux", architecture: "arm64", variant: "v8" }),
          entry(amd, { os: "linux", architecture: "amd64" }),
          entry(amd, { os: "unknown", architecture: "unknown" }),
        ],
      }),
    );
    expect((await pullImage(store, name, { ...quick, platform: "linux/arm64" })).image.id).toBe(arm.config);
    const again = await pullImage(store, name, { ...quick, platform: "amd64" });
    expect(again).toMatchObject({ image: { id: amd.config }, digest });
    const pinned = `${registry.domain}/${repository}@${digest}`;
    expect(findImage(store, pinned)?.id).toBe(amd.config);
    const missing = await failure(pullImage(store, name, { ...quick, platform: "linux/s390x" }));
    expect(missing.code).toBe("platform-missing");
    expect(missing.hint).toContain("linux/arm64/v8, linux/amd64");
  });

  test("pullImage() refuses an image for another machine, unless that was asked for or an index vouches for it", async () => {
    using store = temporaryStore();
    const { name, path } = fresh();
    const image = publish(registry, path, [base], { platform: { os: "linux", architecture: "s390x" } });
    const refused = await failure(pullImage(store, name, quick));
    expect(refused).toMatchObject({
      code: "platform-missing",
      hint: "Pull it with --platform linux/s390x if that is what you want",
    });
    const pulled = await pullImage(store, name, { ...quick, platform: "linux/s390x" });
    expect(pulled.image.id).toBe(image.config);
    const indexed = fresh();
    const type = "application/vnd.oci.image.index.v1+json";
    const size = registry.manifests.get(image.manifest)?.bytes.length;
    const entry = { mediaType: "application/vnd.oci.image.manifest.v1+json", digest: image.manifest, size };
    const platform = { os: "linux", architecture: process.arch === "arm64" ? "arm64" : "amd64" };
    putManifest(
      registry,
      indexed.path,
      type,
      encode({ schemaVersion: 2, mediaType: type, manifests: [{ ...entry, platform }] }),
    );
    expect((await pullImage(store, indexed.name, quick)).image.id).toBe(image.config);
  });

  test("two layers that are the same are one directory, since overlay refuses to stack it twice", async () => {
    using store = temporaryStore();
    const { name, path } = fresh();
    const image = publish(registry, path, [base, top, base]);
    const { layers } = (await pullImage(store, name, quick)).image;
    expect(layers).toEqual([image.diffIds[1], image.diffIds[0]].map((diffId) => diffId?.slice(7) ?? ""));
  });

  test("many pulls at once fetch each layer once, and all succeed", async () => {
    using store = temporaryStore();
    const { name, path } = fresh();
    const image = publish(registry, path, [base, big, top]);
    const results = await Promise.all([1, 2, 3, 4].map(() => pullImage(store, name, quick)));
    expect(new Set(results.map((result) => result.image.id))).toEqual(new Set([image.config]));
    for (const layer of image.layers) {
      expect(registry.requests.filter((request) => request.endsWith(layer))).toHaveLength(1);
    }
    expect(contents(store)).toMatchObject({ ingest: [], images: 1, rows: 3 });
  });
});

describe("a registry that fails", () => {
  test.each<[string, Mischief, PullOptions?]>([
    ["a 500", (_, __, count) => (count < 3 ? new Response("oops", { status: 500 }) : undefined)],
    [
      "a 429 that says when",
      (_, __, count) => (count < 3 ? new Response("", { status: 429, headers: { "Retry-After": "0" } }) : undefined),
    ],
    [
      "a manifest that breaks off",
      (_, path, count) => (path.includes("manifests") && count < 3 ? registry.cut(encode({ a: 1 }), 99) : undefined),
    ],
    [
      "a manifest that stalls",
      (_, path, count) => (path.includes("manifests") && count < 2 ? stalledBody(encode({ a: 1 })) : undefined),
      { stallMs: 500 },
    ],
  ])("pullImage() tries again after %s", async (_, mischief, options = {}) => {
    using store = temporaryStore();
    const { name, path } = fresh();
    publish(registry, path, [base]);
    registry.mischief = mischief;
    expect((await pullImage(store, name, { ...quick, ...options })).status).toBe("downloaded");
  });

  test("pullImage() goes on where a layer broke off or stalled", async () => {
    using store = temporaryStore();
    const { name, path } = fresh();
    const image = publish(registry, path, [big]);
    const blob = registry.blobs.get(image.layers[0] ?? "") ?? new Uint8Array();
    const ranges: (string | null)[] = [];
    registry.mischief = onBlob(image, (request, _, count) => {
      ranges.push(request.headers.get("range"));
      if (count === 1) return registry.cut(blob.subarray(0, 100_000), blob.length);
      const headers = { "Content-Range": `bytes 100000-${blob.length - 1}/${blob.length}` };
      return count === 2 ? stalledBody(blob.subarray(100_000, 150_000), headers, 206) : undefined;
    });
    await pullImage(store, name, { ...quick, stallMs: 1000 });
    expect(ranges).toEqual([null, "bytes=100000-", "bytes=150000-"]);
  });

  test("pullImage() copes with a registry that knows no ranges", async () => {
    using store = temporaryStore();
    const { name, path } = fresh();
    const image = publish(registry, path, [big]);
    const blob = registry.blobs.get(image.layers[0] ?? "") ?? new Uint8Array();
    registry.mischief = onBlob(image, (_, __, count) =>
      count === 1 ? registry.cut(blob.subarray(0, 100_000), blob.length) : new Response(Buffer.from(blob)),
    );
    expect((await pullImage(store, name, quick)).status).toBe("downloaded");
  });

  test("a later pull goes on with the download of an earlier one, even if that has gone bad on disk", async () => {
    for (const spoil of [false, true]) {
      using store = temporaryStore();
      const { name, path } = fresh();
      const image = publish(registry, path, [big]);
      const [layer = ""] = image.layers;
      const blob = registry.blobs.get(layer) ?? new Uint8Array();
      registry.mischief = onBlob(image, (_, __, count) =>
        count === 1 ? registry.cut(blob.subarray(0, 100_000), blob.length) : new Response("", { status: 503 }),
      );
      expect((await failure(pullImage(store, name, quick))).code).toBe("registry-error");
      expect(contents(store)).toMatchObject({ layers: [], ingest: [layer.slice(7)], images: 0, rows: 0 });
      if (spoil) writeFileSync(join(store.root, "ingest", layer.slice(7)), Buffer.alloc(100_000));
      const ranges: (string | null)[] = [];
      registry.mischief = onBlob(image, (request) => {
        ranges.push(request.headers.get("range"));
        return undefined;
      });
      await pullImage(store, name, quick);
      expect(ranges).toEqual(spoil ? ["bytes=100000-", null] : ["bytes=100000-"]);
      expect(contents(store)).toMatchObject({ ingest: [], images: 1 });
    }
  });

  test.each<[string, string, (blob: Uint8Array) => Response]>([
    [
      "a bit that flipped",
      "blob-corrupt",
      (blob) => new Response(Buffer.from(blob.map((byte, at) => (at === blob.length >> 1 ? byte ^ 1 : byte)))),
    ],
    ["another blob of the same length", "blob-corrupt", (blob) => new Response(Buffer.from(noise(blob.length, 7)))],
    ["bytes beyond the end", "blob-corrupt", (blob) => new Response(Buffer.concat([blob, Buffer.alloc(9)]))],
    [
      "a web page",
      "registry-unreachable",
      () => new Response("<html>Sign in</html>", { headers: { "Content-Type": "text/html" } }),
    ],
    ["nothing at all", "registry-unreachable", () => new Response(null)],
    [
      "another range",
      "blob-corrupt",
      (blob) => new Response(Buffer.from(blob), { status: 206, headers: { "Content-Range": "bytes 5-9/10" } }),
    ],
    ["a refusal", "registry-unauthorized", () => new Response("", { status: 403 })],
    ["a lack of it", "registry-image-missing", () => new Response("", { status: 404 })],
  ])("%s instead of a layer is an error that leaves nothing of use", async (_, code, answer) => {
    using store = temporaryStore();
    const { name, path } = fresh();
    const image = publish(registry, path, [big]);
    const blob = registry.blobs.get(image.layers[0] ?? "") ?? new Uint8Array();
    registry.mischief = onBlob(image, () => answer(blob));
    const error = await failure(pullImage(store, name, quick));
    expect(error.code).toBe(code);
    expect(findImage(store, name)).toBeUndefined();
    expect(contents(store)).toMatchObject({ layers: [], images: 0, rows: 0 });
    registry.mischief = undefined;
    expect((await pullImage(store, name, quick)).status).toBe("downloaded");
    expect(contents(store)).toMatchObject({ ingest: [], images: 1 });
  });

  test("a layer that is not what its config says is refused", async () => {
    using store = temporaryStore();
    const { name, path } = fresh();
    const image = publish(registry, path, [base, top]);
    const config = encode({
      os: "linux",
      architecture: process.arch === "arm64" ? "arm64" : "amd64",
      rootfs: { type: "layers", diff_ids: [image.diffIds[0], image.diffIds[0]?.replace(/.$/, "0")] },
    });
    registry.blobs.set(sha256(config), config);
    const manifest = JSON.parse(new TextDecoder().decode(registry.manifests.get(image.manifest)?.bytes));
    manifest.config = { ...manifest.config, digest: sha256(config), size: config.length };
    putManifest(registry, path, manifest.mediaType, encode(manifest));
    expect((await failure(pullImage(store, name, quick))).code).toBe("layer-corrupt");
    expect(contents(store)).toMatchObject({ layers: [], images: 0, rows: 0 });
  });

  test.each<[string, string, () => Response]>([
    ["HTML", "manifest-invalid", () => new Response("<html>", { headers: { "Content-Type": "text/html" } })],
    ["5 MiB", "registry-answer-too-large", () => new Response(" ".repeat(5 << 20))],
    ["null", "manifest-invalid", () => new Response("null")],
  ])("%s as a manifest is an error", async (_, code, answer) => {
    using store = temporaryStore();
    const { name, path } = fresh();
    publish(registry, path, [base]);
    registry.mischief = () => answer();
    expect((await failure(pullImage(store, name, quick))).code).toBe(code);
    expect(existsSync(join(store.root, "layers"))).toBe(false);
  });

  test("a digest that was asked for is the one that is got", async () => {
    using store = temporaryStore();
    const wanted = publish(registry, "t/pinned:v1", [base]);
    const other = publish(registry, "t/pinned:v2", [top]);
    registry.manifests.set(wanted.manifest, registry.manifests.get(other.manifest) ?? { type: "", bytes: base });
    const error = await failure(pullImage(store, `${registry.domain}/t/pinned@${wanted.manifest}`, quick));
    expect(error.code).toBe("digest-mismatch");
  });

  test("an image that is not there, and a registry that is not there, are said as such", async () => {
    using store = temporaryStore();
    const missing = await failure(pullImage(store, `${registry.domain}/no/such:thing`, quick));
    expect(missing.code).toBe("registry-image-missing");
    expect(missing.message).toBe(
      `Cannot pull "${registry.domain}/no/such:thing": the registry does not have it ("manifest unknown")`,
    );
    const nobody = await failure(pullImage(store, "127.0.0.1:1/a/b", { ...quick, tries: 2 }));
    expect(nobody.code).toBe("registry-unreachable");
  });

  test("an aborted pull stops at once, and keeps what it has for the next", async () => {
    using store = temporaryStore();
    const { name, path } = fresh();
    const image = publish(registry, path, [big]);
    const blob = registry.blobs.get(image.layers[0] ?? "") ?? new Uint8Array();
    const stop = new AbortController();
    registry.mischief = onBlob(image, () => {
      setTimeout(() => stop.abort(new BoxError("interrupted", "Cannot pull: interrupted")), 30);
      return stalledBody(blob.subarray(0, 50_000));
    });
    const error = await failure(pullImage(store, name, { ...quick, stallMs: 60_000, signal: stop.signal }));
    expect(error.code).toBe("interrupted");
    expect(contents(store)).toMatchObject({ layers: [], images: 0 });
    registry.mischief = undefined;
    await pullImage(store, name, quick);
  });

  test.skipIf(process.getuid?.() !== 0)(
    "a full disk is said as such, leaves no half layer, and is forgotten once it has room",
    async () => {
      using store = temporaryStore();
      const { name, path } = fresh();
      publish(registry, path, [big]);
      {
        using _full = tinyFileSystem(join(store.root, "layers"));
        expect((await failure(pullImage(store, name, quick))).code).toBe("ENOSPC");
        expect(contents(store)).toMatchObject({ layers: [], ingest: [], images: 0 });
      }
      await pullImage(store, name, quick);
    },
  );
});

/** Mounts 128 KiB of tmpfs on a directory of the test's own. */
function tinyFileSystem(directory: string): Disposable {
  mkdirSync(directory, { mode: 0o700 });
  call("mount", undefined, cstr("tiny"), cstr(directory), cstr("tmpfs"), 0, cstr("size=128k,mode=0700"));
  return {
    [Symbol.dispose]() {
      call("umount2", undefined, cstr(directory), 0);
    },
  };
}

test("a pull that is killed at any moment leaves nothing that the next one does not mend", async () => {
  using store = temporaryStore();
  const { name, path } = fresh();
  const layers = [1, 2, 3].map((seed) => makeLayer([{ path: `noise${seed}`, content: noise(200_000, seed) }]));
  const image = publish(registry, path, layers);
  // Slow enough that the kill hits the middle of a download, too.
  registry.mischief = async (request, path_) => {
    const blob = registry.blobs.get(/\/blobs\/(.+)$/.exec(path_)?.[1] ?? "");
    if (blob === undefined || request.headers.has("range")) return undefined as unknown as Response;
    await Bun.sleep(5);
    return serveBlob(request, blob);
  };
  const program = `
    import { openDatabase } from ${JSON.stringify(join(import.meta.dir, "../store/store-fixture.ts"))};
    import { pullImage } from ${JSON.stringify(join(import.meta.dir, "pull.ts"))};
    const root = ${JSON.stringify(store.root)};
    console.log("ready");
    await pullImage({ root, database: openDatabase(root) }, ${JSON.stringify(name)}, { retryMs: 1 });
  `;
  let killed = 0;
  for (const delayMs of [0, 8, 16, 24, 32, 45, 60, 80]) {
    await using child = Bun.spawn([process.execPath, "-e", program], { stdout: "pipe", stderr: "ignore" });
    await child.stdout.getReader().read();
    await Bun.sleep(delayMs);
    child.kill("SIGKILL");
    await child.exited;
    if (child.signalCode === "SIGKILL") killed++;
    using database = openDatabase(store.root);
    const whole = { root: store.root, database };
    // Whatever is visible is whole.
    const found = findImage(whole, name);
    for (const layer of found?.layers ?? []) expect(existsSync(layerFile(whole, layer, ""))).toBe(true);
  }
  expect(killed).toBeGreaterThan(2);
  await pullImage(store, name, quick);
  expect(contents(store)).toEqual({
    layers: image.diffIds.map((diffId) => diffId.slice(7)).sort(),
    blobs: [image.manifest, image.config, ...image.layers].map((digest) => digest.slice(7)).sort(),
    ingest: [],
    images: 1,
    rows: 3,
  });
});

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("skipped: a file system that fills up needs root");

test.skipIf(!isRoot)("a full disk is no reason to throw away a blob that another image needs", async () => {
  using plain = temporaryStore();
  const store = { ...plain, storageDriver: "copy" as const };
  const files = Array.from({ length: 60 }, (_, n) => ({ path: `file${n}`, content: "x" }));
  const shared = makeLayer(files);
  const [one, two] = [fresh(), fresh()];
  const image = publish(registry, one.path, [shared, makeLayer([{ path: "one" }])]);
  publish(registry, two.path, [shared, makeLayer([{ path: "two" }])]);
  await pullImage(store, one.name, quick);
  const layers = layersDirectory(store);
  const options = cstr("nr_inodes=20");
  call("mount", layers, cstr("tmpfs"), cstr(layers), cstr("tmpfs"), 0, options);
  try {
    expect((await failure(pullImage(store, two.name, quick))).code).toBe("ENOSPC");
  } finally {
    call("umount2", layers, cstr(layers), 2);
  }
  expect(existsSync(join(store.root, "blobs/sha256", image.layers[0]?.slice(7) ?? ""))).toBe(true);
  await pullImage(store, two.name, quick);
});
