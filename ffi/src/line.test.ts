import { beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { encodeLine, FACT, lineFact, lineHeader, lineName, placesOf, type RunLine } from "./line.ts";

const ffi = join(import.meta.dir, "..");
const id = "0123456789ab".padEnd(64, "c");
const line: RunLine = {
  kind: "run",
  words: ["run", "--rm", "image", "true"],
  facts: [
    { kind: "text", path: "/etc/resolv.conf", detail: "", value: "nameserver ::1\n" },
    { kind: "node", path: "/", detail: "up", value: "0 16877 ", isLate: true },
  ],
  id,
  directory: "/var/lib/bantubox/containers",
  config: JSON.stringify({ hostname: id.slice(0, 12) }),
  record: JSON.stringify({ id }),
  plan: Buffer.from(`plan of ${id} ${id.slice(0, 12)}.`),
  passed: 97,
  nofile: 1024,
};

beforeAll(() => {
  const built = Bun.spawnSync(["make", "-s", "-C", ffi, "build/fuzz-line"]);
  expect(built.stderr.toString()).toBe("");
});

test("the line's layout and numbers are those of c/line.h", () => {
  const directory = mkdtempSync(join(tmpdir(), "bb-line-"));
  try {
    // A range is two of our fields.
    const theirName = (name: string): string =>
      (/^(words|config|record|plan)(Bytes)?$/.test(name)
        ? name.replace(/^(.*?)(Bytes)?$/, (_, range, bytes) => `${range}.${bytes ? "bytes" : "offset"}`)
        : name
      ).replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    const fields = Object.keys(lineHeader.offsets).filter((name) => !name.startsWith("_"));
    const factFields = Object.keys(lineFact.offsets);
    const asked = [
      "sizeof(struct line_header)",
      "sizeof(struct line_fact)",
      ...fields.map((name) => `offsetof(struct line_header, ${theirName(name)})`),
      ...factFields.map((name) => `offsetof(struct line_fact, ${theirName(name)})`),
      ...Object.keys(FACT).map((name) => `FACT_${name.toUpperCase()}`),
    ];
    const source = asked.map((text) => `printf("%lld\\n", (long long)(${text}));`).join("\n");
    writeFileSync(join(directory, "a.c"), `#include <stdio.h>\n#include "line.h"\nint main(void) { ${source} }\n`);
    const { stderr } = Bun.spawnSync(["cc", "-I", join(ffi, "c"), "-o", join(directory, "a"), join(directory, "a.c")]);
    expect(stderr.toString()).toBe("");
    const theirs = Bun.spawnSync([join(directory, "a")])
      .stdout.toString()
      .trim()
      .split("\n")
      .map(Number);
    expect(theirs).toEqual([
      lineHeader.size,
      lineFact.size,
      ...fields.map((name) => lineHeader.offsets[name as keyof typeof lineHeader.offsets]),
      ...factFields.map((name) => lineFact.offsets[name as keyof typeof lineFact.offsets]),
      ...Object.values(FACT),
    ]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

/** What the decoder says of a file, under sanitizers. */
function decode(bytes: Uint8Array): number {
  const { stdout, stderr } = Bun.spawnSync([join(ffi, "build/fuzz-line")], { stdin: bytes });
  expect(stderr.toString()).toBe("");
  return Number(stdout.toString());
}

test("what is encoded is accepted, and has its ID in all places", () => {
  const bytes = encodeLine(line);
  expect(decode(bytes)).toBe(0);
  const header = lineHeader.decode(bytes);
  expect([header.wholeCount, header.shortCount]).toEqual([2, 2]);
  const text = Buffer.from(bytes).toString("latin1");
  for (const [at, count, length] of [
    [header.whole, header.wholeCount, 64],
    [header.beginnings, header.shortCount, 12],
  ] as const) {
    const places = new Uint32Array(bytes.slice(at, at + 4 * count).buffer);
    for (const place of places) expect(text.slice(place, place + length)).toBe(id.slice(0, length));
  }
  expect(text.slice(header.config, header.config + header.configBytes)).toBe(line.config);
  expect(decode(encodeLine({ ...line, kind: "exec", pid: 7 }))).toBe(0);
});

test("a damaged line is refused, or stays within itself", () => {
  const good = encodeLine(line);
  let accepted = 0;
  const runs = 60;
  fc.assert(
    fc.property(fc.nat(lineHeader.size + 2 * lineFact.size - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const bytes = good.slice();
      bytes[at] = (bytes[at] ?? 0) ^ change;
      if (decode(bytes) === 0) accepted++;
    }),
    { numRuns: runs },
  );
  // Numbers such as the pid may be anything.
  expect(accepted).toBeGreaterThan(0);
  expect(accepted).toBeLessThan(runs);
  for (const length of [0, 3, lineHeader.size, lineHeader.size + 1, good.length - 1]) {
    expect(decode(good.subarray(0, length))).not.toBe(0);
  }
  expect(decode(Buffer.concat([good, Buffer.alloc(4)]))).not.toBe(0);
});

test("an ID that begins like another is not found in it", () => {
  const other = id.slice(0, 20).padEnd(64, "d");
  expect(placesOf(Buffer.from(`${other} ${id}`), id)).toEqual({ whole: [65], short: [0] });
});

test("a line's name is FNV-1a of its words with their ends", () => {
  expect(lineName([])).toBe("line-cbf29ce484222325");
  // http://www.isthe.com/chongo/tech/comp/fnv/: the 64-bit FNV-1a of "a\0".
  expect(lineName(["a"])).toBe("line-089be207b544f1e4");
});
