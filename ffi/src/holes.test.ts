import { beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import fc from "fast-check";
import { findHoles, renameBehind, renameHoles } from "./holes.ts";

const ffi = join(import.meta.dir, "..");

beforeAll(() => {
  expect(Bun.spawnSync(["make", "-s", "-C", ffi, "build/fuzz-holes"]).stderr.toString()).toBe("");
});

/** What the front finds, under sanitizers: the skeleton's length, the skeleton, the holes. */
function theirs(text: Buffer, words: number, id: string): string {
  const { stdout, stderr } = Bun.spawnSync([join(ffi, "build/fuzz-holes"), String(words), id], { stdin: text });
  expect(stderr.toString()).toBe("");
  return stdout.toString("latin1");
}

function ours(text: Buffer, words: number, id: string): string {
  const found = findHoles(text, words, id);
  if (found === undefined) return "-1\n";
  const skeleton = Buffer.from(found.skeleton).toString("latin1");
  return `${found.skeleton.length}\n${skeleton}${found.holes.map((hole) => `\n${hole}`).join("")}`;
}

test("IDs and numbers among the words are holes, numbers of the files are not", () => {
  const id = "0123456789abcdef".repeat(4);
  const words = `create\0--bundle\0/run/${id}\0/tmp/pty123456789/s\0`;
  const text = Buffer.from(
    `${words}{"limit":137438953472,"path":"/x/${id}/y","host":"${id.slice(0, 12)}","z":"${"a".repeat(12)}"}`,
  );
  const found = findHoles(text, words.length, "web");
  expect(found?.holes).toEqual([id, "123456789", id.slice(0, 12)]);
  expect(Buffer.from(found?.skeleton ?? []).toString("latin1")).toBe(
    `create\0--bundle\0/run/\u0001\0\u0040\0/tmp/pty\u0001\u0001\u0009/s\0{"limit":137438953472,"path":"/x/\u0001\0\u0040/y","host":"\u0001\u0002\u000c","z":"${"a".repeat(12)}"}`,
  );
});

test("the container's ID is a hole where it is a name of its own", () => {
  const found = findHoles(Buffer.from('run\0web.1\0/a/web.1/b web.1x xweb.1 web.1-2 "web.1"'), 4, "web.1");
  expect(found?.holes).toEqual(["web.1"]);
  const hole = "\u0001\0\u0005";
  expect(Buffer.from(found?.skeleton ?? []).toString("latin1")).toBe(
    `run\0${hole}\0/a/${hole}/b web.1x xweb.1 web.1-2 "${hole}"`,
  );
});

test("numbers have other names among the words only", () => {
  const names = new Map([
    ["123456", "987654"],
    ["web", "abc"],
    ["0123456789ab", "a023456789cd"],
  ]);
  const text = "123456 x123456 web web.1 0123456789ab x-0123456789ab";
  expect(renameHoles(text, names)).toBe("987654 x987654 abc abc.1 a023456789cd x-a023456789cd");
  expect(renameBehind(text, names, "web")).toBe("123456 x123456 abc web.1 a023456789cd x-a023456789cd");
  expect(renameBehind(text, names, "123456")).toBe("987654 x123456 web web.1 a023456789cd x-a023456789cd");
});

test("a mark in the text, and more holes than can be told, are refused", () => {
  expect(findHoles(Buffer.from("a\u0001b"), 0, "")).toBeUndefined();
  const many = Array.from({ length: 33 }, (_, i) => `abcdef012345${(i + 16).toString(16)}`).join(" ");
  expect(findHoles(Buffer.from(many), 0, "")).toBeUndefined();
  expect(theirs(Buffer.from(many), 0, "")).toBe("-1\n");
});

test("both sides find the same", () => {
  const piece = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.constantFrom("/", "\0", " ", '"', "z", "G", "_", "-", ".", "z_z", "web-1", "1.2", "\u0001"),
    },
    { weight: 4, arbitrary: fc.stringMatching(/^[0-9a-f]{1,20}$/) },
    { weight: 2, arbitrary: fc.stringMatching(/^[0-9]{4,8}$/) },
    { weight: 1, arbitrary: fc.stringMatching(/^[0-9a-f]{250,260}$/) },
    { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 4 }) },
  );
  const ids = fc.constantFrom("z", "z_z", "web-1", "1.2", "abcdef012345", "");
  let found = 0;
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), fc.nat(80), ids, (pieces, words, id) => {
      const text = Buffer.from(pieces.join(""));
      if (ours(text, words, id).includes("\n", ours(text, words, id).indexOf("\n") + 1)) found++;
      expect(ours(text, words, id)).toBe(theirs(text, words, id));
    }),
    { numRuns: 60 },
  );
  expect(found).toBeGreaterThan(8);
});

test("long runs take no longer than their length", () => {
  const long = "x1".repeat(400_000);
  const before = performance.now();
  for (const words of [0, long.length]) {
    expect(theirs(Buffer.from(long), words, "web")).toBe(`${long.length}\n${long}`);
  }
  // A look at the whole rest at every byte would be 320,000,000,000 steps.
  expect(performance.now() - before).toBeLessThan(60_000);
}, 120_000);
