import { expect, test } from "bun:test";
import { groupPath, pathParts } from "./path.ts";

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

test.each([
  ["/docker/abc", "docker/abc"],
  ["a//b/./c/", "a/b/c"],
  ["", "id"],
  ["system.slice:docker:abc", "system.slice:docker:abc"],
])("groupPath() takes %p for %p", (text, path) => {
  expect(groupPath(text, "id", false)).toBe(path);
});

test.each([
  ["system.slice:docker:abc", "system.slice/docker-abc.scope"],
  ["user-1000.slice:libpod:abc", "user.slice/user-1000.slice/libpod-abc.scope"],
  [":cri:abc", "system.slice/cri-abc.scope"],
  ["-.slice::abc", "abc.scope"],
  ["machine.slice:x:own.slice", "machine.slice/own.slice"],
  ["_a-b.slice:_x:abc", "__a.slice/__a-b.slice/__x-abc.scope"],
  ["", "system.slice/runtime-id.scope"],
])("groupPath() with systemd takes %p for %p", (text, path) => {
  expect(groupPath(text, "id", true)).toBe(path);
});

test.each([
  "/docker/abc",
  "a:b",
  "system:docker:abc",
  "a--b.slice:c:d",
  "a.slice:b:",
  "../x.slice:a:b",
  "a.slice:b:../c",
])("groupPath() with systemd refuses %p", (text) => {
  expect(() => groupPath(text, "id", true)).toThrow(expect.objectContaining({ code: "invalid-cgroup-path" }));
});

test("groupPath() leads nowhere else", () => {
  expect(() => groupPath("../x", "id", false)).toThrow(expect.objectContaining({ code: "invalid-cgroup-path" }));
});
