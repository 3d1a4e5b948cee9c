import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { lastEntries } from "./log-tail.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "bb-log-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const record = (text: string): string => `2026-01-02T03:04:05.000000006Z stdout F ${text}\n`;
const texts = (count: number): string[] =>
  lastEntries(directory, count).map(({ text }) => new TextDecoder().decode(text).replace(/\n$/, ""));

test("the last entries of any files are those that reading all of them ends in", () => {
  const lines = fc.array(fc.stringMatching(/^[a-z ]{0,9}$/), { maxLength: 8 });
  fc.assert(
    fc.property(lines, lines, lines, fc.nat(20), fc.boolean(), (oldest, older, newest, count, isTorn) => {
      const files = { "log.2": oldest, "log.1": older, log: newest };
      for (const [name, part] of Object.entries(files)) writeFileSync(join(directory, name), part.map(record).join(""));
      if (isTorn) writeFileSync(join(directory, "log"), "torn\n2026-01-02T03:04:05Z stdout F no end", { flag: "a" });
      const all = [...oldest, ...older, ...newest];
      expect(texts(count)).toEqual(count === 0 ? [] : all.slice(-count));
    }),
  );
});

test("however large the file is, and however long its lines", () => {
  const lines = Array.from({ length: 30_000 }, (_, i) => `${i}`);
  writeFileSync(join(directory, "log"), lines.map(record).join(""));
  expect(texts(2)).toEqual(["29998", "29999"]);
  expect(texts(25_000)).toEqual(lines.slice(-25_000));
  const long = "x".repeat(300_000);
  writeFileSync(join(directory, "log"), [record("first"), record(long), record("last")].join(""));
  expect(texts(2)).toEqual([long, "last"]);
  expect(texts(9)).toEqual(["first", long, "last"]);
});

test("without any file there is nothing", () => {
  expect(lastEntries(directory, 5)).toEqual([]);
});
