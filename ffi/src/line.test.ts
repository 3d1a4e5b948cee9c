import { beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import {
  encodeLine,
  FACT,
  fillPlaces,
  lineFact,
  lineFile,
  lineHeader,
  lineName,
  linePlace,
  type MakeLine,
  placesOf,
  placesOfLine,
  wordBytes,
} from "./line.ts";

const ffi = join(import.meta.dir, "..");
const id = "0123456789ab".padEnd(64, "c");
const bundle = "fedcba987654";
const line: MakeLine = {
  kind: "make",
  skeleton: wordBytes(["run", "--rm", "image", "true"]),
  facts: [
    { kind: "text", path: "/etc/resolv.conf", detail: "", value: "nameserver ::1\n" },
    { kind: "node", path: `/run/${bundle}`, detail: "up", value: "0 16877 ", isLate: true },
  ],
  holes: [
    { index: "fresh", text: id },
    { index: 3, text: bundle },
  ],
  directory: `/var/lib/bantubox/containers/${id}`,
  mode: 0o700,
  subdirectories: ["rootfs", "upper"],
  files: [
    ["config.json", JSON.stringify({ hostname: id.slice(0, 12) })],
    ["container.json", JSON.stringify({ id })],
  ],
  plan: Buffer.from(`plan of ${id} ${id.slice(0, 12)} in ${bundle}.`),
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
      (/^(skeleton|subdirectories|plan|content)(Bytes)?$/.test(name)
        ? name.replace(/^(.*?)(Bytes)?$/, (_, range, bytes) => `${range}.${bytes ? "bytes" : "offset"}`)
        : name
      ).replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    const structs = { header: lineHeader, fact: lineFact, file: lineFile, place: linePlace };
    const offsets = Object.entries(structs).flatMap(([struct, { offsets }]) =>
      Object.entries(offsets).map(([name, offset]) => [`offsetof(struct line_${struct}, ${theirName(name)})`, offset]),
    );
    const asked: [string, number][] = [
      ...Object.entries(structs).map(([name, { size }]): [string, number] => [`sizeof(struct line_${name})`, size]),
      ...(offsets as [string, number][]),
      ...Object.entries(FACT).map(([name, number]): [string, number] => [`FACT_${name.toUpperCase()}`, number]),
    ];
    const source = asked.map(([text]) => `printf("%lld\\n", (long long)(${text}));`).join("\n");
    writeFileSync(join(directory, "a.c"), `#include <stdio.h>\n#include "line.h"\nint main(void) { ${source} }\n`);
    const { stderr } = Bun.spawnSync(["cc", "-I", join(ffi, "c"), "-o", join(directory, "a"), join(directory, "a.c")]);
    expect(stderr.toString()).toBe("");
    const theirs = Bun.spawnSync([join(directory, "a")])
      .stdout.toString()
      .trim()
      .split("\n")
      .map(Number);
    expect(theirs).toEqual(asked.map(([, number]) => number));
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

test("what is encoded is accepted, and has its holes in all places", () => {
  const bytes = encodeLine(line);
  expect(decode(bytes)).toBe(0);
  const places = placesOfLine(bytes);
  const found = places.map(({ offset, hole, bytes: length }) => [
    hole,
    Buffer.from(bytes).toString("latin1", offset, offset + length),
  ]);
  const [whole, short] = [
    [0xffff, id],
    [0xffff, id.slice(0, 12)],
  ];
  expect(found).toEqual([[3, bundle], whole, short, whole, whole, short, [3, bundle]]);
  const other = "a".repeat(12);
  const filled = Buffer.from(fillPlaces(bytes, places, ["", "", "", other])).toString("latin1");
  expect(filled).toContain(`/run/${other}\0`);
  expect(filled).not.toContain(bundle);
  const { kind: _, directory: __, mode: ___, subdirectories: ____, files: _____, ...common } = line;
  expect(decode(encodeLine({ ...common, kind: "enter", record: "/run/x/pid" }))).toBe(0);
});

test("a damaged line is refused, or stays within itself", () => {
  const good = encodeLine(line);
  let accepted = 0;
  const runs = 60;
  fc.assert(
    fc.property(
      fc.nat(lineHeader.size + 2 * (lineFact.size + lineFile.size) - 1),
      fc.integer({ min: 1, max: 255 }),
      (at, change) => {
        const bytes = good.slice();
        bytes[at] = (bytes[at] ?? 0) ^ change;
        if (decode(bytes) === 0) accepted++;
      },
    ),
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
  const places = placesOf(Buffer.from(`${other} ${id}`), [{ index: 1, text: id }]);
  expect(places).toEqual([{ offset: 65, hole: 1, bytes: 64 }]);
  const both = placesOf(Buffer.from(`${id} ${id.slice(0, 12)}`), [
    { index: 0, text: id.slice(0, 12) },
    { index: 1, text: id },
  ]);
  expect(both).toEqual([
    { offset: 0, hole: 1, bytes: 64 },
    { offset: 65, hole: 0, bytes: 12 },
  ]);
});

test("a line's name is FNV-1a of its skeleton", () => {
  expect(lineName(new Uint8Array())).toBe("line-cbf29ce484222325");
  // http://www.isthe.com/chongo/tech/comp/fnv/: the 64-bit FNV-1a of "a\0" and of "foobar".
  expect(lineName(Buffer.from("a\0"))).toBe("line-089be207b544f1e4");
  expect(lineName(Buffer.from("foobar"))).toBe("line-85944171f73967e8");
});
