import { expect, test } from "bun:test";
import { pathParts } from "./path.ts";

test("pathParts() lists parents first", () => {
  expect(pathParts("bantubox/a.b/c")).toEqual(["bantubox", "bantubox/a.b", "bantubox/a.b/c"]);
  expect(pathParts("Zz09_-:@+")).toEqual(["Zz09_-:@+"]);
});

test.each([
  "",
  "/bantubox",
  "a/../b",
  "..",
  ".",
  "a//b",
  "a/",
  "a\nb",
  "a\0b",
  "a/.b",
  "a[",
  "a`",
  "é",
  "a b",
  "a;",
  "/",
  "a/cgroup.procs",
  "a".repeat(256),
])("pathParts() refuses %j", (path) => expect(() => pathParts(path)).toThrow("it is no plain relative path"));
