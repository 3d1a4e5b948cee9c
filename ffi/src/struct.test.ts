import { expect, test } from "bun:test";
import fc from "fast-check";
import { struct } from "./struct.ts";

const every = struct({ a: "u8", b: "i8", c: "u16", d: "i16", _pad: "u16", e: "u32", f: "i32", g: "u64", h: "i64" });

test("struct() reads back what it wrote, for every field type", () => {
  fc.assert(
    fc.property(
      fc.record({
        a: fc.integer({ min: 0, max: 255 }),
        b: fc.integer({ min: -128, max: 127 }),
        c: fc.integer({ min: 0, max: 65535 }),
        d: fc.integer({ min: -32768, max: 32767 }),
        e: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
        f: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
        g: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        h: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      }),
      (values) => expect(every.decode(every.encode(values))).toEqual(values),
    ),
  );
});

test("struct() lays fields out as C does and leaves padding zero", () => {
  expect(every.size).toBe(32);
  expect(every.offsets.g).toBe(16);
  expect(every.encode({})).toEqual(new Uint8Array(32));
});

test.each([
  ["a value over the field's range", () => every.encode({ e: 2 ** 32 })],
  ["a negative value in an unsigned field", () => every.encode({ a: -1 })],
  ["a fraction", () => every.encode({ a: 0.5 })],
  ["too few bytes", () => every.decode(new Uint8Array(31))],
  ["a field out of alignment", () => struct({ a: "u8", b: "u32" })],
])("struct() refuses %s", (_, attempt) => expect(attempt).toThrow(RangeError));
