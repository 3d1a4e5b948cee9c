import { afterAll, beforeAll, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileData } from "./file-data.ts";

let directory = "";
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "bb-file-data-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

/** @returns What was counted, and the copy's path. */
function copied(path: string, size = statSync(path).size): { bytes: number; path: string } {
  const target = `${path}-copy`;
  const [from, to] = [openSync(path, "r"), openSync(target, "wx")];
  try {
    return { bytes: new FileData().copy(from, to, { size, stored: statSync(path).blocks * 512 }, "it"), path: target };
  } finally {
    closeSync(from);
    closeSync(to);
  }
}

test("FileData neither reads nor fills holes, however large they are", async () => {
  const path = join(directory, "holes");
  await using file = await open(path, "wx");
  await file.write("first", 0);
  await file.write("last", 2 ** 41);
  await file.truncate(2 ** 42);
  const { bytes, path: copy } = copied(path);
  const { size, blocks } = statSync(copy);
  expect([size, blocks * 512 < 1 << 20, bytes < 1 << 20]).toEqual([2 ** 42, true, true]);
  await using other = await open(copy, "r");
  const read = async (at: number): Promise<string> => (await other.read(Buffer.alloc(6), 0, 6, at)).buffer.toString();
  expect([await read(0), await read(2 ** 41), await read(2 ** 42 - 6)]).toEqual([
    "first\0",
    "last\0\0",
    "\0".repeat(6),
  ]);
});

test("FileData copies every byte, zeros between others too, and files that are empty", () => {
  for (const [n, size] of [0, 1, (1 << 20) - 1, (3 << 20) + 17].entries()) {
    const path = join(directory, `dense${n}`);
    writeFileSync(path, Buffer.from(Array.from({ length: size }, (_, at) => (at >> 17) % 3)));
    const { bytes, path: copy } = copied(path);
    expect([bytes, readFileSync(copy).equals(readFileSync(path))]).toEqual([size, true]);
  }
});

test("FileData copies what a file had when it was looked at, if it grows, and fills up what it has lost", () => {
  const path = join(directory, "changing");
  writeFileSync(path, "0123456789");
  expect(readFileSync(copied(path, 4).path, "utf8")).toMatch(/^0123/);
  rmSync(`${path}-copy`);
  truncateSync(path, 2);
  expect(readFileSync(copied(path, 4).path, "utf8")).toBe("01\0\0");
});
