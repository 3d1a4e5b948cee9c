import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isErrno } from "@bantubox/ffi";
import fc from "fast-check";
import { FUZZ_TIMEOUT_MS, runs } from "../fuzz-fixture.ts";
import { type TarEntry, TarReader } from "./tar.ts";
import { entryOf, type FixtureEntry, tarOf } from "./tar-fixture.ts";

interface Found
  extends Pick<TarEntry, "type" | "name" | "linkname" | "size" | "mode" | "uid" | "gid" | "mtime" | "mtimeNs"> {
  readonly xattrs: Record<string, string>;
  readonly data: string;
}

function read(archive: Uint8Array, chunk = archive.length): Found[] {
  const entries: Found[] = [];
  let parts: Buffer[] = [];
  let current: TarEntry | undefined;
  const reader = new TarReader({
    begin(entry) {
      current = entry;
      parts = [];
    },
    data(bytes, start, stop) {
      parts.push(Buffer.from(bytes.subarray(start, stop)));
    },
    end() {
      if (current === undefined) return;
      const { type, name, linkname, size, mode, uid, gid, mtime, mtimeNs, xattrs } = current;
      const data = Buffer.concat(parts).toString("latin1");
      entries.push({
        type,
        name,
        linkname,
        size,
        mode,
        uid,
        gid,
        mtime,
        mtimeNs,
        xattrs: Object.fromEntries(xattrs ?? []),
        data,
      });
    },
  });
  for (let at = 0; at < archive.length; at += chunk) reader.push(archive.subarray(at, at + chunk));
  reader.finish("required");
  return entries;
}

const LETTERS = { file: "0", hardlink: "1", symlink: "2", directory: "5", fifo: "6" } as const;
type Kind = keyof typeof LETTERS;

/** A byte string without NUL, as Linux has names. */
const bytes = (maxLength: number): fc.Arbitrary<string> =>
  fc
    .array(fc.integer({ min: 1, max: 255 }), { minLength: 1, maxLength })
    .map((codes) => String.fromCharCode(...codes))
    .filter((name) => !name.endsWith("/"));

/** The same, often longer than a header's field. */
const long: fc.Arbitrary<string> = fc
  .tuple(bytes(12), fc.integer({ min: 1, max: 40 }))
  .map(([text, times]) => text.repeat(times));

const entry: fc.Arbitrary<Found> = fc
  .record({
    type: fc.constantFrom<Kind>("file", "file", "file", "hardlink", "symlink", "directory", "fifo"),
    name: fc.oneof(bytes(20), long),
    linkname: fc.oneof(bytes(20), long),
    mode: fc.integer({ min: 0, max: 0o7777 }),
    uid: fc.oneof(fc.nat(0o7777777), fc.nat(2 ** 32 - 2)),
    gid: fc.oneof(fc.nat(0o7777777), fc.nat(2 ** 32 - 2)),
    mtime: fc.oneof(fc.nat(2 ** 31), fc.integer({ min: -(2 ** 31), max: 2 ** 40 })),
    mtimeNs: fc.oneof(fc.constant(0), fc.nat(999_999_999)),
    xattrs: fc.dictionary(fc.constantFrom("user.a", "user.b", "security.capability"), bytes(40), { maxKeys: 2 }),
    data: fc.oneof(fc.constant(""), bytes(20), bytes(1500)),
  })
  .map((made) => {
    const isLink = made.type === "hardlink" || made.type === "symlink";
    const data = made.type === "file" ? made.data : "";
    return { ...made, linkname: isLink ? made.linkname : "", data, size: data.length };
  });

/** Where a field takes the value it is written there, else in an extended header: both ways are read. */
function write({ type, name, linkname, mode, uid, gid, mtime, mtimeNs, xattrs, data }: Found): FixtureEntry {
  const raw = (text: string): Buffer => Buffer.from(text, "latin1");
  const pax: Record<string, Buffer | string> = {};
  if (name.length > 100) pax["path"] = raw(name);
  if (linkname.length > 100) pax["linkpath"] = raw(linkname);
  if (uid > 0o7777777) pax["uid"] = String(uid);
  if (gid > 0o7777777) pax["gid"] = String(gid);
  const isPlainTime = mtime >= 0 && mtime <= 0o77777777777 && mtimeNs === 0;
  if (!isPlainTime) pax["mtime"] = paxTime(mtime, mtimeNs);
  for (const [key, value] of Object.entries(xattrs)) pax[`SCHILY.xattr.${key}`] = raw(value);
  return {
    type: LETTERS[type as Kind],
    name: raw(name),
    linkname: raw(linkname),
    mode,
    uid: uid > 0o7777777 ? 0 : uid,
    gid: gid > 0o7777777 ? 0 : gid,
    mtime: isPlainTime ? mtime : 0,
    data: raw(data),
    ...(Object.keys(pax).length > 0 && { pax }),
  };
}

/** Seconds with a fraction; of a negative time the fraction counts away from zero. */
function paxTime(seconds: number, nanoseconds: number): string {
  const isNegative = seconds < 0 && nanoseconds > 0;
  const [whole, rest] = isNegative ? [seconds + 1, 1_000_000_000 - nanoseconds] : [seconds, nanoseconds];
  const sign = isNegative && whole === 0 ? "-" : "";
  return `${sign}${whole}${rest === 0 ? "" : `.${String(rest).padStart(9, "0")}`}`;
}

test(
  "TarReader reads what was written, whatever the chunks are (FZ-01)",
  () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 5 }), fc.integer({ min: 1, max: 1500 }), (entries, chunk) => {
        const archive = tarOf(...entries.map(write));
        expect(read(archive)).toEqual(entries);
        expect(read(archive, chunk)).toEqual(entries);
        for (const { type, name, mtime, mtimeNs } of entries) {
          seen.add(type);
          if (name.length > 100) seen.add("long name");
          if (mtime < 0 && mtimeNs > 0) seen.add("time before 1970");
        }
      }),
      runs(200),
    );
    expect([...seen].sort()).toEqual([...Object.keys(LETTERS), "long name", "time before 1970"].sort());
  },
  FUZZ_TIMEOUT_MS,
);

test(
  "TarReader takes an archive that is cut anywhere for corrupt, and a damaged one for that or for another (FZ-01)",
  () => {
    let refused = 0;
    let taken = 0;
    fc.assert(
      fc.property(
        fc.array(entry, { minLength: 1, maxLength: 3 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }),
        (entries, share, damage) => {
          const archive = tarOf(...entries.map(write));
          const end = archive.length - 512;
          const cut = Math.floor(end * share);
          expect(() => read(archive.subarray(0, cut), 700)).toThrow(expect.objectContaining({ code: "tar-corrupt" }));
          for (const [at, byte] of damage) archive[at % archive.length] = byte;
          try {
            read(archive, 700);
            taken++;
          } catch (error) {
            if (!isErrno(error, "tar-corrupt")) throw error;
            refused++;
          }
        },
      ),
      runs(200),
    );
    expect(Math.min(refused, taken)).toBeGreaterThan(5);
  },
  FUZZ_TIMEOUT_MS,
);

const python = ["/usr/bin/python3", "python3"].find((name) => spawnSync(name, ["-c", "import tarfile"]).status === 0);

test.skipIf(python === undefined)(
  `TarReader and Python's tarfile find the same entries (FZ-01)${python === undefined ? " (skipped: no python3 here)" : ""}`,
  () => {
    const directory = mkdtempSync(join(tmpdir(), "bb-tar-"));
    try {
      const archives = fc.sample(fc.array(entry, { minLength: 1, maxLength: 5 }), { numRuns: 60, seed: 20260101 });
      const script = `
import json, sys, tarfile
kinds = {b"0": "file", b"1": "hardlink", b"2": "symlink", b"5": "directory", b"6": "fifo"}
out = []
for path in sys.argv[1:]:
    with tarfile.open(path, encoding="latin1", errors="strict") as tar:
        out.append([[kinds[m.type], m.name, m.linkname, m.size, m.mode, m.uid, m.gid, int(m.mtime // 1)] for m in tar])
print(json.dumps(out))`;
      const paths = archives.map((entries, n) => {
        const path = join(directory, `${n}.tar`);
        // Python takes PAX text for UTF-8 and strips slashes from directories: names of letters, as both should read.
        writeFileSync(path, tarOf(...entries.map((made) => write(ascii(made)))));
        return path;
      });
      const { stdout, stderr } = spawnSync(python ?? "", ["-c", script, ...paths], { encoding: "utf8" });
      expect(stderr).toBe("");
      const ours = archives.map((entries, n) =>
        read(tarOf(...entries.map((made) => write(ascii(made)))), 100 + n).map(
          ({ type, name, linkname, size, mode, uid, gid, mtime }) => [
            type,
            name,
            linkname,
            size,
            mode,
            uid,
            gid,
            mtime,
          ],
        ),
      );
      expect(JSON.parse(stdout)).toEqual(ours);
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
);

function ascii(made: Found): Found {
  const letters = (text: string): string =>
    text.replace(/[^a-z]/g, (other) => String.fromCharCode(97 + (other.charCodeAt(0) % 26)));
  // And times are floating-point numbers there.
  return { ...made, name: letters(made.name), linkname: letters(made.linkname), xattrs: {}, mtimeNs: 0 };
}

test("GNU tar lists what the writer of these tests writes, and so what TarReader reads (FZ-01)", () => {
  const entries = fc.sample(entry, { numRuns: 40, seed: 20260102 }).map(ascii);
  const { stdout, stderr } = spawnSync("tar", ["--numeric-owner", "--full-time", "-tvf", "-"], {
    input: Buffer.concat([...entries.map((made) => entryOf(write(made))), Buffer.alloc(1024)]),
    encoding: "utf8",
    env: { ...process.env, TZ: "UTC", LC_ALL: "C" },
  });
  expect(stderr).toBe("");
  const lines = stdout.trim().split("\n");
  expect(lines.length).toBe(entries.length);
  for (const [n, { type, name, linkname, uid, gid, size }] of entries.entries()) {
    const text =
      type === "symlink" ? `${name} -> ${linkname}` : type === "hardlink" ? `${name} link to ${linkname}` : name;
    expect(lines[n]).toContain(`${uid}/${gid}`);
    expect(lines[n]).toMatch(new RegExp(` ${size} .* ${text}/?$`));
  }
});
