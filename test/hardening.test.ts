/**
 * Layers and documents that mean harm, pulled by the real binary from a registry that serves whatever it is told to;
 * layers also out of archives.
 * IDs are those of the list of past vulnerabilities; each kind of attack has twins that look like it and must work.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { dockerFiles, Place, tarFiles } from "../packages/image/src/archive/archive-fixture.ts";
import {
  encode,
  publish,
  putManifest,
  startRegistry,
  type TestRegistry,
} from "../packages/image/src/registry/registry-fixture.ts";
import { entryOf, type FixtureEntry, tarOf } from "../packages/image/src/tar/tar-fixture.ts";
import { newStore, type Result, type Store } from "./harness.ts";
import { imageTree, treeOf } from "./image-tree.ts";

const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG = "application/vnd.oci.image.config.v1+json";

let registry: TestRegistry;
/** A directory of the host's that attacks aim at. */
let outside = "";
let before: string[] = [];

beforeAll(async () => {
  registry = startRegistry();
  outside = mkdtempSync(join(tmpdir(), "bb-outside-"));
  mkdirSync(join(outside, "dir"));
  writeFileSync(join(outside, "file"), "the host's own");
  writeFileSync(join(outside, "dir/file"), "the host's own");
  chmodSync(join(outside, "file"), 0o640);
  before = await treeOf(outside);
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  expect(await treeOf(outside)).toEqual(before);
  rmSync(outside, { recursive: true });
});

let counter = 0;

/** Puts an image of these layers into the registry. @returns Its name, and how to pull it. */
function serve(layers: readonly Uint8Array[], config: object = {}): string {
  const path = `hostile/image${counter++}:v1`;
  publish(registry, path, layers, { config });
  return `${registry.domain}/${path}`;
}

function pull(store: Store, name: string): Promise<Result> {
  return store.bb(["pull", "--quiet", name]);
}

/** How layers of strangers come to be unpacked. */
const WAYS = ["pull", "load", "import"] as const;

/** Makes an image of layers; `import` has but one. */
async function bring(
  store: Store,
  way: (typeof WAYS)[number],
  layers: readonly Uint8Array[],
): Promise<{ name: string; result: Result }> {
  if (way === "pull") {
    const name = serve(layers);
    return { name, result: await pull(store, name) };
  }
  using place = new Place();
  const archive = way === "load" ? tarFiles(dockerFiles({ layers }, ["hostile:v1"])) : (layers[0] ?? Buffer.alloc(0));
  const path = place.file("hostile.tar", archive);
  const words = way === "load" ? ["load", "--quiet", "--input", path] : ["import", path, "hostile:v1"];
  return { name: "docker.io/library/hostile:v1", result: await store.bb(words) };
}

/** The tree that layers come to when they are pulled, or the error's text. */
function outcome(store: Store, ...layers: FixtureEntry[][]): Promise<string[] | string> {
  return outcomeOf(store, "pull", layers);
}

async function outcomeOf(
  store: Store,
  way: (typeof WAYS)[number],
  layers: readonly FixtureEntry[][],
): Promise<string[] | string> {
  const { name, result } = await bring(
    store,
    way,
    layers.map((entries) => tarOf(...entries)),
  );
  const { code, stderr } = result;
  if (code === 0) return (await imageTree(store, name, { times: false })).slice(1);
  expect(code).toBe(1);
  expect(leftovers(store)).toEqual([]);
  return stderr;
}

/** What an image that failed may not leave: layers are all of images that are there, here of none. */
function leftovers(store: Store): string[] {
  return readdirSync(join(store.root, "layers"));
}

const hello = "5 aaf4c61ddcc5";
const file = (name: string): FixtureEntry => ({ name, data: "hello" });
const link = (name: string, linkname: string): FixtureEntry => ({ name, type: "2", linkname });
const hard = (name: string, linkname: string): FixtureEntry => ({ name, type: "1", linkname });
const directory = (name: string, mode = 0o755): FixtureEntry => ({ name, type: "5", mode });

describe("what public proofs of concept try ends inside the root, or not at all (TAR-01, TAR-02)", () => {
  // `OUT` stands for a directory of the host's.
  const attacks: readonly [string, FixtureEntry[][], string[] | RegExp][] = [
    ["a name that climbs", [[file("../../../../../../OUT/new")]], ["OUT 40755 0:0", `OUT/new 100644 0:0 ${hello}`]],
    ["an absolute name", [[file("/OUT/file")]], ["OUT 40755 0:0", `OUT/file 100644 0:0 ${hello}`]],
    [
      "a link to the host, written through",
      [[link("way", "/OUT"), file("way/file")]],
      ["OUT 40755 0:0", `OUT/file 100644 0:0 ${hello}`, "way 120777 0:0 -> /OUT"],
    ],
    [
      "the same with the link in a lower layer",
      [[link("way", "/OUT")], [file("way/file")]],
      ["way 40755 0:0", `way/file 100644 0:0 ${hello}`],
    ],
    [
      "a link that climbs",
      [[directory("a"), link("a/up", "../../../.."), file("a/up/new")]],
      ["a 40755 0:0", "a/up 120777 0:0 -> ../../../..", `new 100644 0:0 ${hello}`],
    ],
    [
      "a chain of links",
      [[link("one", "two"), link("two", "/OUT"), file("one/dir/file")]],
      [
        "OUT 40755 0:0",
        "OUT/dir 40755 0:0",
        `OUT/dir/file 100644 0:0 ${hello}`,
        "one 120777 0:0 -> two",
        "two 120777 0:0 -> /OUT",
      ],
    ],
    [
      "a file over a link to a file of the host's",
      [[link("file", "/OUT/file"), file("file")]],
      [`file 100644 0:0 ${hello}`],
    ],
    ["a mode for a link's target", [[link("way", "/OUT"), directory("way", 0o777)]], ["way 40777 0:0"]],
    ["a hard link to a file of the host's", [[hard("mine", "/OUT/file")]], /this layer has no such file/],
    ["a hard link that climbs", [[hard("mine", "../../../../../OUT/file")]], /this layer has no such file/],
    ["a hard link through a link", [[link("way", "/OUT"), hard("mine", "way/file")]], /this layer has no such file/],
    [
      "a hard link to a link, written to",
      [[link("way", "/OUT/file"), hard("twin", "way"), file("twin")]],
      [`twin 100644 0:0 ${hello}`, "way 120777 0:0 -> /OUT/file"],
    ],
    [
      "a name of a link and a dot",
      [[link("way/.", "/OUT"), file("way/file")]],
      ["OUT 40755 0:0", `OUT/file 100644 0:0 ${hello}`, "way 120777 0:0 -> /OUT"],
    ],
    ["the root itself as a link", [[link("./", "/OUT"), file("file")]], /the root can only be a directory/],
    [
      "a link of /proc",
      [[link("way", "/proc/self/root"), file("way/OUT/file")]],
      [
        "proc 40755 0:0",
        "proc/self 40755 0:0",
        "proc/self/root 40755 0:0",
        "proc/self/root/OUT 40755 0:0",
        `proc/self/root/OUT/file 100644 0:0 ${hello}`,
        "way 120777 0:0 -> /proc/self/root",
      ],
    ],
    ["a whiteout that climbs", [[file("../../../OUT/.wh.file")]], ["OUT 40755 0:0"]],
    [
      "a whiteout through a link",
      [[link("way", "/OUT"), file("way/.wh.file")]],
      ["OUT 40755 0:0", "way 120777 0:0 -> /OUT"],
    ],
    [
      "an opaque mark through a link",
      [[link("way", "/OUT"), file("way/.wh..wh..opq")]],
      ["OUT 40755 0:0", "way 120777 0:0 -> /OUT"],
    ],
    [
      "a name of 5000 characters",
      [[{ name: "x", pax: { path: "n/".repeat(2500) } }]],
      /the name has|directories deep|ENAMETOOLONG/,
    ],
    ["a component of 300", [[{ name: "x", pax: { path: "n".repeat(300) } }]], /ENAMETOOLONG/],
  ];
  const each = WAYS.flatMap((way) =>
    attacks.filter(([, layers]) => way !== "import" || layers.length === 1).map((attack) => [way, ...attack] as const),
  );

  test.each(each)("%s: %s", async (way, _, layers, expected) => {
    await using store = await newStore();
    const name = outside.slice(1);
    const aim = (text: string): string => text.replaceAll("OUT", name);
    const aimed = layers.map((entries) =>
      entries.map((entry) => {
        const { linkname } = entry;
        return {
          ...entry,
          name: aim(String(entry.name)),
          ...(linkname !== undefined && { linkname: aim(String(linkname)) }),
        };
      }),
    );
    const found = await outcomeOf(store, way, aimed);
    // The host's directory has a parent, which the image gets, too.
    const parent = new RegExp(`(^|/)${name.slice(0, Math.max(0, name.lastIndexOf("/")))} `);
    if (Array.isArray(expected)) {
      const lines = (found as string[]).filter((line) => !parent.test(line));
      expect(lines.sort()).toEqual(expected.map(aim).sort());
    } else expect(found).toMatch(expected);
    expect(await treeOf(outside)).toEqual(before);
  });
});

describe("twins that look alike and must work (TAR-02, TAR-06)", () => {
  test("absolute links, hard links by absolute names, entries without their parents, names with dots", async () => {
    await using store = await newStore();
    expect(
      await outcome(store, [
        directory("usr/lib"),
        link("lib", "/usr/lib"),
        file("./lib/libc.so"),
        hard("kaniko", "/usr/lib/libc.so"),
        file("no/entry/for/these"),
        file("..data"),
        file("...//odd"),
        file("dir/../plain"),
        link("etc", "/system/etc"),
        file("etc/passwd"),
      ]),
    ).toEqual([
      "... 40755 0:0",
      `.../odd 100644 0:0 ${hello}`,
      `..data 100644 0:0 ${hello}`,
      "etc 120777 0:0 -> /system/etc",
      `kaniko 100644 0:0 ${hello}`,
      "lib 120777 0:0 -> /usr/lib",
      "no 40755 0:0",
      "no/entry 40755 0:0",
      "no/entry/for 40755 0:0",
      `no/entry/for/these 100644 0:0 ${hello}`,
      `plain 100644 0:0 ${hello}`,
      "system 40755 0:0",
      "system/etc 40755 0:0",
      `system/etc/passwd 100644 0:0 ${hello}`,
      "usr 40755 0:0",
      "usr/lib 40755 0:0",
      `usr/lib/libc.so 100644 0:0 = kaniko ${hello}`,
    ]);
  });

  test("127 layers, each over the one before", async () => {
    await using store = await newStore();
    const layers = Array.from({ length: 127 }, (_, n) => [
      { name: "count", data: String(n) },
      ...(n === 0 ? [] : [file(`.wh.only${n - 1}`)]),
      file(`only${n}`),
    ]);
    expect(await outcome(store, ...layers)).toEqual([
      expect.stringMatching(/^count 100644 0:0 3 /),
      `only126 100644 0:0 ${hello}`,
    ]);
  });

  test("zstd, gzip of several members, NULs behind the end", async () => {
    await using store = await newStore();
    const tar = tarOf(file("a"));
    const cut = tar.length >> 1;
    const members = Buffer.concat([gzipSync(tar.subarray(0, cut)), gzipSync(tar.subarray(cut)), Buffer.alloc(99)]);
    for (const blob of [zstdCompressSync(tar), members, tar]) {
      const name = serve([tar]);
      await replaceLayer(name, blob);
      expect((await pull(store, name)).stderr).toBe("");
      expect(await imageTree(store, name, { times: false })).toContainEqual(`a 100644 0:0 ${hello}`);
      await store.ok(["rmi", name]);
    }
  });
});

test("whiteouts take one name each, of lower layers, in any order; a bad one is an error (TAR-03)", async () => {
  await using store = await newStore();
  const lower = [
    file("a"),
    file("b"),
    file("dir/one"),
    file("dir/two"),
    file("opaque/lower"),
    directory(".hidden"),
    file("kept"),
  ];
  const upper = [
    file(".wh.a"),
    file("dir/.wh.one"),
    file("opaque/new"),
    file("opaque/.wh..wh..opq"),
    file(".wh..hidden"),
    file("kept"),
    file(".wh.kept"),
  ];
  const expected = [
    `b 100644 0:0 ${hello}`,
    "dir 40755 0:0",
    `dir/two 100644 0:0 ${hello}`,
    `kept 100644 0:0 ${hello}`,
    "opaque 40755 0:0",
    `opaque/new 100644 0:0 ${hello}`,
  ];
  expect(await outcome(store, lower, upper)).toEqual(expected);
  expect(await outcome(store, lower, upper.toReversed())).toEqual(expected);
  await using empty = await newStore();
  for (const name of [".wh.", ".wh..", ".wh...", "dir/.wh.", ".wh.dir/file"]) {
    expect(await outcome(empty, [file(name)])).toMatch(/Cannot extract .*(names nothing|whiteouts are no directories)/);
  }
});

test("archives that other readers would read otherwise are refused (TAR-04)", async () => {
  await using store = await newStore();
  const cases: [string, Buffer][] = [
    ["a NUL in a name of an extended header", tarOf({ name: "x", pax: { path: "a\0b" } })],
    ["a negative size", tarOf({ name: "x", patch: (block) => void block.fill(0xff, 124, 136) })],
    ["a size that is none", tarOf({ name: "x", patch: (block) => void block.write("12x", 124) })],
    [
      "a record whose length is wrong",
      Buffer.concat([entryOf({ name: "x", type: "x", data: "99 path=y\n" }), tarOf(file("a"))]),
    ],
    ["an extended header with nothing behind it", tarOf({ name: "x", type: "x", data: "12 path=abc\n" })],
    ["a checksum of another block", Buffer.concat([entryOf(file("a")).fill(0x41, 0, 1), Buffer.alloc(1024)])],
    ["an entry that ends early", tarOf({ name: "a", size: 5000, data: "x" })],
  ];
  for (const [what, tar] of cases) {
    const { code, stderr } = await pull(store, serve([tar]));
    expect([what, code, stderr]).toEqual([what, 1, expect.stringContaining("Cannot read the tar stream")]);
    expect(leftovers(store)).toEqual([]);
  }
  // A size for the next entry does not apply to the header of a longer name: else what follows would be hidden.
  const vmf3 = Buffer.concat([
    entryOf({ name: "x", type: "x", data: "12 size=1024\n".replace("12", "13") }),
    entryOf({ name: "././@LongLink", type: "L", data: "long\0" }),
    entryOf({ name: "short", data: Buffer.alloc(1024, "y"), size: 0 }),
    Buffer.alloc(1024),
  ]);
  const name = serve([vmf3]);
  expect((await pull(store, name)).stderr).toBe("");
  expect(await imageTree(store, name, { times: false })).toContainEqual(
    expect.stringMatching(/^long 100644 0:0 1024 /),
  );
});

test("a layer's size costs no memory, and a name's length no time (TAR-05)", async () => {
  await using store = await newStore();
  const small = serve([tarOf(file("a"))]);
  const large = serve([tarOf({ name: "zeros", data: Buffer.alloc(128 << 20) })]);
  const peaks: number[] = [];
  for (const name of [small, large]) {
    const child = Bun.spawn([...store.command, "pull", "--quiet", name], { stdio: ["ignore", "ignore", "inherit"] });
    let peak = 0;
    // Not getrusage's, which starts with what this process has: it was spawned by vfork.
    while (child.exitCode === null) {
      const found = await Bun.file(`/proc/${child.pid}/status`)
        .text()
        .catch(() => "");
      peak = Number(/VmHWM:\s+(\d+)/.exec(found)?.[1] ?? peak);
      await Bun.sleep(5);
    }
    expect(child.exitCode).toBe(0);
    peaks.push(peak / 1024);
  }
  const [base = Number.NaN, peak = Number.NaN] = peaks;
  expect(base).toBeGreaterThan(10);
  expect(peak).toBeLessThan(150);
  expect(peak - base).toBeLessThan(64);
  const long = tarOf(
    ...Array.from({ length: 200 }, (_, n) => ({
      name: "x",
      pax: { path: `${n}/../`.repeat(1500), comment: "c".repeat(500_000) },
    })),
  );
  const { code, stderr } = await store.bb(["pull", "--quiet", serve([long])], { timeoutMs: 30_000 });
  expect([code, stderr]).toEqual([1, expect.stringMatching(/Cannot (extract|read the tar stream)/)]);
});

test("the last of two entries counts, and never goes where the first one points (TAR-06)", async () => {
  await using store = await newStore();
  const found = await outcome(
    store,
    [file("lower"), directory("merged"), file("merged/old")],
    [
      link("a", `${outside}/file`),
      file("a"),
      directory("b"),
      file("b/x"),
      file("b"),
      file("c"),
      directory("c", 0o700),
      link("lower", outside),
      file("lower"),
      link("merged", outside),
      directory("merged"),
      file("merged/new"),
    ],
  );
  expect(found).toEqual([
    `a 100644 0:0 ${hello}`,
    `b 100644 0:0 ${hello}`,
    "c 40700 0:0",
    `lower 100644 0:0 ${hello}`,
    "merged 40755 0:0",
    `merged/new 100644 0:0 ${hello}`,
    `merged/old 100644 0:0 ${hello}`,
  ]);
});

test("devices, owners and attributes: what an image needs, inside a store that nobody else may enter (TAR-07)", async () => {
  await using store = await newStore();
  const capability = Buffer.from("0100000200200000000000000000000000000000", "hex");
  const found = await outcome(store, [
    { name: "null", type: "3", devMajor: 1, devMinor: 3, mode: 0o666 },
    { name: "whiteout?", type: "3" },
    { name: "su", mode: 0o4755, uid: 0, data: "hello" },
    { name: "ping", mode: 0o755, data: "hello", pax: { "SCHILY.xattr.security.capability": capability } },
    {
      name: "marked",
      data: "hello",
      pax: {
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.user.overlay.opaque": "y",
        "SCHILY.xattr.security.selinux": "x",
      },
    },
    { name: "theirs", uid: 65_534, gid: 4_294_967_294, data: "hello", pax: { gid: "4294967294" } },
  ]);
  expect(found).toEqual([
    `marked 100644 0:0 ${hello}`,
    "null 20666 0:0 device 1:3",
    `ping 100755 0:0 ${hello} security.capability=${capability.toString("hex")}`,
    `su 104755 0:0 ${hello}`,
    `theirs 100644 65534:4294967294 ${hello}`,
  ]);
  for (const path of ["", "layers", "blobs/sha256", "ingest"]) {
    expect([path, statSync(join(store.root, path)).mode & 0o077]).toEqual([path, 0]);
  }
  await using other = await newStore();
  for (const entry of [
    { name: "x", pax: { uid: "4294967295" } },
    { name: "x", pax: { gid: "-1" } },
    { name: "x", type: "3", devMajor: 4096 },
  ]) {
    expect(await outcome(other, [entry])).toMatch(/does not exist on Linux|Linux has no device/);
  }
});

test("no program unpacks anything, whatever lies in PATH or the directory that bb is called in (TAR-08)", async () => {
  await using store = await newStore();
  const trap = join(store.root, "..", "trap");
  mkdirSync(trap);
  for (const name of [
    "gzip",
    "unpigz",
    "pigz",
    "zstd",
    "tar",
    "xz",
    "bunfig.toml",
    "layer-worker",
    "layer-worker.ts",
  ]) {
    writeFileSync(join(trap, name), `#!/bin/sh\ntouch ${trap}/sprung\n`, { mode: 0o755 });
  }
  const name = serve([tarOf(file("a"))]);
  const { code } = await store.bb(["pull", "--quiet", name], { env: { PATH: trap }, cwd: trap });
  expect([code, readdirSync(trap).includes("sprung")]).toEqual([0, false]);
});

/** Gives the image's only layer other bytes of the same tar. */
async function replaceLayer(name: string, blob: Uint8Array): Promise<void> {
  const path = name.slice(name.indexOf("/") + 1);
  const manifest = JSON.parse(Buffer.from(registry.manifests.get(path)?.bytes ?? "").toString());
  const digest = sha256(blob);
  registry.blobs.set(digest, blob);
  manifest.layers = [{ ...manifest.layers[0], digest, size: blob.length }];
  putManifest(registry, path, OCI_MANIFEST, encode(manifest));
}

function sha256(bytes: Uint8Array | string): `sha256:${string}` {
  return `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
}

describe("documents", () => {
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

  test("that are not what they should be are errors in words, and leave nothing (IMG-01, IMG-03, IMG-04, IMG-05)", async () => {
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
    expect([leftovers(store), readdirSync(join(store.root, "ingest"))]).toEqual([[], []]);
    // The twin: the same documents unchanged.
    await store.ok(["pull", "--quiet", put(manifest)]);
    await store.ok(["pull", "--quiet", withConfig(config)]);
  });

  test("are read up to a limit, also without a length, and nested no deeper than one index (IMG-02)", async () => {
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

  test("say how a container runs inside, and nothing of how it is kept (IMG-06)", async () => {
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
        Binds: [`${outside}:/outside`],
        Devices: ["/dev/mem"],
        HostConfig: { Privileged: true, Binds: [`${outside}:/outside`], RestartPolicy: { Name: "always" } },
        NetworkMode: "host",
      },
    });
    await store.ok(["pull", "--quiet", name]);
    await store.ok(["create", "--name", "held", "--network", "none", name, "/a"]);
    const text = await store.ok(["inspect", "held"]);
    const [container] = JSON.parse(text) as [{ Config: { Env: string[]; Labels: object } }];
    expect(container.Config).toMatchObject({ Env: expect.arrayContaining(["A=b"]), Labels: { mine: "kept" } });
    expect(text).not.toContain(outside);
    expect(text).not.toMatch(/"Privileged": true|unconfined|"always"|dev\/mem/);
  });

  test("change the name that is pulled and no other, and a digest that was asked for is the one that comes (IMG-04, IMG-09)", async () => {
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
});
