import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { call, close } from "./call.ts";
import { AT, O } from "./flags.ts";
import { cstr } from "./memory.ts";
import { removeTree } from "./remove-tree.ts";

const LEVELS = 6000;

let dir = "";
let tree = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bb-remove-tree-"));
  tree = join(dir, "tree");
  writeFileSync(join(dir, "canary"), "");
});
afterEach(() => rmSync(dir, { recursive: true }));

test("a tree deeper than any path goes in little time", () => {
  mkdirSync(tree);
  const begin = performance.now();
  let at = call("openat", tree, AT.FDCWD, cstr(tree), O.RDONLY | O.DIRECTORY);
  const name = cstr("d".repeat(100));
  for (let level = 0; level < LEVELS; level++) {
    call("mkdirat", "a level", at, name, 0o755);
    close(call("openat", "a file", at, cstr("file"), O.WRONLY | O.CREAT, 0o600));
    const below = call("openat", "a level", at, name, O.RDONLY | O.DIRECTORY);
    close(at);
    at = below;
  }
  close(at);
  const made = performance.now();
  removeTree(tree);
  // On a busy disk both take long.
  expect(performance.now() - made).toBeLessThan(1000 + 20 * (made - begin));
  expect(readdirSync(dir)).toEqual(["canary"]);
}, 120_000);

test("names that are in the way of what is moved up go as well", () => {
  mkdirSync(join(tree, ...Array<string>(100).fill("x")), { recursive: true });
  for (let n = 0; n < 40; n++) mkdirSync(join(tree, `.lifted-${n}`, "full"), { recursive: true });
  for (let n = 40; n < 60; n++) writeFileSync(join(tree, `.lifted-${n}`), "");
  removeTree(tree);
  expect(readdirSync(dir)).toEqual(["canary"]);
});

test("more names than one call tells, links and files: links are not followed", () => {
  mkdirSync(tree);
  for (let n = 0; n < 3000; n++) writeFileSync(join(tree, `a rather long name of a file ${n}`), "");
  for (let n = 0; n < 300; n++) mkdirSync(join(tree, `directory ${n}`, "below"), { recursive: true });
  symlinkSync(dir, join(tree, "link"));
  removeTree(tree);
  symlinkSync(join(dir, "canary"), tree);
  removeTree(tree);
  removeTree(tree);
  expect(readdirSync(dir)).toEqual(["canary"]);
});
