import { expect, test } from "bun:test";
import { join } from "node:path";
import fc from "fast-check";

const ffi = join(import.meta.dir, "..");

test("the front's dates are JavaScript's", () => {
  expect(Bun.spawnSync(["make", "-s", "-C", ffi, "build/fuzz-date"]).stderr.toString()).toBe("");
  const LAST_SECOND = 253402300799;
  const times = fc.sample(fc.tuple(fc.integer({ min: 0, max: LAST_SECOND }), fc.nat(999_999_999)), 500);
  const DAY = 86_400;
  // Each end of February and of the year, of years that are leap years and of years that are not.
  for (const year of [1970, 1999, 2000, 2024, 2026, 2100, 2400, 9999]) {
    for (const day of [`${year}-01-01`, `${year}-02-28`, `${year}-03-01`, `${year}-12-31`]) {
      const seconds = Date.parse(day) / 1000;
      times.push([seconds, 0], [seconds + DAY - 1, 999_999_999], [Math.min(seconds + DAY, LAST_SECOND), 1_000_000]);
    }
  }
  const { stdout, stderr } = Bun.spawnSync([join(ffi, "build/fuzz-date"), ...times.flat().map(String)]);
  expect(stderr.toString()).toBe("");
  const ours = times.map(([seconds, nanoseconds]) =>
    new Date(seconds * 1000 + Math.floor(nanoseconds / 1e6)).toISOString(),
  );
  expect(stdout.toString().trimEnd().split("\n")).toEqual(ours);
});
