import { beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import {
  ADDRESS_BYTES,
  encodeLine,
  FACT,
  fillPlaces,
  HOLE,
  LINE_KIND,
  lineFact,
  lineFile,
  lineHeader,
  lineName,
  linePlace,
  type MakeLine,
  type Place,
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

/** The same on a bridge. */
const leased: MakeLine = {
  ...line,
  facts: [...line.facts, { kind: "accepts", path: "", detail: "12", value: message(17) + message(16) }],
  files: [...line.files, ["address", "0a580002", [{ offset: 0, hole: HOLE.address, bytes: ADDRESS_BYTES.digits }]]],
  lease: { directory: "/run/bantubox/leases", first: 0x0a580002, count: 65_533 },
  // In the 30 bytes of the plan that are no hole.
  planPlaces: [
    { offset: 0, hole: HOLE.link, bytes: 4 },
    { offset: 4, hole: HOLE.address, bytes: ADDRESS_BYTES.binary },
    { offset: 8 + 64, hole: HOLE.fresh, bytes: 1 },
  ],
};

/** A netlink message of so many bytes that asks for an acknowledgement, padded. */
function message(bytes: number, flags = 5): string {
  const buffer = Buffer.alloc(Math.max(16, Math.min((bytes + 3) & ~3, 64)));
  buffer.writeUInt32LE(bytes, 0);
  buffer.writeUInt16LE(flags, 6);
  return buffer.toString("latin1");
}

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
      ...Object.entries(HOLE).map(([name, number]): [string, number] => [`HOLE_${name.toUpperCase()}`, number]),
      ...Object.entries(ADDRESS_BYTES).map(([name, n]): [string, number] => [`ADDRESS_${name.toUpperCase()}`, n]),
      ...Object.entries(FACT).map(([name, number]): [string, number] => [`FACT_${name.toUpperCase()}`, number]),
      ...Object.entries(LINE_KIND).map(([name, number]): [string, number] => [`LINE_${name.toUpperCase()}`, number]),
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

/** What the decoder says of a file, which is filled when it is accepted; under sanitizers. */
function decode(bytes: Uint8Array): number {
  return Number(said(bytes)[0]);
}

/** The same, and how many messages it counts in each fact that has some. */
function said(bytes: Uint8Array, ...filled: string[]): string[] {
  const { stdout, stderr } = Bun.spawnSync([join(ffi, "build/fuzz-line"), ...filled], { stdin: bytes });
  expect(stderr.toString()).toBe("");
  return stdout.toString().trimEnd().split("\n");
}

/** What fuzz-line makes of a line. */
function filledBy(bytes: Uint8Array): Buffer {
  const directory = mkdtempSync(join(tmpdir(), "bb-line-"));
  try {
    const file = join(directory, "filled");
    expect(said(bytes, file)[0]).toBe("0");
    return readFileSync(file);
  } finally {
    rmSync(directory, { recursive: true });
  }
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
  const made = {
    directory: "/run/x",
    groups: ["/sys/fs/cgroup/x"],
    pieces: [["pid", "{"]],
  } as const;
  expect(decode(encodeLine({ ...common, kind: "made", ...made }))).toBe(0);
});

test("both sides fill the same: IDs, an address in all its ways, and a link", () => {
  const plan = Buffer.alloc(60, ".");
  const address = (offset: number, kind: keyof typeof ADDRESS_BYTES): Place => ({
    offset,
    hole: HOLE.address,
    bytes: ADDRESS_BYTES[kind],
  });
  const planPlaces = [
    address(0, "text"),
    address(16, "digits"),
    address(25, "binary"),
    { offset: 30, hole: HOLE.link, bytes: 4 },
    { offset: 35, hole: HOLE.fresh, bytes: 9 },
  ];
  const bytes = encodeLine({ ...leased, plan, planPlaces });
  const theirs = filledBy(bytes);
  const own = { id: "e".repeat(64), address: 0xc0a80c7b, link: 0x7fedcba9 };
  expect(theirs.equals(fillPlaces(bytes, placesOfLine(bytes), Array(32).fill("h".repeat(255)), own))).toBe(true);
  const { plan: at } = lineHeader.decode(bytes);
  expect(theirs.toString("latin1", at, at + 45)).toBe(
    "192.168.12.123 .c0a80c7b.\xc0\xa8\x0c\x7b.\xa9\xcb\xed\x7f.eeeeeeeee.",
  );
  expect(theirs.toString("latin1")).not.toContain("0a580002");
  // Nothing of it is in a line without leases.
  expect(decode(encodeLine({ ...line, plan, planPlaces }))).not.toBe(0);
  for (const bytes of [3, 5, 64]) {
    const places = [{ offset: 0, hole: HOLE.address, bytes }];
    expect(decode(encodeLine({ ...leased, plan: Buffer.alloc(99), planPlaces: places }))).not.toBe(0);
  }
});

test.each([
  ["one", message(16), 1],
  ["three, of other lengths", message(17) + message(16) + message(40), 3],
  ["the last one without its padding", message(16) + message(17).slice(0, 17), 2],
  ["none", "", 0],
  ["less than a header", message(16).slice(0, 15), 0],
  ["the beginning of another", `${message(16)}\x10`, 0],
  ["a length of less than a header", message(15), 0],
  ["a length of more than there is", message(20).slice(0, 19), 0],
  ["a length of nothing", message(0), 0],
  ["a length that wraps around", message(0xffffffff), 0],
  ["what is not acknowledged, and would be waited for", message(16) + message(16, 1), 0],
  ["a dump", message(16, 0x305), 0],
])("netlink messages are counted: %s", (_, value, count) => {
  const bytes = encodeLine({ ...leased, facts: [{ kind: "accepts", path: "", detail: "0", value }] });
  expect(said(bytes)).toEqual(["0", `${count} messages`]);
});

test.each([
  ["0a580001", "10.88.0.1"],
  ["fffefd00", "255.254.253.0"],
  ["0A580001", "no address"],
  ["0a58000", "no address"],
  ["0a5800011", "no address"],
  ["0a58000g", "no address"],
  ["", "no address"],
])("digits of an address are read: %j is %s", (detail, address) => {
  const bytes = encodeLine({ ...leased, facts: [{ kind: "interface", path: "bb0", detail, value: "" }] });
  expect(said(bytes)).toEqual(["0", address]);
});

test("a damaged line is refused, or stays within itself", () => {
  const good = encodeLine(leased);
  let accepted = 0;
  const runs = 80;
  fc.assert(
    fc.property(
      fc.oneof(
        fc.nat(lineHeader.size + 3 * (lineFact.size + lineFile.size) - 1),
        // Places are at the end, in front of the last byte.
        fc.nat(placesOfLine(good).length * linePlace.size).map((back) => good.length - 1 - back),
      ),
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
