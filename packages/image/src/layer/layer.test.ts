import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { lstatSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { FUZZ_TIMEOUT_MS, runs } from "../fuzz-fixture.ts";
import { type FixtureEntry, tarOf } from "../tar/tar-fixture.ts";
import { components, splitName, walkInRoot } from "./extract-directories.ts";
import { describeTree, temporaryDirectory } from "./extract-fixture.ts";
import { extractLayer, type LayerOptions, type LayerResult } from "./layer.ts";

// Owners, device nodes and trusted attributes are root's business.
const isRoot = process.geteuid?.() === 0;

let temporary: string;
let root: string;

beforeEach(() => {
  temporary = temporaryDirectory();
  root = join(temporary, "outer", "root");
  mkdirSync(root, { recursive: true });
});

afterEach(() => {
  rmSync(temporary, { recursive: true, force: true });
});

async function* chunked(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

function extract(archive: Uint8Array, options: Partial<LayerOptions> = {}): Promise<LayerResult> {
  return extractLayer({ blob: chunked(archive, 64 << 10), directory: root, ...options });
}

function sha256(bytes: Uint8Array): string {
  return `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
}

/** Without times, and without the root. */
function tree(): string[] {
  return describeTree(root, { times: false }).slice(1);
}

const hello = "5 aaf4c61ddcc5";

test(
  "splitName() takes its short way to the same end",
  () => {
    const name = fc
      .array(fc.constantFrom("a", ".", "..", "", ".b", "c.", "/", "d e"), { maxLength: 6 })
      .map((parts) => parts.join("/"));
    fc.assert(
      fc.property(name, (path) => {
        const parts = components(path);
        const leaf = parts.pop();
        expect(splitName(path)).toEqual({ parent: parts.join("/"), leaf });
      }),
      runs(1000),
    );
  },
  FUZZ_TIMEOUT_MS,
);

describe.skipIf(!isRoot)(`extractLayer()${isRoot ? "" : " (skipped: owners and devices need root)"}`, () => {
  test("verifies digests and says what it read", async () => {
    const archive = tarOf({ name: "a", data: "hello" });
    const blob = gzipSync(archive);
    const progress: number[] = [];
    const result = await extract(blob, {
      digest: sha256(blob),
      diffId: sha256(archive),
      mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
      onProgress: (bytes) => progress.push(bytes),
    });
    expect(result).toEqual({ diffId: sha256(archive), bytes: archive.length, entries: 1, isRootOpaque: false });
    expect(progress.at(-1)).toBe(blob.length);
    expect(readFileSync(join(root, "a"), "utf8")).toBe("hello");
  });

  test("refuses other bytes than the digests name, other types, and digests of no known form", async () => {
    const archive = tarOf({ name: "a", data: "hello" });
    const wrong = sha256(Buffer.from("wrong"));
    const corrupt = expect.objectContaining({ code: "layer-corrupt" });
    await expect(extract(archive, { digest: wrong })).rejects.toEqual(corrupt);
    await expect(extract(archive, { diffId: wrong })).rejects.toEqual(corrupt);
    await expect(extract(archive, { digest: "md5:00" })).rejects.toMatchObject({ code: "layer-invalid" });
    await expect(extract(archive, { mediaType: "text/html" })).rejects.toMatchObject({ code: "layer-unsupported" });
  });

  test.each<[string, (archive: Buffer) => Buffer]>([
    ["plain", (archive) => archive],
    ["gzip", (archive) => gzipSync(archive)],
    [
      "gzip of several members",
      (archive) => Buffer.concat([gzipSync(archive.subarray(0, 700)), gzipSync(archive.subarray(700))]),
    ],
    ["gzip with trailing NULs", (archive) => Buffer.concat([gzipSync(archive), Buffer.alloc(5000)])],
    ["zstd", (archive) => zstdCompressSync(archive)],
    [
      "zstd of several frames, one skippable",
      (archive) =>
        Buffer.concat([
          Buffer.from("502a4d180400000001020304", "hex"),
          zstdCompressSync(archive.subarray(0, 700)),
          zstdCompressSync(archive.subarray(700)),
        ]),
    ],
    ["tar with bytes behind its end", (archive) => Buffer.concat([archive, Buffer.alloc(9000)])],
  ])("reads %s, in chunks of any size and from a file, and hashes it to its end", async (_, compress) => {
    const blob = compress(tarOf({ name: "a", data: "hello" }, { name: "b", data: Buffer.alloc(70_000, "b") }));
    for (const size of [7, 513, 1 << 20]) {
      await extractLayer({ blob: chunked(blob, size), directory: root, digest: sha256(blob) });
    }
    const file = join(temporary, "blob");
    writeFileSync(file, blob);
    await extractLayer({ blob: file, directory: root, digest: sha256(blob) });
    expect(tree()).toEqual([`a 100644 0:0 ${hello}`, expect.stringMatching(/^b 100644 0:0 70000 /)]);
  });

  test.each<[string, (archive: Buffer) => Buffer]>([
    ["plain", (archive) => archive],
    ["gzip", (archive) => gzipSync(archive)],
    ["zstd", (archive) => zstdCompressSync(archive)],
  ])("takes a %s layer that ends early for corrupt, without any digest", async (_, compress) => {
    const noise = Buffer.from(Array.from({ length: 9000 }, (_, i) => (i * i * 31) % 251));
    const blob = compress(tarOf({ name: "a", data: noise }, { name: "b", data: noise }));
    for (const length of [0, 1, 5, 100, 600, blob.length >> 1, blob.length - 1100, blob.length - 600]) {
      if (length >= blob.length || length < 0) continue;
      await expect(extract(blob.subarray(0, length))).rejects.toMatchObject({
        code: expect.stringMatching(/^(tar|layer)-corrupt$/),
      });
    }
  });

  test("keeps owners, modes with setuid, times, links, devices and attributes", async () => {
    const capability = Buffer.from("0100000200200000000000000000000000000000", "hex");
    await extract(
      tarOf(
        { name: ".", type: "5", mode: 0o555, uid: 3, gid: 4, mtime: 77 },
        { name: "dir", type: "5", mode: 0o3775, uid: 1, gid: 50, mtime: 1_000_000_001 },
        {
          name: "dir/setuid",
          data: "hello",
          mode: 0o6755,
          uid: 1000,
          gid: 1001,
          pax: { mtime: "1000000002.123456789" },
        },
        { name: "dir/ping", data: "hello", mode: 0o755, pax: { "SCHILY.xattr.security.capability": capability } },
        { name: "dir/wide", data: "hello", mode: 0o666 },
        { name: "dir/hard", type: "1", linkname: "dir/setuid" },
        { name: "dir/soft", type: "2", linkname: "/dir/../setuid", uid: 5, gid: 6, pax: { mtime: "-5" } },
        { name: "dir/null", type: "3", devMajor: 1, devMinor: 3, mode: 0o666 },
        { name: "dir/disk", type: "4", devMajor: 8, devMinor: 1, mode: 0o660, gid: 6 },
        { name: "dir/fifo", type: "6", mode: 0o622 },
      ),
    );
    const ns = (seconds: number) => `${seconds}000000000`;
    expect(describeTree(root)).toEqual([
      `/ 40555 3:4 ${ns(77)}`,
      `dir 43775 1:50 ${ns(1_000_000_001)}`,
      `dir/disk 60660 0:6 ${ns(1_000_000_000)} device 8:1`,
      `dir/fifo 10622 0:0 ${ns(1_000_000_000)}`,
      `dir/hard 106755 1000:1001 1000000002123456789 ${hello}`,
      `dir/null 20666 0:0 ${ns(1_000_000_000)} device 1:3`,
      `dir/ping 100755 0:0 ${ns(1_000_000_000)} ${hello} security.capability=${capability.toString("hex")}`,
      `dir/setuid 106755 1000:1001 1000000002123456789 = dir/hard ${hello}`,
      `dir/soft 120777 5:6 ${ns(-5)} -> /dir/../setuid`,
      `dir/wide 100666 0:0 ${ns(1_000_000_000)} ${hello}`,
    ]);
  });

  test("drops attributes that overlay or the host's security modules would read (RT-19, TAR-07)", async () => {
    const names = [
      "trusted.overlay.opaque",
      "trusted.overlay.redirect",
      "user.overlay.opaque",
      "trusted.x",
      "security.selinux",
      "user.kept",
    ];
    const pax = Object.fromEntries(names.map((name) => [`SCHILY.xattr.${name}`, "y"]));
    await extract(tarOf({ name: "dir", type: "5", pax }, { name: "file", data: "hello", pax }));
    expect(tree()).toEqual(["dir 40755 0:0 user.kept=79", `file 100644 0:0 ${hello} user.kept=79`]);
  });

  test("makes whiteouts and opaque directories, whatever the order, for lower layers only (TAR-03)", async () => {
    const entries: FixtureEntry[] = [
      { name: "a/.wh.gone" },
      { name: "a/.wh.kept" },
      { name: "a/kept", data: "hello" },
      { name: "a/.wh.again" },
      { name: "a/again/", type: "5" },
      { name: "a/again/file", data: "hello" },
      { name: "b/.wh..wh..opq" },
      { name: "b/file", data: "hello" },
      { name: ".wh..wh.plnk/12.34", data: "aufs" },
      { name: ".wh..wh.aufs" },
    ];
    const expected = [
      "a 40755 0:0",
      "a/again 40755 0:0 trusted.overlay.opaque=79",
      `a/again/file 100644 0:0 ${hello}`,
      "a/gone 20000 0:0 device 0:0",
      `a/kept 100644 0:0 ${hello}`,
      "b 40755 0:0 trusted.overlay.opaque=79",
      `b/file 100644 0:0 ${hello}`,
    ];
    expect((await extract(tarOf(...entries))).isRootOpaque).toBe(false);
    expect(tree()).toEqual(expected);
    rmSync(root, { recursive: true });
    mkdirSync(root);
    await extract(tarOf(...entries.reverse()));
    expect(tree()).toEqual(expected);
    expect((await extract(tarOf({ name: ".wh..wh..opq" }))).isRootOpaque).toBe(true);
  });

  test("hides in the kernel's overlay what it should, and nothing more (TAR-03)", async () => {
    const lower = join(temporary, "lower");
    mkdirSync(lower);
    const base = tarOf(
      { name: "gone", data: "x" },
      { name: "stays", data: "hello" },
      { name: "gone-dir/file", data: "x" },
      { name: "emptied/file", data: "x" },
      { name: "again/old", data: "x" },
      { name: "merged/old", data: "hello" },
    );
    await extractLayer({ blob: chunked(base, 4096), directory: lower });
    await extract(
      tarOf(
        { name: ".wh.gone" },
        { name: ".wh.gone-dir" },
        { name: "emptied/.wh..wh..opq" },
        { name: "emptied/new", data: "hello" },
        { name: ".wh.again" },
        { name: "again/new", data: "hello" },
        { name: "merged/new", data: "hello" },
      ),
    );
    const script = `mount -t overlay overlay -o ro,lowerdir=${root}:${lower} ${temporary}/outer && cd ${temporary}/outer && find . -type f | sort`;
    const { stdout, stderr } = spawnSync("sh", ["-ec", `unshare --mount sh -ec '${script}'`], { encoding: "utf8" });
    expect(stderr).toBe("");
    expect(stdout.trim().split("\n")).toEqual([
      "./again/new",
      "./emptied/new",
      "./merged/new",
      "./merged/old",
      "./stays",
    ]);
  });

  test.each(["a/.wh.", "a/.wh..", "a/.wh...", "a/.wh.dir/file"])("refuses the whiteout %p (TAR-03)", async (name) => {
    await expect(extract(tarOf({ name }))).rejects.toMatchObject({ code: "layer-invalid" });
  });

  test("ignores device 0:0, which overlay would take for a whiteout (RT-19)", async () => {
    await extract(tarOf({ name: "gone", type: "3" }, { name: "block", type: "4" }));
    expect(tree()).toEqual(["block 60644 0:0 device 0:0"]);
  });

  test("lets the last entry of a name win, without following the earlier one (TAR-06)", async () => {
    writeFileSync(join(temporary, "canary"), "alive");
    await extract(
      tarOf(
        { name: "link", type: "2", linkname: join(temporary, "canary") },
        { name: "link", data: "hello" },
        { name: "twin", data: "first" },
        { name: "hard", type: "1", linkname: "twin" },
        { name: "twin", data: "hello" },
        { name: "dir/sub/file", data: "x" },
        { name: "dir", data: "hello" },
        { name: "dir", type: "5", mode: 0o700 },
        { name: "dir/new", data: "hello" },
        { name: "dir/", type: "5", mode: 0o711 },
        { name: "self", data: "hello" },
        { name: "self", type: "1", linkname: "/self" },
        { name: "way", type: "2", linkname: "dir" },
        { name: "way/through", data: "hello" },
        { name: "way", type: "5" },
        { name: "way/own", data: "hello" },
      ),
    );
    expect(readFileSync(join(temporary, "canary"), "utf8")).toBe("alive");
    expect(tree()).toEqual([
      "dir 40711 0:0",
      `dir/new 100644 0:0 ${hello}`,
      `dir/through 100644 0:0 ${hello}`,
      expect.stringMatching(/^hard 100644 0:0 5 [0-9a-f]+$/),
      `link 100644 0:0 ${hello}`,
      `self 100644 0:0 ${hello}`,
      `twin 100644 0:0 ${hello}`,
      "way 40755 0:0",
      `way/own 100644 0:0 ${hello}`,
    ]);
    expect(readFileSync(join(root, "hard"), "utf8")).toBe("first");
  });

  test("keeps a directory's mode when the link goes by which it was named", async () => {
    await extract(
      tarOf(
        { name: "way", type: "2", linkname: "dir" },
        { name: "way/sub", type: "5", mode: 0o1777 },
        { name: "way", type: "5" },
        { name: "alias", type: "2", linkname: "gone" },
        { name: "alias/sub", type: "5", mode: 0o1777 },
        { name: "gone", data: "hello" },
        { name: "gone", type: "5" },
        { name: "gone/sub/new", data: "hello" },
        { name: "self", type: "2", linkname: ".." },
        { name: "self/self", type: "5", mode: 0o2711, gid: 7 },
        { name: "self/root's", type: "5" },
        { name: "self/file", data: "hello" },
      ),
    );
    expect(tree()).toEqual([
      "alias 120777 0:0 -> gone",
      "dir 40755 0:0",
      "dir/sub 41777 0:0",
      "gone 40755 0:0",
      "gone/sub 40755 0:0",
      `gone/sub/new 100644 0:0 ${hello}`,
      "self 42711 0:7",
      `self/file 100644 0:0 ${hello}`,
      "self/root's 40755 0:0",
      "way 40755 0:0",
    ]);
  });

  test("replaces a tree that is deeper than descriptors last", async () => {
    const deep = Array.from({ length: 200 }, (_, i) => `d${i}`).join("/");
    await extract(
      tarOf(
        { name: `top/${deep}/file`, data: "x" },
        { name: `top/${deep}/.wh.x` },
        { name: "top", type: "2", linkname: "hello" },
      ),
    );
    expect(tree()).toEqual(["top 120777 0:0 -> hello"]);
  });

  test.each<[string, LayerOptions["open"]]>([
    ["openat2", undefined],
    ["a kernel without openat2", () => -38],
    ["a seccomp filter that forbids openat2", () => -1],
    ["our own walk", (directory, name) => walkInRoot(directory, name)],
  ])("resolves links as in a chroot (TAR-02), with %s", async (_, open) => {
    await extract(
      tarOf(
        { name: "/usr/lib/", type: "5" },
        { name: "lib", type: "2", linkname: "/usr/lib" },
        { name: "lib/libc", data: "hello" },
        { name: "usr/up", type: "2", linkname: "../../../../usr" },
        { name: "usr/up/lib/libm", data: "hello" },
        { name: "kaniko", type: "1", linkname: "/lib/libc" },
        { name: "var/run", type: "2", linkname: "/run/now" },
        { name: "var/run/pid", data: "hello" },
        { name: "./../../escape", data: "hello" },
      ),
      { open },
    );
    expect(tree()).toEqual([
      `escape 100644 0:0 ${hello}`,
      `kaniko 100644 0:0 ${hello}`,
      "lib 120777 0:0 -> /usr/lib",
      "run 40755 0:0",
      "run/now 40755 0:0",
      `run/now/pid 100644 0:0 ${hello}`,
      "usr 40755 0:0",
      "usr/lib 40755 0:0",
      `usr/lib/libc 100644 0:0 = kaniko ${hello}`,
      `usr/lib/libm 100644 0:0 ${hello}`,
      "usr/up 120777 0:0 -> ../../../../usr",
      "var 40755 0:0",
      "var/run 120777 0:0 -> /run/now",
    ]);
  });

  test("touches nothing outside, whatever the layer tries (TAR-01)", async () => {
    const outside = join(temporary, "outer");
    const canary = join(outside, "canary");
    writeFileSync(canary, "alive", { mode: 0o600 });
    mkdirSync(join(outside, "dir"));
    writeFileSync(join(outside, "dir", "file"), "alive");
    const before = describeTree(temporary).filter((line) => !line.startsWith("outer/root"));
    const direct = ["../canary", "../../outer/canary", canary, `/..${canary}`, "a/../../canary", "/proc/self/root/x"];
    const payloads = (name: string): FixtureEntry[] => [
      { name, data: "dead" },
      { name, type: "5", mode: 0o777, mtime: 1 },
      { name, type: "2", linkname: canary },
      { name, type: "3", devMajor: 1, devMinor: 3 },
      { name: name.replace(/([^/]+)$/, ".wh.$1") },
      { name: name.replace(/([^/]+)$/, ".wh..wh..opq") },
    ];
    const vias: FixtureEntry[] = [
      { name: "via", type: "2", linkname: outside },
      { name: "via", type: "2", linkname: ".." },
      { name: "via", type: "2", linkname: "../../outer" },
      { name: "via", type: "2", linkname: "/proc/self/cwd" },
      { name: "via", type: "2", linkname: `/proc/self/fd/3/..` },
      { name: "via/.", type: "2", linkname: ".." },
      { name: "x/../via", type: "2", linkname: "x/../.." },
    ];
    const archives: FixtureEntry[][] = [
      ...direct.flatMap((name) => payloads(name).map((payload) => [payload])),
      ...vias.flatMap((via) =>
        ["via/canary", "via/dir/file", "via/../canary", "via"].flatMap((name) =>
          payloads(name).map((payload) => [via, payload]),
        ),
      ),
      ...[canary, "../canary", "via/canary", "via/../canary", "via"].flatMap((linkname) => [
        [
          { name: "via", type: "2", linkname: ".." },
          { name: "hard", type: "1", linkname },
          { name: "hard", data: "dead" },
        ],
        [
          { name: "via", type: "2", linkname: canary },
          { name: "hard", type: "1", linkname },
          { name: "hard/x", data: "dead" },
        ],
      ]),
    ];
    let refused = 0;
    for (const open of [undefined, () => -38]) {
      for (const entries of archives) {
        rmSync(root, { recursive: true });
        mkdirSync(root);
        await extract(tarOf(...entries), { open }).catch((error: { code: string }) => {
          expect(error.code).toMatch(/^layer-invalid$/);
          refused++;
        });
      }
    }
    rmSync(root, { recursive: true });
    mkdirSync(root);
    // Removing and making the root changed the time of what it lies in.
    const comparable = (lines: string[]) => lines.filter((line) => !/^(\/|outer) /.test(line));
    const after = describeTree(temporary).filter((line) => !line.startsWith("outer/root"));
    expect(comparable(after)).toEqual(comparable(before));
    // Refusing everything would be safe, too.
    expect(refused).toBeLessThan(archives.length / 2);
  }, 60_000);

  test.each<[string, FixtureEntry[], string]>([
    [
      "a hard link to nothing",
      [{ name: "a", type: "1", linkname: "nothing" }],
      'Cannot link "a" to "nothing": this layer has no such file',
    ],
    [
      "a hard link to a whiteout",
      [{ name: ".wh.b" }, { name: "a", type: "1", linkname: "b" }],
      'Cannot link "a" to "b": this layer has no such file',
    ],
    [
      "a hard link to a directory",
      [{ name: "a", type: "1", linkname: "/" }],
      'Cannot link "a" to "/": that is a directory',
    ],
    [
      "a file below a file",
      [{ name: "a" }, { name: "a/b" }],
      'Cannot extract into "a": a part of it is not a directory',
    ],
    [
      "a file below a loop",
      [{ name: "a", type: "2", linkname: "a" }, { name: "a/b" }],
      'Cannot extract into "a": its symbolic links go round in circles',
    ],
    [
      "a root that is a symlink",
      [{ name: "./", type: "2", linkname: "a" }],
      'Cannot extract "./": the root can only be a directory',
    ],
    ["a symlink to nothing at all", [{ name: "a", type: "2" }], 'Cannot extract "a": the symbolic link has no target'],
    ["a type that nobody knows", [{ name: "a", type: "M" }], 'Cannot extract "a": entries of type "M" are unknown'],
    [
      "an owner that means nobody",
      [{ name: "a", pax: { uid: "4294967295" } }],
      'Cannot extract "a": its owner 4294967295:0 does not exist on Linux',
    ],
    [
      "a negative owner",
      [{ name: "a", pax: { gid: "-1" } }],
      'Cannot extract "a": its owner 0:-1 does not exist on Linux',
    ],
    [
      "a device out of range",
      [{ name: "a", type: "3", devMajor: 4096 }],
      'Cannot extract "a": Linux has no device 4096:0',
    ],
    [
      "control characters in names",
      [{ name: "\x1b[2J", type: "M" }],
      'Cannot extract "\\u001b[2J": entries of type "M" are unknown',
    ],
  ])("refuses %s", async (_, entries, message) => {
    await expect(extract(tarOf(...entries))).rejects.toMatchObject({ code: "layer-invalid", message });
  });

  test("keeps to its limits (TAR-05)", async () => {
    const limit = { code: "layer-limit" };
    const many = tarOf({ name: "a/b/c" }, { name: "d" });
    await expect(extract(many, { limits: { entries: 3 } })).rejects.toMatchObject(limit);
    await extract(many, { limits: { entries: 4, depth: 3 } });
    await expect(extract(many, { limits: { depth: 1 } })).rejects.toMatchObject(limit);
    const zeros = gzipSync(tarOf({ name: "a", data: Buffer.alloc(8 << 20) }));
    await expect(extract(zeros, { limits: { bytes: 4 << 20 } })).rejects.toMatchObject(limit);
    await expect(extract(zeros, { limits: { ratio: 100, ratioFrom: 1 << 20 } })).rejects.toMatchObject(limit);
    const window = spawnSync("sh", ["-c", "head -c 60000000 /dev/zero | zstd -q --long=27 -c"]).stdout;
    if (window.length > 0) await expect(extract(window)).rejects.toMatchObject({ code: "layer-corrupt" });
  });

  test("stops when it is told to, and when the source fails", async () => {
    const controller = new AbortController();
    const reason = new Error("enough");
    const blob = gzipSync(tarOf({ name: "a", data: Buffer.alloc(8 << 20, "noise") }), { level: 0 });
    const stop = { signal: controller.signal, onProgress: () => controller.abort(reason) };
    await expect(extract(blob, stop)).rejects.toBe(reason);
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield blob.subarray(0, 1 << 20);
      throw reason;
    }
    await expect(extractLayer({ blob: failing(), directory: root })).rejects.toBe(reason);
  });

  test("leaves no descriptors behind, whether it ends well or not", async () => {
    const count = () =>
      spawnSync("ls", [`/proc/${process.pid}/fd`])
        .stdout.toString()
        .split("\n").length;
    const archives = [
      tarOf({ name: "a/b/c", data: "x" }),
      tarOf({ name: "a/b/c", size: 9000 }),
      tarOf({ name: "a", type: "M" }),
    ];
    for (const archive of archives) await extract(archive).catch(() => {});
    const before = count();
    for (let i = 0; i < 20; i++) for (const archive of archives) await extract(archive).catch(() => {});
    expect(count()).toBeLessThanOrEqual(before + 1);
  });

  test("settles directories early when there are very many, and again after that", async () => {
    const long = "n".repeat(80);
    const names = Array.from({ length: 120 }, (_, i) => `${long}/${long}/${long}/${long}/${i}`);
    const entries = names.map((name) => ({ name, type: "5", mode: 0o2755, gid: 7, mtime: 1000, pax: { path: name } }));
    const archive = tarOf(...entries, ...entries, { name: "f", pax: { path: `${names[0]}/f` }, data: "hello" });
    await extract(archive, { limits: { pendingCharacters: 15_000 } });
    const { mtimeMs, mode, gid } = lstatSync(join(root, names[0] as string));
    expect([mtimeMs, mode, gid]).toEqual([1_000_000, 0o42755, 7]);
    expect(lstatSync(join(root, `${names[0]}/f`)).gid).toBe(0);
  });

  test("keeps memory bounded with a huge file and with huge names (TAR-05)", async () => {
    const script = `
      import { extractLayer } from ${JSON.stringify(join(import.meta.dir, "layer.ts"))};
      import { entryOf, paxOf } from ${JSON.stringify(join(import.meta.dir, "../tar/tar-fixture.ts"))};
      const zeros = new Uint8Array(1 << 20);
      const name = entryOf({ name: "x", type: "x", data: paxOf({ "SCHILY.xattr.trusted.big": "v".repeat(1 << 19), comment: "c".repeat(1 << 18) }) });
      async function* blob() {
        for (let i = 0; i < 60; i++) {
          yield name;
          yield entryOf({ name: "small" });
        }
        yield entryOf({ name: "big", size: 100 << 20 });
        for (let i = 0; i < 100; i++) yield zeros;
        yield zeros.subarray(0, 1024);
      }
      Bun.gc(true);
      const before = process.memoryUsage.rss();
      await extractLayer({ blob: blob(), directory: process.argv[1] });
      // Not getrusage's: that starts with the parent's, which spawned this with vfork.
      const peak = /VmHWM:\\s+(\\d+)/.exec(await Bun.file("/proc/self/status").text());
      console.log(Number(peak[1]) * 1024 - before);`;
    const { stdout, stderr } = spawnSync(process.execPath, ["-e", script, root], { encoding: "utf8" });
    expect(stderr).toBe("");
    expect(Number(stdout)).toBeLessThan(64 << 20);
    expect(lstatSync(join(root, "big")).size).toBe(100 << 20);
  });

  test.each(["v7", "ustar", "gnu", "oldgnu", "posix"])("makes what GNU tar makes of its %s format", async (format) => {
    const source = join(temporary, "source");
    const setup = `
      mkdir -p ${source}/deep/er ${source}/empty && cd ${source}
      printf hello > file; ln file hard; ln -s ../file deep/soft; ln -s /absolute/target abs; ${format === "v7" ? "" : "mkfifo -m 620 fifo"}
      printf x > "$(printf 'bytes-\\377')"; head -c 70000 /dev/urandom > deep/er/random; chmod 4711 deep/er/random
      truncate -s 1M sparse; printf end >> sparse; truncate -s 3M sparse
      chown 12:34 file; chown -h 5:6 abs; chmod 2770 deep; touch -h -d @1234567890.5 abs deep/er file; touch -d @5 deep`;
    const long =
      format === "v7" || format === "ustar"
        ? ""
        : `; mkdir -p ${"l".repeat(60)}/${"m".repeat(60)}; printf long > ${"l".repeat(60)}/${"m".repeat(60)}/n; setfattr -n user.x -v y file 2>/dev/null || true`;
    const sparse = format === "v7" || format === "ustar" ? "" : "--sparse";
    const xattrs = format === "posix" ? "--xattrs" : "";
    const archive = join(temporary, "archive.tar");
    const theirs = join(temporary, "theirs");
    mkdirSync(theirs);
    const made = spawnSync("sh", [
      "-ec",
      `${setup}${long}; tar -C ${source} --format=${format} ${sparse} ${xattrs} -cf ${archive} .; tar -C ${theirs} --xattrs --xattrs-include='*' -xpf ${archive}`,
    ]);
    expect(made.stderr.toString()).toBe("");
    await extractLayer({ blob: archive, directory: root });
    expect(describeTree(root)).toEqual(describeTree(theirs));
  });

  test(
    "agrees with a model of the tree for any sequence of entries (FZ-02)",
    async () => {
      const name = fc
        .array(fc.constantFrom("a", "b", "c", "..", "."), { minLength: 1, maxLength: 4 })
        .map((parts) => parts.join("/"));
      const entry = fc.oneof(
        fc.record({ name, type: fc.constant("0"), data: fc.constantFrom("one", "two", "") }),
        fc.record({ name, type: fc.constant("5"), mode: fc.constantFrom(0o755, 0o1777) }),
        fc.record({
          name,
          type: fc.constant("2"),
          linkname: fc.constantFrom("a", "/b", "../c", "..", "/", "b/../c/a", "c/."),
        }),
        fc.record({ name, type: fc.constant("1"), linkname: name }),
        fc.record({ name: name.map((path) => path.replace(/([a-c])$/, ".wh.$1")), type: fc.constant("0") }),
      );
      writeFileSync(join(temporary, "outer", "c"), "canary");
      const { buildModel } = await import("./extract-model-fixture.ts");
      await fc.assert(
        fc.asyncProperty(fc.array(entry, { maxLength: 12 }), fc.boolean(), async (entries, byHand) => {
          rmSync(root, { recursive: true });
          mkdirSync(root);
          const expected = buildModel(entries);
          const found = await extract(tarOf(...entries), byHand ? { open: () => -38 } : {}).then(
            () => tree(),
            (error: { code: string }) => error.code,
          );
          if (typeof expected === "string") expect(found).toBe(expected);
          else expect(found).toEqual(expected);
          expect(readFileSync(join(temporary, "outer", "c"), "utf8")).toBe("canary");
        }),
        runs(100),
      );
    },
    FUZZ_TIMEOUT_MS,
  );
});
