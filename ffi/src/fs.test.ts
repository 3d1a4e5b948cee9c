import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isErrno } from "./errno.ts";
import { existsSync, isDirectory, mkdirSync, readIfThere, readTextSync, statIfThere, writeNewSync } from "./fs.ts";

let dir = "";
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "bb-fs-"));
});
afterAll(() => rmSync(dir, { recursive: true }));

describe("readTextSync()", () => {
  test.each([
    ["an empty file", 0],
    ["a small one", 5],
    ["one as long as the buffer", 1 << 16],
    ["a longer one", 300_001],
  ])("reads %s whole", (_, length) => {
    const text = "ü".repeat(length);
    const path = join(dir, "text");
    writeFileSync(path, text);
    expect(readTextSync(path)).toBe(text);
  });

  test("reads files of /proc, which have no size", () => {
    expect(readTextSync("/proc/self/mountinfo").split("\n").length).toBeGreaterThan(5);
  });

  test("says ENOENT as node:fs does, and readIfThere() gives undefined", () => {
    try {
      readTextSync(join(dir, "none"));
      throw new Error("it was read");
    } catch (error) {
      expect(isErrno(error, "ENOENT")).toBe(true);
    }
    expect(readIfThere(join(dir, "none"))).toBeUndefined();
    expect(readIfThere("/proc/self/stat/x")).toBeUndefined();
  });
});

test("writeNewSync() makes a file with its mode, and never overwrites one", () => {
  const path = join(dir, "new");
  writeNewSync(path, "x".repeat(100_000), 0o600);
  expect(statSync(path).size).toBe(100_000);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(() => writeNewSync(path, "y", 0o600)).toThrow("EEXIST");
});

test("mkdirSync() makes one directory, or a whole path", () => {
  mkdirSync(join(dir, "one"), { mode: 0o700 });
  expect(() => mkdirSync(join(dir, "one"))).toThrow("EEXIST");
  expect(() => mkdirSync(join(dir, "a/b"))).toThrow("ENOENT");
  mkdirSync(join(dir, "a/b/c"), { recursive: true });
  mkdirSync(join(dir, "a/b/c"), { recursive: true });
  expect(existsSync(join(dir, "a/b/c"))).toBe(true);
});

test("statIfThere() tells types, sizes and file systems apart", () => {
  expect(isDirectory(statIfThere(dir))).toBe(true);
  writeFileSync(join(dir, "sized"), "12345");
  expect(statIfThere(join(dir, "sized"))).toMatchObject({ size: 5, device: statIfThere(dir)?.device });
  expect(statIfThere("/proc")?.device).not.toBe(statIfThere(dir)?.device);
  expect(statIfThere(join(dir, "nothing"))).toBeUndefined();
});
