import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import fc from "fast-check";
import { sha256 } from "../document/digest.ts";
import { FUZZ_TIMEOUT_MS, runs } from "../fuzz-fixture.ts";
import { compress } from "./compress.ts";
import { GZIP_BLOCK, GzipThreads } from "./gzip-threads.ts";

setDefaultTimeout(FUZZ_TIMEOUT_MS);

const threads = new GzipThreads();
afterAll(() => threads[Symbol.dispose]());

async function* cut(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  // One buffer for all, as layers are read: what was yielded is overwritten.
  const buffer = new Uint8Array(Math.max(1, ...sizes));
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = Math.min(sizes[turn % sizes.length] ?? 1, bytes.length - at);
    buffer.set(bytes.subarray(at, at + size));
    yield buffer.subarray(0, size);
    at += size;
  }
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of source) parts.push(chunk.slice());
  return Buffer.concat(parts);
}

/** Text that compresses somewhat. */
function prose(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = 7;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    bytes[at] = at % 3 === 0 ? state >>> 24 : 97 + (at % 17);
  }
  return bytes;
}

test.each(["gzip", "zstd"] as const)("%s: whatever is compressed comes back, of any length", async (kind) => {
  const restore = kind === "gzip" ? gunzipSync : zstdDecompressSync;
  for (const length of [0, 1, 1000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5_300_000]) {
    const bytes = prose(length);
    const packed = await collect(compress(cut(bytes, [300_007]), kind, threads));
    expect([length, sha256(restore(packed))]).toEqual([length, sha256(bytes)]);
  }
});

test.each(["gzip", "zstd"] as const)("%s: the same bytes come out however the input is cut", async (kind) => {
  const bytes = prose(2_500_000);
  const digest = sha256(await collect(compress(cut(bytes, [bytes.length]), kind, threads)));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 5000, max: 3_000_000 }), { minLength: 1, maxLength: 4 }),
      async (sizes) => {
        expect(sha256(await collect(compress(cut(bytes, sizes), kind, threads)))).toBe(digest);
      },
    ),
    runs(12),
  );
});

test("gzip: lengths around the blocks' borders come back, by as many threads as there may be", async () => {
  using alone = new GzipThreads(1);
  using several = new GzipThreads(3);
  const bytes = prose(4 * GZIP_BLOCK);
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 3 }),
      fc.integer({ min: -3, max: 3 }),
      fc.integer({ min: 9000, max: 3_000_000 }),
      async (blocks, more, size) => {
        const part = bytes.subarray(0, Math.max(0, blocks * GZIP_BLOCK + more));
        const packed = await collect(compress(cut(part, [size]), "gzip", alone));
        expect(gunzipSync(packed).equals(part)).toBe(true);
        expect((await collect(compress(cut(part, [size]), "gzip", several))).equals(packed)).toBe(true);
      },
    ),
    runs(15),
  );
});

/** Members begin at these places; only their heads are looked for, and the text has none. */
function members(packed: Buffer): number[] {
  const head = Buffer.from("1f8b08000000000000ff", "hex");
  const places: number[] = [];
  for (let at = packed.indexOf(head); at >= 0; at = packed.indexOf(head, at + 1)) places.push(at);
  return places;
}

test("gzip: members of a megabyte that tell of no name and no time, which gzip itself reads", async () => {
  const bytes = prose(3_000_000);
  const packed = await collect(compress(cut(bytes, [1 << 20]), "gzip", threads));
  const starts = members(packed);
  expect(starts).toHaveLength(3);
  expect(gunzipSync(packed.subarray(starts[1], starts[2])).equals(bytes.subarray(GZIP_BLOCK, 2 * GZIP_BLOCK))).toBe(
    true,
  );
  const { stdout, stderr } = Bun.spawnSync(["gzip", "-dc"], { stdin: packed });
  expect(stderr.toString()).toBe("");
  expect(stdout.equals(bytes)).toBe(true);
});

test("gzip: nothing is a member of nothing", async () => {
  const packed = await collect(compress(cut(new Uint8Array(0), [1]), "gzip", threads));
  expect(members(packed)).toEqual([0]);
  expect(gunzipSync(packed)).toHaveLength(0);
});

test("gzip: who stops reading stops the source, and the threads go on with the next", async () => {
  let isClosed = false;
  async function* endless(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield prose(GZIP_BLOCK);
    } finally {
      isClosed = true;
    }
  }
  for await (const _ of compress(endless(), "gzip", threads)) break;
  expect(isClosed).toBe(true);
  const packed = await collect(compress(cut(prose(3_000_000), [1 << 20]), "gzip", threads));
  expect(gunzipSync(packed)).toHaveLength(3_000_000);
});

test("a thread that fails is the end of all that is compressed", async () => {
  using broken = new GzipThreads(1);
  const refused = broken.pack({ buffer: new ArrayBuffer(8) } as never);
  const waiting = broken.pack(new Uint8Array(GZIP_BLOCK));
  for (const { reason } of (await Promise.allSettled([refused, waiting])) as PromiseRejectedResult[]) {
    expect(String(reason)).toContain("The thread for compression failed");
  }
  const packed = collect(compress(cut(prose(2 * GZIP_BLOCK), [1 << 20]), "gzip", broken));
  await expect(packed).rejects.toThrow("The thread for compression failed");
});

test("a source that fails is what is told", async () => {
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield prose(3 << 20);
    throw new Error("the disk is gone");
  }
  for (const kind of ["gzip", "zstd"] as const) {
    const packed = collect(compress(broken(), kind, threads));
    expect(packed).rejects.toThrow("the disk is gone");
    await packed.catch(() => undefined);
  }
});
