/** Documents that mean harm, pulled by the real binary from a registry that serves whatever it is told to. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { putManifest, startRegistry, type TestRegistry } from "../packages/image/src/registry/registry-fixture.ts";
import { tarOf } from "../packages/image/src/tar/tar-fixture.ts";
import { layersIn, serve as serveLayers } from "./doors.ts";
import { newStore, type Result, type Store } from "./harness.ts";
import { file } from "./hostile-layers.ts";

const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG = "application/vnd.oci.image.config.v1+json";
/** A directory of the host's that nobody is to be given. */
const OUTSIDE = "/root";

let registry: TestRegistry;

beforeAll(() => {
  registry = startRegistry();
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
});

let counter = 0;

/** Puts an image of these layers into the registry. @returns Its name. */
function serve(layers: readonly Uint8Array[]): string {
  return serveLayers(registry, layers);
}

function pull(store: Store, name: string): Promise<Result> {
  return store.bb(["pull", "--quiet", name]);
}

function sha256(bytes: Uint8Array | string): `sha256:${string}` {
  return `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
}

/** A good image's documents, to be changed. */
function good(): { config: Record<string, unknown>; manifest: Record<string, unknown> } {
  const name = serve([tarOf(file("a"))]);
  const bytes = registry.manifests.get(name.slice(name.indexOf("/") + 1))?.bytes ?? new Uint8Array();
  const manifest = JSON.parse(Buffer.from(bytes).toString());
  const config = JSON.parse(Buffer.from(registry.blobs.get(manifest.config.digest) ?? "").toString());
  return { config, manifest };
}

/** @returns The image's name. */
function put(manifest: string | object, type = OCI_MANIFEST): string {
  const path = `hostile/documents${counter++}:v1`;
  const bytes = typeof manifest === "string" ? Buffer.from(manifest) : Buffer.from(JSON.stringify(manifest));
  putManifest(registry, path, type, bytes);
  return `${registry.domain}/${path}`;
}

function withConfig(config: string | object): string {
  const bytes = Buffer.from(typeof config === "string" ? config : JSON.stringify(config));
  registry.blobs.set(sha256(bytes), bytes);
  return put({ ...good().manifest, config: { mediaType: OCI_CONFIG, digest: sha256(bytes), size: bytes.length } });
}

async function refused(store: Store, name: string, why: RegExp): Promise<void> {
  const { code, stderr } = await pull(store, name);
  expect([code, stderr]).toEqual([1, expect.stringMatching(why)]);
  // One sentence, perhaps a hint, and no stack.
  expect(stderr.trim().split("\n").length).toBeLessThanOrEqual(2);
}

test("documents that are not what they should be are errors in words, and leave nothing (IMG-01, IMG-03, IMG-04, IMG-05)", async () => {
  await using store = await newStore();
  const { config, manifest } = good();
  const [layer] = manifest["layers"] as [Record<string, unknown>];
  const layered = (change: object): object => ({ ...manifest, layers: [{ ...layer, ...change }] });
  const cases: [string, string][] = [
    ["null", put("null")],
    ["a list", put("[]")],
    ["half a document", put(JSON.stringify(manifest).slice(0, -20))],
    ["deep nesting", put("[".repeat(100_000))],
    ["no layers", put({ ...manifest, layers: undefined })],
    ["layers that are text", put({ ...manifest, layers: "all" })],
    ["no config", put({ ...manifest, config: null })],
    ["version 1", put({ ...manifest, schemaVersion: 1 })],
    ["a manifest that is an index as well", put({ ...manifest, manifests: [] })],
    ["an index by its header, a manifest by its words", put(manifest, OCI_INDEX)],
    ["a negative size", put(layered({ size: -1 }))],
    ["a size with a fraction", put(layered({ size: 1.5 }))],
    ["a size as text", put(layered({ size: "10" }))],
    ["a size of 2^63", put(JSON.stringify(layered({ size: 0 })).replace('"size":0', '"size":9223372036854775808'))],
    ["a digest that is a path", put(layered({ digest: "sha256:../../../etc/passwd" }))],
    [
      "a digest in capitals",
      put(layered({ digest: String(layer["digest"]).toUpperCase().replace("SHA256", "sha256") })),
    ],
    ["a digest that is short", put(layered({ digest: "sha256:00" }))],
    ["another kind of digest", put(layered({ digest: `md5:${"0".repeat(32)}` }))],
    ["a config that is a list", withConfig("[]")],
    ["a config without layers", withConfig({ ...config, rootfs: undefined })],
    ["fewer layers than the manifest", withConfig({ ...config, rootfs: { type: "layers", diff_ids: [] } })],
    [
      "other layers than the manifest's",
      withConfig({ ...config, rootfs: { type: "layers", diff_ids: [sha256("x")] } }),
    ],
    ["a command that is a number", withConfig({ ...config, config: { Cmd: [1] } })],
    ["an environment that is an object", withConfig({ ...config, config: { Env: { A: "b" } } })],
  ];
  for (const [what, name] of cases) {
    const { code, stderr } = await pull(store, name);
    expect([what, code, stderr]).toEqual([what, 1, expect.stringMatching(/Cannot /)]);
    expect([what, stderr]).toEqual([what, expect.not.stringMatching(/^\s+at /m)]);
  }
  expect(await store.ok(["images", "-q"])).toBe("");
  expect(await store.ok(["ps", "-aq"])).toBe("");
  expect([layersIn(store), readdirSync(join(store.root, "ingest"))]).toEqual([[], []]);
  // The twin: the same documents unchanged.
  await store.ok(["pull", "--quiet", put(manifest)]);
  await store.ok(["pull", "--quiet", withConfig(config)]);
});

test("documents are read up to a limit, also without a length, and nested no deeper than one index (IMG-02)", async () => {
  await using store = await newStore();
  const { manifest } = good();
  const padded = `${JSON.stringify(manifest).slice(0, -1)},"x":"${"y".repeat(5 << 20)}"}`;
  await refused(store, put(padded), /Cannot /);
  const streamed = put(manifest);
  registry.mischief = (request, path) => {
    if (!path.includes("/manifests/") || request.method === "HEAD") return undefined;
    const endless = new ReadableStream({ pull: (controller) => controller.enqueue(Buffer.alloc(1 << 16, " ")) });
    return new Response(endless, { headers: { "Content-Type": OCI_MANIFEST } });
  };
  await refused(store, streamed, /Cannot /);
  registry.mischief = undefined;
  const index = (digest: string, size: number): object => ({
    schemaVersion: 2,
    mediaType: OCI_INDEX,
    manifests: [{ mediaType: OCI_INDEX, digest, size, platform: { os: "linux", architecture: "amd64" } }],
  });
  const inner = Buffer.from(JSON.stringify(index(sha256("x"), 1)));
  putManifest(registry, undefined, OCI_INDEX, inner);
  await refused(store, put(index(sha256(inner), inner.length), OCI_INDEX), /Cannot /);
  // Its own digest cannot be in it: this one names itself by its tag's bytes before they change.
  expect(await store.ok(["images", "-q"])).toBe("");
});

test("documents say how a container runs inside, and nothing of how it is kept (IMG-06)", async () => {
  await using store = await newStore();
  const { config } = good();
  const name = withConfig({
    ...config,
    config: {
      Env: ["A=b"],
      Labels: { mine: "kept" },
      Privileged: true,
      CapAdd: ["ALL"],
      SecurityOpt: ["seccomp=unconfined"],
      Binds: [`${OUTSIDE}:/outside`],
      Devices: ["/dev/mem"],
      HostConfig: { Privileged: true, Binds: [`${OUTSIDE}:/outside`], RestartPolicy: { Name: "always" } },
      NetworkMode: "host",
    },
  });
  await store.ok(["pull", "--quiet", name]);
  await store.ok(["create", "--name", "held", "--network", "none", name, "/a"]);
  const text = await store.ok(["inspect", "held"]);
  const [container] = JSON.parse(text) as [{ Config: { Env: string[]; Labels: object } }];
  expect(container.Config).toMatchObject({ Env: expect.arrayContaining(["A=b"]), Labels: { mine: "kept" } });
  expect(text).not.toContain(OUTSIDE);
  expect(text).not.toMatch(/"Privileged": true|unconfined|"always"|dev\/mem/);
});

test("documents change the name that is pulled and no other, and a digest that was asked for is the one that comes (IMG-04, IMG-09)", async () => {
  await using store = await newStore();
  const { manifest } = good();
  const other = put({
    ...manifest,
    annotations: {
      "org.opencontainers.image.ref.name": "victim:latest",
      "io.containerd.image.name": "victim:latest",
    },
  });
  const victim = serve([tarOf(file("victim"))]);
  await store.ok(["pull", "--quiet", victim]);
  const names = async (): Promise<string[]> =>
    (await store.ok(["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"])).split("\n");
  const [only = ""] = await names();
  await store.ok(["pull", "--quiet", other]);
  expect(new Set(await names())).toEqual(new Set([only, expect.stringContaining(other)]));
  const path = other.slice(other.indexOf("/") + 1).replace(/:v1$/, "");
  const pinned = sha256("what nobody has");
  registry.manifests.set(pinned, { type: OCI_MANIFEST, bytes: Buffer.from(JSON.stringify(manifest)) });
  await refused(store, `${registry.domain}/${path}@${pinned}`, /Cannot /);
});
