import { expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { forgetFormerBoot } from "./boot.ts";

test("a directory that was named by mistake loses nothing", () => {
  const directory = mkdtempSync(join(tmpdir(), "bb-boot-"));
  const [own, foreign] = [join(directory, "a".repeat(64)), join(directory, "documents")];
  for (const path of [own, foreign]) mkdirSync(path);
  writeFileSync(join(foreign, "letter"), "");
  forgetFormerBoot(directory);
  expect(existsSync(own)).toBe(false);
  expect(existsSync(join(foreign, "letter"))).toBe(true);
  mkdirSync(own);
  forgetFormerBoot(directory);
  expect(existsSync(own)).toBe(true);
  rmSync(directory, { recursive: true });
});
