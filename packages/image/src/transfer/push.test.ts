import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { type Digest, sha256 } from "../document/digest.ts";
import { parseReference } from "../document/reference.ts";
import { initImage } from "../make/init.ts";
import { ownEndpoint } from "../registry/endpoint.ts";
import { makeLayer, publish, startRegistry } from "../registry/registry-fixture.ts";
import { openSession } from "../registry/session.ts";
import { parseUploadRange } from "../registry/upload.ts";
import { streamBlob } from "../registry/upload-stream.ts";
import { writeBlob } from "../store/blobs.ts";
import { findImage } from "../store/find.ts";
import { type ImageStore, layersDirectory } from "../store/store.ts";
import { contents, temporaryStore } from "../store/store-fixture.ts";
import { archiveTree } from "../tree/archive.ts";
import { pullImage } from "./pull.ts";
import { type PushOptions, type PushProgress, pushAllTags, pushImage } from "./push.ts";

const registry = startRegistry();
const other = startRegistry();
const directory = mkdtempSync(join(tmpdir(), "bantubox-push-"));
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});
beforeEach(() => {
  for (const each of [registry, other]) {
    each.mischief = undefined;
    each.requests.length = 0;
    each.blobs.clear();
    each.manifests.clear();
    each.uploads.clear();
  }
});

/** Small parts, so that small blobs have several. */
const CHUNK = 200_000;
const quick: Omit<PushOptions, "onProgress"> = {
  chunk: CHUNK,
  retryMs: 1,
  // The registry is in this very process: whatever keeps it busy must not look like a registry that stalls.
  stallMs: 10_000,
  connectMs: 10_000,
  credentials: () => undefined,
  registries: new Map(),
};
const layers = [makeLayer([{ path: "a", content: "one" }]), makeLayer([{ path: "b", content: "two" }])];

/** An image here that was pulled from `t/source:v1`. */
async function pulled(store: ImageStore): Promise<ReturnType<typeof publish>> {
  const image = publish(registry, "t/source:v1", layers);
  await pullImage(store, `${registry.domain}/t/source:v1`, quick);
  return image;
}

/** An image here that was made of a directory; its layer holds `bytes` of noise. */
async function made(store: ImageStore, name: string, bytes: number): Promise<void> {
  const root = mkdtempSync(join(directory, "root-"));
  mkdirSync(join(root, "etc"));
  writeFileSync(join(root, "etc/noise"), randomBytes(bytes));
  await initImage(store, root, name, { created: "2026-01-01T00:00:00Z" });
}

function sent(verb: string): string[] {
  return registry.requests.filter((request) => request.startsWith(`${verb} `));
}

async function failure(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => "it went well",
    (error: unknown) => error,
  );
}

describe("what is pushed", () => {
  test("an image that was pulled goes out with the very manifest that it came with", async () => {
    using store = temporaryStore();
    const image = await pulled(store);
    const original = registry.manifests.get("t/source:v1");
    registry.blobs.clear();
    const result = await pushImage(store, `${registry.domain}/t/source:v1`, {
      ...quick,
      destination: `${registry.domain}/t/copy:v2`,
    });
    expect(result).toEqual({
      name: `${registry.domain}/t/copy:v2`,
      digest: image.manifest,
      size: original?.bytes.length as number,
    });
    expect(registry.manifests.get("t/copy:v2")).toEqual(original as never);
    expect([...registry.blobs.keys()].sort()).toEqual([image.config, ...image.layers].sort());
  });

  test("no blob is sent that is there", async () => {
    using store = temporaryStore();
    const image = await pulled(store);
    registry.blobs.delete(image.layers[1] as Digest);
    const progress: PushProgress[] = [];
    await pushImage(store, `${registry.domain}/t/source:v1`, { ...quick, onProgress: (event) => progress.push(event) });
    expect(sent("POST")).toHaveLength(1);
    const last = new Map(progress.map(({ layer, phase }) => [layer, phase]));
    expect(image.layers.map((layer) => last.get(layer))).toEqual(["present", "pushed"]);
  });

  test("a blob that another repository of the registry has is mounted from there", async () => {
    using store = temporaryStore();
    const image = await pulled(store);
    const asked: string[] = [];
    registry.mischief = (request, path) => {
      const { searchParams } = new URL(request.url);
      if (request.method === "HEAD" && path.includes("/t/copy/blobs/")) return new Response(null, { status: 404 });
      if (request.method !== "POST" || !searchParams.has("mount")) return undefined;
      asked.push(`${searchParams.get("from")} ${searchParams.get("mount")}`);
      return new Response(null, { status: 201 });
    };
    await pushImage(store, `${registry.domain}/t/source:v1`, { ...quick, destination: `${registry.domain}/t/copy:v2` });
    expect(asked.sort()).toEqual(image.layers.map((layer) => `t/source ${layer}`).sort());
    expect(sent("PATCH")).toEqual([]);
  });

  test.each([202, 401, 403, 405])("where mounting is answered %d, the blob is sent", async (status) => {
    using store = temporaryStore();
    const image = await pulled(store);
    registry.blobs.clear();
    registry.mischief = (request) => {
      const isMount = request.method === "POST" && new URL(request.url).searchParams.has("mount");
      return isMount && status !== 202 ? new Response(null, { status }) : undefined;
    };
    await pushImage(store, `${registry.domain}/t/source:v1`, { ...quick, destination: `${registry.domain}/t/copy:v2` });
    expect([...registry.blobs.keys()].sort()).toEqual([image.config, ...image.layers].sort());
  });

  test("an image that was made here goes out compressed, twice the same, and comes back as itself", async () => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/made:1`;
    await made(store, name, 100_000);
    const first = await pushImage(store, name, quick);
    const [uploaded] = [...registry.blobs.values()].filter((blob) => blob[0] === 0x1f);
    const id = findImage(store, name)?.id;
    expect(sha256(gunzipSync(uploaded ?? new Uint8Array()))).toBe(`sha256:${findImage(store, name)?.layers[0]}`);

    registry.requests.length = 0;
    expect(await pushImage(store, name, quick)).toEqual(first);
    expect([sent("POST"), sent("PATCH")]).toEqual([[], []]);

    // To a registry that has nothing of it, and from a store that knows nothing of the first time.
    store.database.run("DELETE FROM pushed_layer");
    const again = await pushImage(store, name, { ...quick, destination: `${other.domain}/x/y:1` });
    expect(again.digest).toBe(first.digest);

    using elsewhere = temporaryStore();
    const back = await pullImage(elsewhere, `${other.domain}/x/y:1`, quick);
    expect([back.digest, back.image.id]).toEqual([first.digest, id as string]);
    // What was pushed under that name is what the registry has: nothing to pull.
    expect((await pullImage(store, name, quick)).status).toBe("up-to-date");
    expect(contents(store).ingest).toEqual([]);
  });

  test("a layer that was made here is compressed just so when its tar is stored, and never one that was pulled", async () => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/made:4`;
    await made(store, name, 1000);
    const first = await pushImage(store, name, quick);
    const [layer = ""] = findImage(store, name)?.layers ?? [];
    const tar: Uint8Array[] = [];
    for await (const chunk of archiveTree(join(layersDirectory(store), layer))) tar.push(chunk);
    writeBlob(store, `sha256:${layer}`, Buffer.concat(tar));
    store.database.run("DELETE FROM pushed_layer");
    expect(await pushImage(store, name, quick)).toEqual(first);

    await pushImage(store, name, { ...quick, compression: "none" });
    using elsewhere = temporaryStore();
    const plain = await pullImage(elsewhere, name, quick);
    expect((await pushImage(elsewhere, name, quick)).digest).toBe(plain.digest as Digest);
  });

  test("--compression none sends the tar as the image's own manifest has it, zstd says so in the manifest", async () => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/made:2`;
    await made(store, name, 1000);
    const row = store.database.query<{ manifest: string }, []>("SELECT manifest FROM image").get();
    const plain = await pushImage(store, name, { ...quick, compression: "none" });
    expect(plain.digest).toBe(row?.manifest as Digest);
    await pushImage(store, name, { ...quick, compression: "zstd" });
    const manifest = new TextDecoder().decode(registry.manifests.get("t/made:2")?.bytes);
    expect(manifest).toContain("application/vnd.oci.image.layer.v1.tar+zstd");
    using elsewhere = temporaryStore();
    const back = await pullImage(elsewhere, name, quick);
    expect(back.image.id).toBe(findImage(store, name)?.id as string);
  });

  test("pushAllTags() pushes those of the repository and no others", async () => {
    using store = temporaryStore();
    for (const name of ["t/all:1", "t/all:2", "t/allother:3"]) await made(store, `${registry.domain}/${name}`, 100);
    const results = await pushAllTags(store, `${registry.domain}/t/all`, quick);
    expect(results.map(({ name }) => name)).toEqual(["1", "2"].map((tag) => `${registry.domain}/t/all:${tag}`));
    expect(await failure(pushAllTags(store, `${registry.domain}/t/all:1`, quick))).toMatchObject({
      code: "reference-invalid",
    });
    expect(await failure(pushAllTags(store, `${registry.domain}/t/none`, quick))).toMatchObject({
      code: "no-such-image",
    });
  });

  test("what cannot be pushed is said", async () => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/made:3`;
    await made(store, name, 1000);
    const digest = `sha256:${"a".repeat(64)}`;
    expect(await failure(pushImage(store, "host", quick))).toMatchObject({ code: "image-built-in" });
    expect(await failure(pushImage(store, "nothing:1", quick))).toMatchObject({ code: "no-such-image" });
    expect(
      await failure(pushImage(store, name, { ...quick, destination: `${registry.domain}/t/x@${digest}` })),
    ).toMatchObject({ code: "reference-invalid" });
    writeFileSync(join(layersDirectory(store), findImage(store, name)?.layers[0] ?? "", "etc/noise"), "changed");
    expect(await failure(pushImage(store, name, quick))).toMatchObject({ code: "layer-changed" });
    expect(registry.manifests.size).toBe(0);
  });
});

describe("a registry that fails", () => {
  /** More than two parts. */
  const large = 2 * CHUNK + 50_000;

  /** What was left in the registry is the image, whole. */
  async function isThere(name: string, id: string | undefined): Promise<void> {
    registry.mischief = undefined;
    using elsewhere = temporaryStore();
    const { image } = await pullImage(elsewhere, name, quick);
    expect(image.id).toBe(id as string);
  }

  test("a large blob goes in parts, each after the other", async () => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/large:1`;
    await made(store, name, large);
    await pushImage(store, name, { ...quick, compression: "none" });
    expect(sent("PATCH")).toHaveLength(3);
    await isThere(name, findImage(store, name)?.id);
  });

  test("an upload that breaks off goes on where the registry says, and not where we were", async () => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/large:2`;
    await made(store, name, large);
    const starts: string[] = [];
    registry.mischief = async (request, path) => {
      if (request.method !== "PATCH") return undefined;
      starts.push(request.headers.get("content-range") ?? "");
      if (starts.length !== 2) return undefined;
      // It keeps some of the second part, and says nothing of it.
      const key = /[0-9]+$/.exec(path)?.[0] ?? "";
      const body = Buffer.from(await request.arrayBuffer());
      registry.uploads.set(key, Buffer.concat([registry.uploads.get(key) ?? Buffer.alloc(0), body.subarray(0, 4321)]));
      return new Response("", { status: 503 });
    };
    await pushImage(store, name, { ...quick, compression: "none" });
    expect(starts.map((start) => Number(start.split("-")[0]))).toEqual([0, CHUNK, CHUNK + 4321, 2 * CHUNK + 4321]);
    await isThere(name, findImage(store, name)?.id);
  });

  test("an upload that the registry has forgotten begins anew", async () => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/large:3`;
    await made(store, name, large);
    let parts = 0;
    registry.mischief = (request) => {
      if (request.method === "PATCH" && ++parts === 2) registry.uploads.clear();
      return undefined;
    };
    await pushImage(store, name, { ...quick, compression: "none" });
    expect(parts).toBe(5);
    await isThere(name, findImage(store, name)?.id);
  });

  test.each([405, 413, 416])("where parts are answered %d, the blob goes as a whole", async (status) => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/large:4`;
    await made(store, name, large);
    registry.mischief = (request) => (request.method === "PATCH" ? new Response("", { status }) : undefined);
    await pushImage(store, name, { ...quick, compression: "none" });
    expect(sent("PATCH")).toHaveLength(1);
    await isThere(name, findImage(store, name)?.id);
  });

  test("where a part is too large, the blob goes in smaller ones", async () => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/large:6`;
    await made(store, name, 9 << 20);
    const lengths: (number | undefined)[] = [];
    registry.mischief = (request) => {
      if (request.method !== "PATCH") return undefined;
      const header = request.headers.get("content-length");
      const length = header === null ? undefined : Number(header);
      lengths.push(length);
      return length === undefined || length > 8 << 20 ? new Response("", { status: 413 }) : undefined;
    };
    await pushImage(store, name, { ...quick, chunk: undefined, compression: "none" });
    const rest = (lengths[1] ?? 0) - (8 << 20);
    expect(lengths).toEqual([undefined, expect.any(Number), 8 << 20, rest]);
    await isThere(name, findImage(store, name)?.id);
  });

  test("a registry that wants larger parts than ours gets the whole", async () => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/large:5`;
    await made(store, name, large);
    registry.mischief = (request, path, count) => {
      if (request.method !== "POST") return undefined;
      const key = `9${count}`;
      registry.uploads.set(key, Buffer.alloc(0));
      return new Response(null, {
        status: 202,
        headers: { Location: `${path}${key}?_state=a%2Bb`, "OCI-Chunk-Min-Length": String(CHUNK * 2) },
      });
    };
    await pushImage(store, name, { ...quick, compression: "none" });
    expect(sent("PATCH")).toEqual([]);
    await isThere(name, findImage(store, name)?.id);
  });

  test.each([429, 500, 502, 503])("a %d is waited out, at every step", async (status) => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/busy:1`;
    await made(store, name, 1000);
    registry.mischief = (_, __, count) =>
      count === 1 ? new Response("", { status, headers: { "Retry-After": "0" } }) : undefined;
    await pushImage(store, name, quick);
    await isThere(name, findImage(store, name)?.id);
  });

  test("an answer that was lost after the blob had arrived costs no second upload", async () => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/lost:1`;
    await made(store, name, 1000);
    registry.mischief = async (request, path) => {
      if (request.method !== "PUT" || !path.includes("/blobs/")) return undefined;
      const bytes = Buffer.from(await request.arrayBuffer());
      registry.blobs.set(sha256(bytes), bytes);
      registry.uploads.clear();
      return new Response("", { status: 404 });
    };
    await pushImage(store, name, quick);
    expect(sent("POST")).toHaveLength(2);
    await isThere(name, findImage(store, name)?.id);
  });

  test.each<[string, number, string]>([
    ["denies", 403, "registry-unauthorized"],
    ["is full", 507, "registry-unreachable"],
    ["does not like the manifest", 400, "registry-error"],
  ])("a registry that %s is an error", async (_, status, code) => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/refused:1`;
    await made(store, name, 1000);
    registry.mischief = (request, path) => {
      const isIt = status === 400 ? path.includes("/manifests/") : path.includes("/blobs/uploads/");
      return isIt && request.method === "PUT" ? new Response("", { status }) : undefined;
    };
    expect(await failure(pushImage(store, name, { ...quick, tries: 2 }))).toMatchObject({ code });
    expect(registry.manifests.size).toBe(0);
    expect(contents(store).ingest).toEqual([]);
  });

  test("a registry that calls what it has by another digest is not believed", async () => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/liar:1`;
    await made(store, name, 1000);
    const digest = `sha256:${"b".repeat(64)}`;
    registry.mischief = (_, path) =>
      path.includes("/manifests/")
        ? new Response(null, { status: 201, headers: { "Docker-Content-Digest": digest } })
        : undefined;
    expect(await failure(pushImage(store, name, quick))).toMatchObject({ code: "digest-mismatch" });
  });

  test("a push that is aborted stops, and leaves no file", async () => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/large:6`;
    await made(store, name, large);
    const controller = new AbortController();
    registry.mischief = (request) => {
      if (request.method === "PATCH") controller.abort(new Error("enough"));
      return undefined;
    };
    const pushed = await failure(pushImage(store, name, { ...quick, signal: controller.signal }));
    expect(String(pushed)).toContain("enough");
    expect(contents(store).ingest).toEqual([]);
  });
});

describe("a large layer that was made here goes out while it is made", () => {
  const large = 6 << 20;

  /** What its requests were about: the small blob of the configuration comes first and is none of them. */
  function uploads(): string[] {
    return registry.requests.filter((request) => /^(?:PATCH|PUT) .*\/blobs\//.test(request)).slice(1);
  }

  async function comesBack(store: ImageStore, name: string): Promise<void> {
    registry.mischief = undefined;
    using elsewhere = temporaryStore();
    const { image } = await pullImage(elsewhere, name, quick);
    expect(image.id).toBe(findImage(store, name)?.id as string);
    expect(contents(store).ingest).toEqual([]);
  }

  test("in one request of no known length, and the second time not at all", async () => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/streamed:1`;
    await made(store, name, large);
    const lengths: (string | null)[] = [];
    registry.mischief = (request) => {
      if (request.method === "PATCH")
        lengths.push(request.headers.get("content-length"), request.headers.get("content-range"));
      return undefined;
    };
    const progress: PushProgress[] = [];
    const first = await pushImage(store, name, { ...quick, onProgress: (event) => progress.push(event) });
    expect([uploads().map((request) => request.split(" ")[0]), lengths]).toEqual([
      ["PATCH", "PUT"],
      [null, null],
    ]);
    expect(progress.at(-1)).toMatchObject({ phase: "pushed" });
    await comesBack(store, name);
    registry.requests.length = 0;
    expect(await pushImage(store, name, quick)).toEqual(first);
    expect(sent("POST")).toEqual([]);
  });

  test.each([401, 404, 411, 500])("where that is answered %d, it goes as other blobs do", async (status) => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/streamed:2`;
    await made(store, name, large);
    let refused = 0;
    registry.mischief = (request) => {
      if (request.method !== "PATCH" || request.headers.has("content-range")) return undefined;
      refused++;
      return new Response("", { status });
    };
    await pushImage(store, name, { ...quick, chunk: undefined });
    expect([refused, sent("PATCH").length]).toEqual([1, 2]);
    await comesBack(store, name);
  });

  test("where its end is refused, it goes as other blobs do", async () => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/streamed:3`;
    await made(store, name, large);
    let ends = 0;
    registry.mischief = (request, path) => {
      const isEnd = request.method === "PUT" && path.includes("/blobs/");
      // The first is the configuration's.
      return isEnd && ++ends === 2 ? new Response("", { status: 400 }) : undefined;
    };
    await pushImage(store, name, { ...quick, chunk: undefined });
    expect(ends).toBe(3);
    await comesBack(store, name);
  });

  test("files that are not the layer's any more are an error, and no blob", async () => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/streamed:4`;
    await made(store, name, large);
    writeFileSync(
      join(layersDirectory(store), findImage(store, name)?.layers[0] ?? "", "etc/noise"),
      randomBytes(large),
    );
    expect(await failure(pushImage(store, name, quick))).toMatchObject({ code: "layer-changed" });
    expect([registry.manifests.size, registry.blobs.size]).toEqual([0, 1]);
    expect(contents(store).ingest).toEqual([]);
  });

  test("who aborts it is told so, and no file is left", async () => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/streamed:5`;
    await made(store, name, large);
    const controller = new AbortController();
    registry.mischief = (request) => {
      if (request.method === "PATCH") controller.abort(new Error("enough"));
      return undefined;
    };
    expect(String(await failure(pushImage(store, name, { ...quick, signal: controller.signal })))).toContain("enough");
    expect(contents(store).ingest).toEqual([]);
  });

  test("what the registry turns out to have is not sent to its end", async () => {
    const bytes = randomBytes(64);
    const digest = sha256(bytes);
    registry.blobs.set(digest, bytes);
    const reference = parseReference(`${registry.domain}/t/streamed:6`);
    const session = openSession(ownEndpoint(reference.domain, quick), quick);
    const blob = {
      made: async () => ({ digest, size: 1 << 30 }),
      read: (offset: number) =>
        offset === 0 ? Promise.resolve(new Uint8Array(1 << 20)) : new Promise<Uint8Array>(() => {}),
    };
    expect(await streamBlob({ session, reference, blob })).toBe("exists");
    expect([registry.blobs.size, sent("PUT")]).toEqual([1, []]);
  });
});

describe("REG-01: what belongs to the registry stays there", () => {
  const credentials = () => ({ username: "me", password: "secret" });

  /** Wants a password for everything. */
  function guarded(request: Request): Response | undefined {
    if (request.headers.get("authorization") === `Basic ${btoa("me:secret")}`) return undefined;
    return new Response("", { status: 401, headers: { "WWW-Authenticate": 'Basic realm="r"' } });
  }

  test("an upload whose Location is another origin is sent there without it", async () => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/away:1`;
    await made(store, name, 1000);
    const seen: (string | null)[] = [];
    other.mischief = (request) => {
      seen.push(request.headers.get("authorization"), request.headers.get("cookie"));
      return undefined;
    };
    registry.mischief = (request, path) => {
      const refused = guarded(request);
      if (refused !== undefined || request.method !== "POST") return refused;
      const key = String(seen.length + 100);
      other.uploads.set(key, Buffer.alloc(0));
      const location = `http://${other.domain}${path}${key}?_state=a%2Bb`;
      return new Response(null, { status: 202, headers: { Location: location, "Set-Cookie": "session=1" } });
    };
    await pushImage(store, name, { ...quick, credentials });
    expect(seen.length).toBeGreaterThan(2);
    expect(new Set(seen)).toEqual(new Set([null]));
    expect(other.blobs.size).toBe(2);
  });

  test("an upload that is redirected keeps its method and its body, and loses the password", async () => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/away:2`;
    await made(store, name, 1000);
    const seen: string[] = [];
    other.mischief = (request) => {
      seen.push(`${request.method} ${request.headers.get("authorization")}`);
      return undefined;
    };
    registry.mischief = (request, path) => {
      const refused = guarded(request);
      if (refused !== undefined || request.method !== "PUT" || !path.includes("/blobs/")) return refused;
      const key = /[0-9]+$/.exec(path)?.[0] ?? "";
      other.uploads.set(key, Buffer.alloc(0));
      const location = `http://${other.domain}${path}${new URL(request.url).search}`;
      return new Response(null, { status: 307, headers: { Location: location } });
    };
    await pushImage(store, name, { ...quick, credentials });
    expect(new Set(seen)).toEqual(new Set(["PUT null"]));
    expect(other.blobs.size).toBe(2);
  });

  test.each([301, 302, 303])("a %d, which would make a GET of an upload, is refused", async (status) => {
    using store = temporaryStore();
    const name = `${registry.domain}/t/away:3`;
    await made(store, name, 1000);
    registry.mischief = (request, path) =>
      request.method === "POST" ? new Response(null, { status, headers: { Location: `${path}x` } }) : undefined;
    expect(await failure(pushImage(store, name, quick))).toMatchObject({ code: "registry-redirect" });
  });

  test.each(["file:///etc/passwd", "ftp://127.0.0.1/x", "http://me:pw@example.invalid/"])(
    "REG-04: an upload's Location %s is refused",
    async (location) => {
      using store = temporaryStore();
      const name = `${registry.domain}/t/away:4`;
      await made(store, name, 1000);
      registry.mischief = (request) =>
        request.method === "POST" ? new Response(null, { status: 202, headers: { Location: location } }) : undefined;
      expect(await failure(pushImage(store, name, quick))).toMatchObject({ code: "registry-redirect" });
    },
  );
});

test.each<[string | null, number | undefined]>([
  ["0-499", 500],
  ["bytes=0-499", 500],
  ["0-0", 0],
  ["5-499", undefined],
  ["0-", undefined],
  ["0--1", undefined],
  ["0-1e3", undefined],
  [null, undefined],
])("parseUploadRange(%p) is %p", (header, expected) => {
  expect(parseUploadRange(header)).toBe(expected as number);
});
