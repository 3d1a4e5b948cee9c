/**
 * Layers that mean harm, by the real binary and through every door that archives come in by.
 * IDs are those of the list of past vulnerabilities; each kind of attack has twins that look like it and must work.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import {
  encode,
  putManifest,
  startRegistry,
  type TestRegistry,
} from "../packages/image/src/registry/registry-fixture.ts";
import { entryOf, type FixtureEntry, tarOf } from "../packages/image/src/tar/tar-fixture.ts";
import { bring, DOORS, type Door, deliver, IMAGE_DOORS, layersIn, serve } from "./doors.ts";
import { newStore, run } from "./harness.ts";
import { file, HOSTILE_LAYERS, hello } from "./hostile-layers.ts";
import { imageTree, treeOf } from "./image-tree.ts";

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

/** An entry with `outside` in the place of OUT. */
function aimed(entry: FixtureEntry): FixtureEntry {
  const { name, linkname } = entry;
  const aim = (text: string | Buffer): string => String(text).replaceAll("OUT", outside.slice(1));
  return { ...entry, name: aim(name), ...(linkname !== undefined && { linkname: aim(linkname) }) };
}

describe.each(DOORS)("%s", (door) => {
  const takesSeveral = (IMAGE_DOORS as readonly Door[]).includes(door);
  const cases = HOSTILE_LAYERS.filter(({ layers }) => takesSeveral || layers.length === 1);
  test.each(cases.map((each) => [each.ids, each.what, each] as const))("%s: %s", async (_ids, _what, hostile) => {
    await using store = await newStore();
    const layers = hostile.layers.map((entries) => tarOf(...entries.map(aimed)));
    const directories = [outside, `${outside}/dir`];
    using brought = await bring(store, door, { registry, layers, directories });
    const { code, stderr } = brought.result;
    const expected = (door === "cp" ? hostile.cp : undefined) ?? hostile.expected;
    if (expected instanceof RegExp) {
      expect([code, stderr]).toEqual([1, expect.stringMatching(expected)]);
      if (door !== "cp") expect(layersIn(store)).toEqual([]);
    } else {
      expect([code, stderr]).toEqual([0, ""]);
      // The host's directory lies in others, which the tree gets, too.
      const above = outside.split("/").slice(1, -1);
      const paths = above.map((_, i) => above.slice(0, i + 1).join("/"));
      const isAbove = (line: string): boolean => new RegExp(`(^|/)(${paths.join("|")}) `).test(line);
      const lines = (await brought.tree()).slice(1).filter((line) => !isAbove(line));
      expect(lines.sort()).toEqual(expected.map((line) => line.replaceAll("OUT", outside.slice(1))).sort());
    }
    expect(await treeOf(outside)).toEqual(before);
  });

  test("TAR-04: archives that other readers would read otherwise are refused", async () => {
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
      await using store = await newStore();
      using brought = await bring(store, door, { registry, layers: [tar] });
      const { code, stderr } = brought.result;
      expect([what, code, stderr]).toEqual([what, 1, expect.stringContaining("Cannot read the tar stream")]);
      if (door !== "cp") expect(layersIn(store)).toEqual([]);
    }
  });

  test("TAR-04: a size for the next entry does not apply to the header of a longer name, else what follows would be hidden", async () => {
    await using store = await newStore();
    const vmf3 = Buffer.concat([
      entryOf({ name: "x", type: "x", data: "13 size=1024\n" }),
      entryOf({ name: "././@LongLink", type: "L", data: "long\0" }),
      entryOf({ name: "short", data: Buffer.alloc(1024, "y"), size: 0 }),
      Buffer.alloc(1024),
    ]);
    using brought = await bring(store, door, { registry, layers: [vmf3] });
    expect(brought.result).toMatchObject({ code: 0, stderr: "" });
    expect(await brought.tree()).toContainEqual(expect.stringMatching(/^long 100644 0:0 1024 /));
  });

  test("TAR-05: a layer's size costs no memory", async () => {
    const [base, peak] = [
      await peakOf(door, tarOf(file("a"))),
      await peakOf(door, tarOf({ name: "zeros", data: Buffer.alloc(128 << 20) })),
    ];
    expect(base).toBeGreaterThan(10);
    expect(peak).toBeLessThan(150);
    expect(peak - base).toBeLessThan(64);
  });

  test("TAR-05: a name's length costs no time", async () => {
    await using store = await newStore();
    const long = tarOf(
      ...Array.from({ length: 200 }, (_, n) => ({
        name: "x",
        pax: { path: `${n}/../`.repeat(1500), comment: "c".repeat(500_000) },
      })),
    );
    using delivered = await deliver(store, door, { registry, layers: [long], compress: true });
    const { code, stderr } = await run(delivered.command, { timeoutMs: 30_000 });
    expect([code, stderr]).toEqual([1, expect.stringMatching(/Cannot (extract|read the tar stream)/)]);
  });

  test("TAR-08: no program unpacks anything, whatever lies in PATH or the directory that bb is called in", async () => {
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
    using delivered = await deliver(store, door, { registry, layers: [tarOf(file("a"))], compress: true });
    const { code, stderr } = await run(delivered.command, {
      env: { PATH: trap },
      cwd: trap,
    });
    expect([code, stderr, readdirSync(trap).includes("sprung")]).toEqual([0, "", false]);
    expect(await delivered.tree()).toContain(`a 100644 0:0 ${hello}`);
  });
});

/** Peak memory of `bb` taking an archive in, in MiB. */
async function peakOf(door: Door, tar: Uint8Array): Promise<number> {
  await using store = await newStore();
  using delivered = await deliver(store, door, { registry, layers: [tar] });
  const child = Bun.spawn([...delivered.command], { stdio: ["ignore", "ignore", "inherit"] });
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
  return peak / 1024;
}

test.each(IMAGE_DOORS)("twin: 127 layers, each over the one before, by %s", async (door) => {
  await using store = await newStore();
  const layers = Array.from({ length: 127 }, (_, n) =>
    tarOf({ name: "count", data: String(n) }, ...(n === 0 ? [] : [file(`.wh.only${n - 1}`)]), file(`only${n}`)),
  );
  using brought = await bring(store, door, { registry, layers });
  expect(brought.result).toMatchObject({ code: 0, stderr: "" });
  expect((await brought.tree()).slice(1)).toEqual([
    expect.stringMatching(/^count 100644 0:0 3 /),
    `only126 100644 0:0 ${hello}`,
  ]);
});

describe("twins: zstd, gzip of several members, NULs behind the end", () => {
  const tar = tarOf(file("a"));
  const cut = tar.length >> 1;
  const members = Buffer.concat([gzipSync(tar.subarray(0, cut)), gzipSync(tar.subarray(cut)), Buffer.alloc(99)]);
  const blobs = [zstdCompressSync(tar), members, tar];

  test("pull", async () => {
    await using store = await newStore();
    for (const blob of blobs) {
      const name = serve(registry, [tar]);
      await replaceLayer(name, blob);
      expect(await store.bb(["pull", "--quiet", name])).toMatchObject({ code: 0, stderr: "" });
      expect(await imageTree(store, name, { times: false })).toContainEqual(`a 100644 0:0 ${hello}`);
      await store.ok(["rmi", name]);
    }
  });

  test.each(["import", "cp"] as const)("%s", async (door) => {
    for (const blob of blobs) {
      await using store = await newStore();
      using brought = await bring(store, door, { registry, layers: [blob] });
      expect(brought.result).toMatchObject({ code: 0, stderr: "" });
      expect(await brought.tree()).toContainEqual(`a 100644 0:0 ${hello}`);
    }
  });
});

test("TAR-07: the store is nobody else's to enter", async () => {
  await using store = await newStore();
  using brought = await bring(store, "pull", { registry, layers: [tarOf(file("a"))] });
  expect(brought.result.code).toBe(0);
  for (const path of ["", "layers", "blobs/sha256", "ingest"]) {
    expect([path, statSync(join(store.root, path)).mode & 0o077]).toEqual([path, 0]);
  }
});

/** Gives the image's only layer other bytes of the same tar. */
async function replaceLayer(name: string, blob: Uint8Array): Promise<void> {
  const path = name.slice(name.indexOf("/") + 1);
  const manifest = JSON.parse(Buffer.from(registry.manifests.get(path)?.bytes ?? "").toString());
  const digest = sha256(blob);
  registry.blobs.set(digest, blob);
  manifest.layers = [{ ...manifest.layers[0], digest, size: blob.length }];
  putManifest(registry, path, "application/vnd.oci.image.manifest.v1+json", encode(manifest));
}

function sha256(bytes: Uint8Array | string): `sha256:${string}` {
  return `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
}
