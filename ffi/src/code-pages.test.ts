import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { releaseCode } from "./code-pages.ts";

/** KiB of files that are mapped and in memory. */
function mapped(): number {
  return Number(/^RssFile:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]);
}

test("releaseCode() gives mapped code back, and the program goes on", () => {
  const before = mapped();
  releaseCode();
  expect(mapped()).toBeLessThan(before - 4096);
  expect(JSON.parse(JSON.stringify({ text: "goes on".replace(/on/, "ON") }))).toEqual({ text: "goes ON" });
});
