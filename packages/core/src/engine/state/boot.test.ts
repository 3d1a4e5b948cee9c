import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { takeRunRoot } from "./boot.ts";

const top = mkdtempSync(join(tmpdir(), "bb-boot-"));
afterAll(() => rmSync(top, { recursive: true }));

test("a directory that was named by mistake loses nothing", () => {
  const directory = mkdtempSync(join(top, "run-"));
  const [own, foreign] = [join(directory, "a".repeat(64)), join(directory, "documents")];
  for (const path of [own, foreign]) mkdirSync(path);
  writeFileSync(join(foreign, "letter"), "");
  takeRunRoot(directory, top);
  expect(existsSync(own)).toBe(false);
  expect(existsSync(join(foreign, "letter"))).toBe(true);
  mkdirSync(own);
  takeRunRoot(directory, top);
  expect(existsSync(own)).toBe(true);
});

test("a run directory is one store's, by whatever name, as long as that is there", () => {
  const runRoot = mkdtempSync(join(top, "run-"));
  const [store, other, link] = ["store", "other", "link"].map((name) => join(top, name)) as [string, string, string];
  for (const path of [store, other]) mkdirSync(join(path, "containers"), { recursive: true });
  symlinkSync(store, link);
  const running = join(runRoot, "a".repeat(64));
  takeRunRoot(runRoot, store);
  mkdirSync(running);
  const refused = (root: string): void =>
    expect(() => takeRunRoot(runRoot, root)).toThrow(
      expect.objectContaining({ code: "bad-root", message: expect.stringContaining(`of the store "${store}"`) }),
    );
  refused(other);
  refused(join(top, "none"));
  takeRunRoot(runRoot, link);
  takeRunRoot(runRoot, `${store}/`);
  refused(other);
  expect(existsSync(running)).toBe(true);
  rmSync(store, { recursive: true });
  takeRunRoot(runRoot, other);
  expect(existsSync(running)).toBe(true);
});
