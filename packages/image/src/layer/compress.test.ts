import { expect, test } from "bun:test";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import fc from "fast-check";
import { sha256 } from "../document/digest.ts";
import { compress } from "./compress.ts";

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
    const packed = await collect(compress(cut(bytes, [300_007]), kind));
    expect([length, sha256(restore(packed))]).toEqual([length, sha256(bytes)]);
  }
});

test.each(["gzip", "zstd"] as const)("%s: the same bytes come out however the input is cut", async (kind) => {
  const bytes = prose(2_500_000);
  const digest = sha256(await collect(compress(cut(bytes, [bytes.length]), kind)));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 5000, max: 3_000_000 }), { minLength: 1, maxLength: 4 }),
      async (sizes) => {
        expect(sha256(await collect(compress(cut(bytes, sizes), kind)))).toBe(digest);
      },
    ),
    { numRuns: 12 },
  );
});

test("gzip: it is one member that tells of no name and no time", async () => {
  const packed = await collect(compress(cut(prose(3_000_000), [1 << 20]), "gzip"));
  expect(packed.subarray(0, 10).toString("hex")).toBe("1f8b08000000000000ff");
  // Readers that stop after the first member must still get all of it.
  expect(Bun.gunzipSync(new Uint8Array(packed)).length).toBe(3_000_000);
});

test("a source that fails is what is told", async () => {
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield prose(3 << 20);
    throw new Error("the disk is gone");
  }
  for (const kind of ["gzip", "zstd"] as const) {
    const packed = collect(compress(broken(), kind));
    expect(packed).rejects.toThrow("the disk is gone");
    await packed.catch(() => undefined);
  }
});
