import { afterEach, beforeEach, expect, test } from "bun:test";
import { closeSync, existsSync, fstatSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { lastEntries, placeOfLast } from "./log-tail.ts";
import type { LogEntry } from "./logs.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "bb-log-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const record = (text: string): string => `2026-01-02T03:04:05.000000006Z stdout F ${text}\n`;
const textOf = ({ text }: LogEntry): string => new TextDecoder().decode(text).replace(/\n$/, "");
const texts = (count: number, isWanted = (_: LogEntry): boolean => true): string[] =>
  lastEntries(directory, count, isWanted).map(textOf);

/** What somebody reads who begins at the place of the last entries, up to the end of the newest file. */
function readOn(count: number, isWanted: (entry: LogEntry) => boolean): string {
  const place = placeOfLast(directory, count, isWanted);
  if (place === undefined) return "";
  const names = ["log", "log.1", "log.2"].map((name) => join(directory, name)).filter((path) => existsSync(path));
  const at = names.findIndex((path) => statSync(path).ino === fstatSync(place.fd).ino);
  const newer = names.slice(0, at).toReversed();
  const own = readFileSync(place.fd).subarray(place.position);
  closeSync(place.fd);
  return Buffer.concat([own, ...newer.map((path) => readFileSync(path))]).toString();
}

test("the last entries of any files are those that reading all of them ends in", () => {
  const lines = fc.array(fc.stringMatching(/^[a-z ]{0,9}$/), { maxLength: 8 });
  fc.assert(
    fc.property(lines, lines, lines, fc.nat(20), fc.boolean(), (oldest, older, newest, count, isTorn) => {
      const files = { "log.2": oldest, "log.1": older, log: newest };
      for (const [name, part] of Object.entries(files)) writeFileSync(join(directory, name), part.map(record).join(""));
      if (isTorn) writeFileSync(join(directory, "log"), "torn\n2026-01-02T03:04:05Z stdout F no end", { flag: "a" });
      const all = [...oldest, ...older, ...newest];
      expect(texts(count)).toEqual(count === 0 ? [] : all.slice(-count));
      const torn = isTorn ? `${count === 0 ? "" : "torn\n"}2026-01-02T03:04:05Z stdout F no end` : "";
      expect(readOn(count, () => true)).toBe((count === 0 ? [] : all.slice(-count)).map(record).join("") + torn);
    }),
  );
});

test("entries that are not wanted are not counted", () => {
  const lines = fc.array(fc.stringMatching(/^[ab]{1,3}$/), { maxLength: 12 });
  const isWanted = (entry: LogEntry): boolean => textOf(entry).startsWith("a");
  fc.assert(
    fc.property(lines, lines, fc.nat(12), (older, newest, count) => {
      writeFileSync(join(directory, "log.1"), older.map(record).join(""));
      writeFileSync(join(directory, "log"), newest.map(record).join(""));
      const all = [...older, ...newest].filter((line) => line.startsWith("a"));
      const last = count === 0 ? [] : all.slice(-count);
      expect(texts(count, isWanted)).toEqual(last);
      const read = readOn(count, isWanted).split("\n").slice(0, -1);
      const wanted = read.map((line) => line.split(" ").at(-1) ?? "").filter((line) => line.startsWith("a"));
      expect(wanted).toEqual(last);
    }),
  );
});

test("however large the file is, and however long its lines", () => {
  const lines = Array.from({ length: 30_000 }, (_, i) => `${i}`);
  writeFileSync(join(directory, "log"), lines.map(record).join(""));
  expect(texts(2)).toEqual(["29998", "29999"]);
  expect(texts(25_000)).toEqual(lines.slice(-25_000));
  expect(readOn(25_000, () => true)).toBe(lines.slice(-25_000).map(record).join(""));
  const long = "x".repeat(300_000);
  writeFileSync(join(directory, "log"), [record("first"), record(long), record("last")].join(""));
  expect(texts(2)).toEqual([long, "last"]);
  expect(texts(9)).toEqual(["first", long, "last"]);
});

test("without any file there is nothing", () => {
  expect(lastEntries(directory, 5, () => true)).toEqual([]);
  expect(placeOfLast(directory, 5, () => true)).toBeUndefined();
});
