import { expect, setDefaultTimeout, test } from "bun:test";
import { isErrno } from "@bantubox/ffi";
import fc from "fast-check";
import { FUZZ_TIMEOUT_MS, runs } from "../fuzz-fixture.ts";
import { type TarEntry, TarReader } from "./tar.ts";
import { entryOf, type FixtureEntry, paxOf, tarOf } from "./tar-fixture.ts";

setDefaultTimeout(FUZZ_TIMEOUT_MS);

interface Read extends TarEntry {
  content: Buffer;
}

function read(
  archive: Uint8Array,
  chunkSize = archive.length,
  endMarker: "required" | "optional" = "required",
): Read[] {
  const entries: Read[] = [];
  const reader = new TarReader({
    begin: (entry) => entries.push({ ...entry, content: Buffer.alloc(Math.min(entry.size, 1 << 22)) }),
    data: (chunk, start, stop, position) => chunk.copy(entries.at(-1)?.content as Buffer, position, start, stop),
    end: () => {},
  });
  for (let at = 0; at < archive.length; at += chunkSize) reader.push(archive.subarray(at, at + chunkSize));
  reader.finish(endMarker);
  return entries;
}

function one(entry: FixtureEntry): Read {
  const entries = read(tarOf(entry));
  expect(entries.length).toBe(1);
  return entries[0] as Read;
}

function base256(value: number, length: number): Buffer {
  const field = Buffer.alloc(length, value < 0 ? 0xff : 0);
  field.writeBigInt64BE(BigInt(value), length - 8);
  field.writeUInt8(field.readUInt8(0) | 0x80, 0);
  return field;
}

test("TarReader reads every field of a ustar header", () => {
  const entry = one({ name: "dir/file", data: "hello", mode: 0o4755, uid: 1000, gid: 50, mtime: 1_234_567_890 });
  expect(entry).toMatchObject({
    type: "file",
    name: "dir/file",
    size: 5,
    mode: 0o4755,
    uid: 1000,
    gid: 50,
    mtime: 1_234_567_890,
    mtimeNs: 0,
  });
  expect(entry.content.toString()).toBe("hello");
});

test("TarReader joins a POSIX prefix, and star's shorter one, but not GNU's times", () => {
  const prefix = (block: Buffer) => block.write("some/where", 345);
  expect(one({ name: "file", patch: prefix }).name).toBe("some/where/file");
  const star = (block: Buffer) => {
    prefix(block);
    block.write("00000000000\0", 476, "latin1");
    block.write("00000000000\0", 488, "latin1");
    block.write("tar\0", 508, "latin1");
  };
  expect(one({ name: "file", patch: star }).name).toBe("some/where/file");
  const gnu = (block: Buffer) => {
    block.write("ustar  \0", 257, "latin1");
    block.write("00000000012\0", 345, "latin1");
  };
  expect(one({ name: "file", patch: gnu }).name).toBe("file");
});

test("TarReader keeps names as bytes, and two invalid UTF-8 names apart (JS-04)", () => {
  const names = [Buffer.from([0x61, 0xff]), Buffer.from([0x61, 0xfe])];
  const entries = read(tarOf(...names.map((name) => ({ name }))));
  expect(entries.map((entry) => Buffer.from(entry.name, "latin1"))).toEqual(names);
  const long = Buffer.concat([Buffer.from("x".repeat(200)), Buffer.from([0xff])]);
  expect(Buffer.from(one({ name: "short", pax: { path: long } }).name, "latin1")).toEqual(long);
});

test("TarReader takes names of GNU's long-name entries before PAX's, and PAX's before the header's", () => {
  const longName = "n".repeat(300);
  const longLink = "l".repeat(300);
  const archive = Buffer.concat([
    entryOf({ name: "x", type: "x", data: paxOf({ path: "pax", linkpath: "paxlink" }) }),
    entryOf({ name: "././@LongLink", type: "L", data: `${longName}\0` }),
    entryOf({ name: "././@LongLink", type: "K", data: `${longLink}\0` }),
    entryOf({ name: "short", type: "2", linkname: "short" }),
    tarOf({ name: "next" }),
  ]);
  expect(read(archive).map(({ name, linkname }) => [name, linkname])).toEqual([
    [longName, longLink],
    ["next", ""],
  ]);
});

test("TarReader reads base-256 numbers, negative ones too", () => {
  const entry = one({
    name: "file",
    patch: (block) => {
      base256(4_000_000_000, 8).copy(block, 108);
      base256(-12, 12).copy(block, 136);
    },
  });
  expect(entry).toMatchObject({ uid: 4_000_000_000, mtime: -12 });
});

test("TarReader applies PAX numbers and times, and ignores empty values", () => {
  const pax = {
    size: "5",
    uid: "3000000000",
    gid: "7",
    mtime: "-1.25",
    "SCHILY.xattr.user.a": Buffer.from([0xff, 0, 1]),
    linkpath: "",
  };
  const entry = one({ name: "file", data: "hello", size: 0, linkname: "kept", pax });
  expect(entry).toMatchObject({
    size: 5,
    uid: 3_000_000_000,
    gid: 7,
    mtime: -2,
    mtimeNs: 750_000_000,
    linkname: "kept",
  });
  expect(entry.xattrs).toEqual(new Map([["user.a", "\xff\0\x01"]]));
  expect(one({ name: "file", pax: { __proto__x: "1", "SCHILY.xattr.__proto__": "v" } }).xattrs).toEqual(
    new Map([["__proto__", "v"]]),
  );
});

test("TarReader ignores global headers, and does not apply a PAX size to other meta entries (GHSA-vmf3)", () => {
  const archive = Buffer.concat([
    entryOf({ name: "g", type: "g", data: paxOf({ path: "everywhere" }) }),
    entryOf({ name: "x", type: "x", data: paxOf({ size: "4" }) }),
    entryOf({ name: "././@LongLink", type: "L", data: "long-name\0" }),
    entryOf({ name: "short", data: "data", size: 0 }),
    tarOf({ name: "last" }),
  ]);
  expect(read(archive).map(({ name, size }) => [name, size])).toEqual([
    ["long-name", 4],
    ["last", 0],
  ]);
});

test("TarReader ignores the size of entries without data, and takes old directories by their slash", () => {
  const entries = read(
    tarOf(
      { name: "link", type: "2", linkname: "to", size: 99 },
      { name: "old/", type: "\0", size: 7 },
      { name: "reg/", data: "x" },
    ),
  );
  expect(entries.map(({ name, type, size }) => [name, type, size])).toEqual([
    ["link", "symlink", 0],
    ["old/", "directory", 0],
    ["reg/", "file", 1],
  ]);
});

test("TarReader puts the data of sparse files where it belongs, in PAX formats 0.0, 0.1 and 1.0", () => {
  const expected = Buffer.alloc(30);
  expected.write("abc", 2);
  expected.write("de", 20);
  const common = { name: "mangled", data: "abcde" };
  const records = { "GNU.sparse.name": "real", "GNU.sparse.numblocks": "2" };
  const map0 = Buffer.concat([
    paxOf({ "GNU.sparse.size": "30", "GNU.sparse.numblocks": "2" }),
    ...["2", "3", "20", "2"].map((value, i) =>
      paxOf({ [i % 2 === 0 ? "GNU.sparse.offset" : "GNU.sparse.numbytes"]: value }),
    ),
  ]);
  const data1 = Buffer.concat([Buffer.from("2\n2\n3\n20\n2\n".padEnd(512, "\0")), Buffer.from("abcde")]);
  for (const entry of [
    one({
      ...common,
      pax: {
        ...records,
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.size": "30",
        "GNU.sparse.map": "2,3,20,2",
      },
    }),
    one({
      ...common,
      data: data1,
      pax: { ...records, "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "30" },
    }),
    read(Buffer.concat([entryOf({ name: "x", type: "x", data: map0 }), tarOf(common)]))[0] as Read,
  ]) {
    expect(entry).toMatchObject({ size: 30, isSparse: true });
    expect(entry.content).toEqual(expected);
  }
});

test.each<[string, Buffer]>([
  ["a wrong checksum", tarOf({ name: "a" }).fill("b", 0, 1)],
  ["digits that are none", tarOf({ name: "a", patch: (block) => block.write("0000x", 100) })],
  ["a negative size", tarOf({ name: "a", patch: (block) => base256(-512, 12).copy(block, 124) })],
  [
    "a size beyond 2^53",
    tarOf({ name: "a", patch: (block) => base256(Number.MAX_SAFE_INTEGER, 12).fill(0x7f, 4).copy(block, 124) }),
  ],
  ["a negative PAX size (GHSA-8x88)", tarOf({ name: "a", pax: { size: "-1" } })],
  ["a PAX size that is no number (GHSA-w8wr)", tarOf({ name: "a", pax: { size: "0x10" } })],
  ["a PAX size above 2^53", tarOf({ name: "a", pax: { size: "9007199254740993" } })],
  ["a NUL in a PAX path (GHSA-gvwx)", tarOf({ name: "a", pax: { path: "a\0b" } })],
  ["a NUL in a PAX key", tarOf({ name: "a", pax: { "SCHILY.xattr.user.a\0b": "v" } })],
  ["a PAX record that is too long", tarOf({ name: "x", type: "x", data: "99 a=b\n" }, { name: "a" })],
  ["a PAX record without its newline", tarOf({ name: "x", type: "x", data: "6 a=bc" }, { name: "a" })],
  ["a PAX record without a key", tarOf({ name: "x", type: "x", data: "5 =b\n" }, { name: "a" })],
  ["a PAX header above 1 MiB", tarOf({ name: "x", type: "x", data: Buffer.alloc((1 << 20) + 1, 0x20) }, { name: "a" })],
  ["a long name above 1 MiB", tarOf({ name: "x", type: "L", size: 2 ** 32, data: "x" }, { name: "a" })],
  ["a PAX time that is none", tarOf({ name: "a", pax: { mtime: "yesterday" } })],
  ["an extended header with nothing behind it", tarOf({ name: "x", type: "x", data: paxOf({ path: "a" }) })],
  ["an entry behind one block of zeros", Buffer.concat([Buffer.alloc(512), tarOf({ name: "a" })])],
  [
    "a sparse map that overlaps",
    tarOf({
      name: "a",
      data: "abcde",
      pax: { "GNU.sparse.map": "2,3,4,2", "GNU.sparse.numblocks": "2", "GNU.sparse.size": "30" },
    }),
  ],
  [
    "a sparse map beyond the file",
    tarOf({
      name: "a",
      data: "abcde",
      pax: { "GNU.sparse.map": "28,5", "GNU.sparse.numblocks": "1", "GNU.sparse.size": "30" },
    }),
  ],
  [
    "a sparse map of less than the data",
    tarOf({
      name: "a",
      data: "abcde",
      pax: { "GNU.sparse.map": "2,3", "GNU.sparse.numblocks": "1", "GNU.sparse.size": "30" },
    }),
  ],
  [
    "a sparse directory",
    tarOf({ name: "a", type: "5", pax: { "GNU.sparse.map": "0,0", "GNU.sparse.numblocks": "1" } }),
  ],
  [
    "an endless sparse map",
    tarOf({ name: "a", data: Buffer.alloc(3 << 20, "1\n"), pax: { "GNU.sparse.major": "1", "GNU.sparse.minor": "0" } }),
  ],
])("TarReader refuses %s (TAR-04)", (_, archive) => {
  expect(() => read(archive)).toThrow(expect.objectContaining({ code: "tar-corrupt" }));
});

const sample = tarOf(
  { name: "dir/", type: "5" },
  { name: "dir/file", data: "some content" },
  { name: "x", pax: { path: "p".repeat(120), mtime: "1.5" }, data: Buffer.alloc(600, 7) },
  { name: "././@LongLink", type: "L", data: `${"q".repeat(150)}\0` },
  { name: "q", type: "1", linkname: "dir/file" },
  {
    name: "s",
    data: "abcde",
    pax: { "GNU.sparse.map": "2,3,20,2", "GNU.sparse.numblocks": "2", "GNU.sparse.size": "30" },
  },
);

test("TarReader reads the same whatever the chunks are (FZ-01)", () => {
  const whole = read(sample);
  expect(whole.length).toBe(5);
  for (const size of [1, 3, 511, 512, 513, 1000]) expect(read(sample, size)).toEqual(whole);
});

test("TarReader takes truncation anywhere for an error (FZ-01)", () => {
  const end = sample.length - 512;
  for (let length = 0; length < end; length += 1 + (length % 97)) {
    expect(() => read(sample.subarray(0, length), 4096)).toThrow(expect.objectContaining({ code: "tar-corrupt" }));
  }
});

test("TarReader does without the end marker where that is allowed, but only between entries", () => {
  const entry = entryOf({ name: "a", data: "abc" });
  expect(read(entry, 512, "optional").length).toBe(1);
  expect(read(Buffer.concat([entry, Buffer.alloc(512)]), 512, "optional").length).toBe(1);
  expect(() => read(entry.subarray(0, 600), 512, "optional")).toThrow("it ends within an entry");
});

test("TarReader makes entries or a typed error of any bytes (FZ-01)", () => {
  const mutation = fc.record({ at: fc.nat(sample.length - 1), byte: fc.nat(255) });
  fc.assert(
    fc.property(
      fc.array(mutation, { maxLength: 8 }),
      fc.integer({ min: 1, max: 2000 }),
      fc.boolean(),
      (mutations, chunk, reseal) => {
        const archive = Buffer.from(sample);
        for (const { at, byte } of mutations) {
          archive[at] = byte;
          const block = at - (at % 512);
          // Without a right checksum most changes would be found by that alone.
          if (reseal) fixChecksum(archive.subarray(block, block + 512));
        }
        const results = [archive.length, chunk].map((size) => {
          try {
            return read(archive, size);
          } catch (error) {
            if (isErrno(error, "tar-corrupt")) return error.message;
            throw error;
          }
        });
        expect(results[1]).toEqual(results[0]);
      },
    ),
    runs(300),
  );
});

function fixChecksum(block: Buffer): void {
  block.fill(" ", 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
}
