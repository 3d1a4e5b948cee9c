/** ffi/c/home.c under sanitizers, beside a plain reading of the same lines. */
import { beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import fc from "fast-check";

const ffi = join(import.meta.dir, "..");

beforeAll(() => {
  expect(Bun.spawnSync(["make", "-s", "-C", ffi, "build/fuzz-home"]).stderr.toString()).toBe("");
});

/** @param piece How many bytes come at once. */
function found(text: string, uid: number, piece = 1024, room = 64): string {
  const command = [join(ffi, "build/fuzz-home"), String(uid), String(piece), String(room)];
  const { stdout, stderr } = Bun.spawnSync(command, { stdin: Buffer.from(text, "latin1") });
  expect(stderr.toString()).toBe("");
  return stdout.toString("latin1");
}

function expected(text: string, uid: number, room = 64): string {
  for (const line of text.split("\n")) {
    const [name, , id = "", , , home] = line.split(":");
    if (!name || !home || home.length >= room || home.includes("\0")) continue;
    if (/^[0-9]{1,10}$/.test(id) && Number(id) === uid) return home;
  }
  return "/";
}

const PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/srv/web\nagain:x:1000:1::/other:\n";

test("the first account of the number has the home", () => {
  expect(found(PASSWD, 0)).toBe("/root");
  expect(found(PASSWD, 1000)).toBe("/srv/web");
  expect(found(PASSWD, 7)).toBe("/");
  expect(found("", 0)).toBe("/");
  expect(found("last:x:5:5::/home/last", 5)).toBe("/home/last");
});

test("lines that are none are passed over", () => {
  expect(
    found("+::::/evil:\n:x:0:0::/evil:\nroot:x::0::/evil\nroot:x:0x:0::/evil\nroot:x:0:0\nroot:x:0:0::\n", 0),
  ).toBe("/");
  expect(found(`a:x:0:0::/${"l".repeat(70)}:\nb:x:0:0::/short:\n`, 0)).toBe("/short");
  expect(found("a:x:18446744073709551616:0::/wrapped:\n", 0)).toBe("/");
});

test("as its lines read, in pieces of any size", () => {
  const word = fc.string({ unit: fc.constantFrom("a", "/", "0", "1", "x", ":", "\n", "\0"), maxLength: 12 });
  const field = fc.oneof(fc.constantFrom("", "0", "1", "a", "/root"), word);
  const line = fc.array(field, { maxLength: 8 }).map((fields) => fields.join(":"));
  const text = fc.array(line, { maxLength: 6 }).map((lines) => lines.join("\n"));
  const property = fc.property(
    text,
    fc.integer({ min: 1, max: 9 }),
    fc.integer({ min: 2, max: 9 }),
    (lines, piece, room) => {
      for (const uid of [0, 1]) expect(found(lines, uid, piece, room)).toBe(expected(lines, uid, room));
    },
  );
  fc.assert(property, { numRuns: 30 });
});
