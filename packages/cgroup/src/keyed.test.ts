import { expect, test } from "bun:test";
import { parseCount, parseKeyed, parseLimit, sumNested, sumOperations } from "./keyed.ts";

test("parseKeyed() reads lines of a key and a number, and skips others", () => {
  expect([...parseKeyed("oom_kill_disable 0\noom_kill 3\nbroken\nx -1\n")]).toEqual([
    ["oom_kill_disable", 0],
    ["oom_kill", 3],
  ]);
});

test.each([
  ["a number", "4096", 4096],
  ["v2's unlimited", "max", undefined],
  ["v1's unlimited", "9223372036854771712", undefined],
  ["a missing file", undefined, undefined],
])("parseLimit() reads %s", (_, text, expected) => expect(parseLimit(text)).toBe(expected));

test("parseCount() takes nothing that is no number", () => {
  expect([parseCount("12"), parseCount(""), parseCount("1e3"), parseCount("-1")]).toEqual([
    12,
    undefined,
    undefined,
    undefined,
  ]);
});

test("sumNested() and sumOperations() add up all devices", () => {
  expect(sumNested("8:0 rbytes=10 wbytes=2\n8:16 rbytes=5 xrbytes=100\n", "rbytes")).toBe(15);
  expect(sumOperations("8:0 Read 10\n8:0 Write 3\n8:16 Read 1\nTotal 14", "Read")).toBe(11);
});
