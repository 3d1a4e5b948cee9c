import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AT, call, cstr, Fd, O } from "@bantubox/ffi";
import { fillVolume } from "./fill-volume.ts";

let directory: string;
let data: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "bb-fill-"));
  data = join(directory, "volume/_data");
  mkdirSync(data, { recursive: true });
  mkdirSync(join(directory, "image/place"), { recursive: true });
  for (const name of ["a", "b"]) writeFileSync(join(directory, "image/place", name), "the image's");
});

afterEach(() => rmSync(directory, { recursive: true }));

async function fill(isShared: () => boolean): Promise<void> {
  const path = join(directory, "image");
  using root = new Fd(call("openat", path, AT.FDCWD, cstr(path), O.RDONLY | O.DIRECTORY | O.CLOEXEC));
  await fillVolume(root.raw, "/place", join(directory, "volume"), isShared);
  expect(readdirSync(join(directory, "volume"))).toEqual(["_data"]);
}

test("one that nobody has gets the image's files", async () => {
  await fill(() => false);
  expect(readdirSync(data).sort()).toEqual(["a", "b"]);
});

test("who comes while it is copied keeps the directory that it has mounted", async () => {
  using mounted = new Fd(call("openat", data, AT.FDCWD, cstr(data), O.PATH | O.DIRECTORY | O.CLOEXEC));
  await fill(() => true);
  expect(readdirSync(`/proc/self/fd/${mounted.raw}`).sort()).toEqual(["a", "b"]);
});

test("a file that somebody has written meanwhile stays", async () => {
  await fill(() => {
    writeFileSync(join(data, "a"), "mine");
    return true;
  });
  expect(readFileSync(join(data, "a"), "utf8")).toBe("mine");
  expect(readdirSync(data)).toEqual(["a"]);
});
