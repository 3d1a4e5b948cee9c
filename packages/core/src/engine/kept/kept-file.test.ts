import { afterEach, beforeEach, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readKept, writeKept } from "./kept-file.ts";

const facts = { whole: [1, 2] };
const plan = new Uint8Array([1, 2, 3, 0, 255]);
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "bb-kept-"));
});

afterEach(() => rmSync(directory, { recursive: true }));

/** Keeps the plan under `key`. @returns Its file. */
function keep(key: string): string {
  const before = new Set(readdirSync(directory));
  writeKept(directory, key, facts, plan);
  return join(directory, readdirSync(directory).find((name) => !before.has(name)) ?? "none");
}

test("a plan is found under its key", () => {
  keep("a key");
  expect(readKept<typeof facts>(directory, "a key")).toEqual({ facts, plan });
  expect(readKept(directory, "another key")).toBeUndefined();
});

test("a key of the same hash finds nothing", () => {
  const [one, other] = [keep("harmless"), keep("privileged")];
  copyFileSync(other, one);
  expect(readKept(directory, "harmless")).toBeUndefined();
});

test("a damaged file is none", () => {
  const file = keep("a key");
  const bytes = readFileSync(file);
  for (let length = 0; length < bytes.length; length++) {
    writeFileSync(file, bytes.subarray(0, length));
    expect(readKept(directory, "a key")).toBeUndefined();
    writeFileSync(file, Buffer.concat([bytes.subarray(0, length), Buffer.alloc(bytes.length - length)]));
    // But for the plan itself, whose zeros may be its own.
    if (length < bytes.length - plan.length) expect(readKept(directory, "a key")).toBeUndefined();
  }
  rmSync(file);
  mkdirSync(file);
  expect(readKept(directory, "a key")).toBeUndefined();
});
