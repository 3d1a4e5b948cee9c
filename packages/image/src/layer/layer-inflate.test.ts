import { expect, setDefaultTimeout, test } from "bun:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { FUZZ_TIMEOUT_MS, runs } from "../fuzz-fixture.ts";
import { Inflater } from "./layer-inflate.ts";

setDefaultTimeout(FUZZ_TIMEOUT_MS);

const CASES: [string, (bytes: Uint8Array) => Uint8Array][] = [
  ["plain", (bytes) => bytes],
  ["gzip", (bytes) => gzipSync(bytes)],
  ["gzip of two members", (bytes) => Buffer.concat([gzipSync(bytes.subarray(0, 9)), gzipSync(bytes.subarray(9))])],
  ["gzip with NULs behind it", (bytes) => Buffer.concat([gzipSync(bytes), Buffer.alloc(700)])],
  ["zstd", (bytes) => zstdCompressSync(bytes)],
  [
    "zstd of two frames, one skippable before them",
    (bytes) =>
      Buffer.concat([
        Buffer.from("502a4d180400000001020304", "hex"),
        zstdCompressSync(bytes.subarray(0, 9)),
        zstdCompressSync(bytes.subarray(9)),
      ]),
  ],
];

function inflate(bytes: Uint8Array, cuts: readonly number[]): Buffer {
  const parts: Buffer[] = [];
  using inflater = new Inflater((part) => parts.push(Buffer.from(part)));
  let at = 0;
  for (let i = 0; at < bytes.length; i++) {
    const length = cuts[i % cuts.length] ?? 1;
    // A copy that is spoilt afterwards: nothing may hold on to it.
    const piece = Buffer.from(bytes.subarray(at, at + length));
    inflater.push(piece);
    piece.fill(0xee);
    at += length;
  }
  inflater.finish();
  return Buffer.concat(parts);
}

test.each(CASES)("Inflater gives back what %s was made of, whatever the pieces are", (_, compress) => {
  // Longer than the output buffer once it repeats, and with something that does not compress.
  const content = fc
    .tuple(fc.uint8Array({ minLength: 4, maxLength: 2000 }), fc.integer({ min: 1, max: 300 }))
    .map(([bytes, times]) => Buffer.concat(Array(times).fill(Buffer.from(bytes))));
  const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constant(65_536)), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(content, cuts, (bytes, sizes) => {
      // Plain bytes that look compressed are taken for that, as they should.
      fc.pre(compress !== CASES[0]?.[1] || (bytes[0] !== 0x1f && bytes[0] !== 0x28 && bytes[1] !== 0x2a));
      expect(inflate(compress(bytes), sizes).equals(bytes)).toBe(true);
    }),
    runs(40),
  );
});

test("Inflater takes a gzip stream that ends early or is damaged for corrupt", () => {
  const whole = gzipSync(Buffer.from(Array.from({ length: 9000 }, (_, i) => (i * i * 31) % 251)));
  for (const length of [5, 20, whole.length >> 1, whole.length - 1]) {
    expect(() => inflate(whole.subarray(0, length), [64])).toThrow(expect.objectContaining({ code: "layer-corrupt" }));
  }
  const damaged = Buffer.from(whole);
  damaged.writeUInt32BE(0xdeadbeef, whole.length - 8);
  expect(() => inflate(damaged, [64])).toThrow(expect.objectContaining({ code: "layer-corrupt" }));
});

test("Inflater gives what it has, and nothing, of no bytes at all and of fewer than a mark", () => {
  expect(inflate(Buffer.alloc(0), [1]).length).toBe(0);
  expect(inflate(Buffer.from("ab"), [1]).toString()).toBe("ab");
});
