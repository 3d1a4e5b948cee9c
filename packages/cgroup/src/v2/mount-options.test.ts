import { expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readMountOptions, recallMountOptions } from "./mount-options.ts";

const LINES = `30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,seclabel,nsdelegate,memory_recursiveprot
31 23 0:26 / /mnt/other rw - cgroup2 none rw
`;

test("options of the whole host are told from a mount's own", () => {
  expect(readMountOptions("/sys/fs/cgroup", LINES)).toEqual({
    mount: "/sys/fs/cgroup",
    names: ["nsdelegate", "memory_recursiveprot"],
  });
  expect(readMountOptions("/mnt/other", LINES).names).toEqual([]);
  expect(readMountOptions("/nowhere", LINES).names).toEqual([]);
});

test("what was on once is remembered by whoever finds it off", () => {
  const directory = mkdtempSync(join(tmpdir(), "bb-mount-options-"));
  const record = join(directory, "record");
  const withOptions = (options: string): string => `30 23 0:26 / /cg rw - cgroup2 cgroup2 rw${options}\n`;
  const names = (options: string, at = record): readonly string[] =>
    recallMountOptions("/cg", { lines: withOptions(options), record: at }).names;
  try {
    expect(names("")).toEqual([]);
    expect(existsSync(record)).toBe(false);
    expect(names(",nsdelegate")).toEqual(["nsdelegate"]);
    expect(names("")).toEqual(["nsdelegate"]);
    expect(names(",memory_recursiveprot,noexec")).toEqual(["nsdelegate", "memory_recursiveprot"]);
    expect(names("")).toEqual(["nsdelegate", "memory_recursiveprot"]);
    expect(readdirSync(directory)).toEqual(["record"]);
    expect(names(",nsdelegate", join(directory, "gone/record"))).toEqual(["nsdelegate"]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
