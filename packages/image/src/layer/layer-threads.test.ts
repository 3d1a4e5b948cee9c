import { afterEach, beforeEach, expect, test } from "bun:test";
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { SysError } from "@bantubox/ffi";
import { tarOf } from "../tar/tar-fixture.ts";
import { temporaryDirectory } from "./extract-fixture.ts";
import { Growth } from "./layer-growth.ts";
import { LayerThreads } from "./layer-threads.ts";

let temporary: string;
let root: string;

beforeEach(() => {
  temporary = temporaryDirectory();
  root = join(temporary, "root");
  mkdirSync(root);
});

afterEach(() => {
  rmSync(temporary, { recursive: true, force: true });
});

// The extractor gives the directory to root.
const isRoot = process.geteuid?.() === 0;
const skipped = isRoot ? "" : " (skipped: owners need root)";
const withRoot = test.skipIf(!isRoot);

function sha256(bytes: Uint8Array): string {
  return `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
}

withRoot(`LayerThreads unpacks files while they grow, several at once, and verifies them${skipped}`, async () => {
  using threads = new LayerThreads();
  const layers = [1, 2, 3].map((n) => {
    const tar = tarOf({ name: `file${n}`, data: Buffer.alloc(300_000, `content ${n}`) });
    const path = join(temporary, `blob${n}`);
    const directory = join(root, String(n));
    mkdirSync(directory);
    return { n, tar, blob: gzipSync(tar, { level: 0 }), directory, fd: openSync(path, "w+"), growth: new Growth() };
  });
  const results = layers.map(({ fd, growth, directory, tar, blob }) =>
    threads.extract({ fd, growth, unpack: { directory, diffId: sha256(tar), digest: sha256(blob) } }),
  );
  // Each waits for bytes by turns with the others.
  for (let at = 0; at < 400_000; at += 50_000) {
    for (const { blob, fd, growth } of layers) {
      const piece = blob.subarray(at, at + 50_000);
      if (piece.length > 0) writeSync(fd, piece, 0, piece.length, at);
      growth.reach(Math.min(blob.length, at + 50_000));
    }
    await Bun.sleep(1);
  }
  for (const { growth } of layers) growth.complete();
  const [first] = await Promise.all(results);
  expect(first).toMatchObject({ entries: 1, isRootOpaque: false, diffId: sha256(layers[0]?.tar ?? Buffer.alloc(0)) });
  for (const { n, directory, fd } of layers) {
    expect(readFileSync(join(directory, `file${n}`)).equals(Buffer.alloc(300_000, `content ${n}`))).toBe(true);
    closeSync(fd);
  }
});

withRoot(`LayerThreads hands errors over as they are, and goes on with the next layer${skipped}`, async () => {
  using threads = new LayerThreads();
  const path = join(temporary, "blob");
  const extract = async (bytes: Uint8Array, act: (growth: Growth) => void) => {
    writeFileSync(path, bytes);
    const fd = openSync(path, "r");
    const growth = new Growth();
    growth.reach(bytes.length);
    try {
      const result = threads.extract({ fd, growth, unpack: { directory: root } });
      act(growth);
      return await result;
    } finally {
      closeSync(fd);
    }
  };
  const complete = (growth: Growth): void => growth.complete();
  const tar = tarOf({ name: "a", data: "hello" });
  await expect(extract(tar.subarray(0, 700), complete)).rejects.toMatchObject({
    name: "BoxError",
    code: "tar-corrupt",
  });
  await expect(extract(gzipSync(tar).subarray(0, 30), complete)).rejects.toMatchObject({ code: "layer-corrupt" });
  await expect(extract(tar.subarray(0, 512), (growth) => growth.abandon())).rejects.toMatchObject({
    code: "layer-abandoned",
  });
  // 300 characters are more than a name may have.
  const long = "n".repeat(300);
  const refusal = extract(tarOf({ name: "x", pax: { path: long } }), complete);
  await expect(refusal).rejects.toBeInstanceOf(SysError);
  await expect(refusal).rejects.toMatchObject({
    code: "ENAMETOOLONG",
    errno: 36,
    message: `Cannot openat "${long}": ENAMETOOLONG`,
  });
  expect(await extract(tar, complete)).toMatchObject({ entries: 1 });
});
