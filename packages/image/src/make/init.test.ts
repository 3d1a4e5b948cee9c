import { expect, test } from "bun:test";
import {
  chmodSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { call, cstr } from "@bantubox/ffi";
import { $ } from "bun";
import { parseDigest, sha256 } from "../document/digest.ts";
import { parseConfig, parseManifest } from "../document/manifest.ts";
import { readBlob } from "../store/blobs.ts";
import { findImage } from "../store/find.ts";
import { layersDirectory } from "../store/store.ts";
import { contents, temporaryStore } from "../store/store-fixture.ts";
import { archiveTree } from "../tree/archive.ts";
import { copyTree } from "../tree/copy.ts";
import { initImage } from "./init.ts";

const isRoot = process.getuid?.() === 0;
// As root only: owners, devices and capabilities are what is copied.
const asRoot = test.skipIf(!isRoot);
if (!isRoot) console.warn("skipped: what only root may copy");

function temporaryDirectory(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "bantubox-init-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** A tree with one of everything that a root file system may hold. */
async function makeTree(root: string): Promise<void> {
  const at = (path: string) => join(root, path);
  mkdirSync(at("etc/empty"), { recursive: true });
  writeFileSync(at("etc/hostname"), "box\n");
  writeFileSync(at("setuid"), "x");
  symlinkSync("/etc/hostname", at("absolute"));
  symlinkSync("../../../../etc/passwd", at("outward"));
  linkSync(at("etc/hostname"), at("hard"));
  writeFileSync(at("big"), Buffer.alloc(1_500_000, 7));
  writeFileSync(at("holes"), "start");
  writeFileSync(at("exact"), Buffer.alloc(512, 1));
  const long = `long/${"d".repeat(90)}/${"f".repeat(200)}`;
  mkdirSync(join(at(long), ".."), { recursive: true });
  writeFileSync(at(long), "long");
  symlinkSync("t".repeat(300), at("longlink"));
  // Not UTF-8: two names that would be one as JavaScript strings.
  for (const byte of [0xfe, 0xff]) {
    const name = Buffer.concat([Buffer.from(`${root}/b`), Buffer.from([byte])]);
    writeFileSync(name, `byte ${byte}`);
  }
  for (const [name, mode, device] of [
    ["null", 0x2000, 0x103],
    ["disk", 0x6000, (1234 & 0xff) + (259 << 8) + ((1234 >> 8) << 20)],
    ["pipe", 0x1000, 0],
  ] as const) {
    call("mknodat", undefined, -100, cstr(at(name)), mode | 0o640, device);
  }
  truncateSync(at("holes"), 5_000_000);
  call("setxattr", undefined, cstr(at("etc")), cstr("user.note"), cstr("hello"), 5, 0);
  call("setxattr", undefined, cstr(at("etc")), cstr("trusted.overlay.opaque"), cstr("y"), 1, 0);
  await $`chown 1000:70000 ${at("setuid")} && chown -h 3000000000:5 ${at("absolute")}`.quiet();
  chmodSync(at("setuid"), 0o6755);
  // After the owner: chown(2) takes capabilities away.
  call(
    "setxattr",
    undefined,
    cstr(at("setuid")),
    cstr("security.capability"),
    Buffer.from("0100000200040000000000000000000000000000", "hex"),
    20,
    0,
  );
  chmodSync(at("etc/empty"), 0o1777);
  utimesSync(at("etc/hostname"), 1e9, 1e9);
  utimesSync(at("exact"), -1000, -1000);
  lutimesSync(at("outward"), 12345.5, 12345.5);
  utimesSync(at("etc"), 5e8, 5e8);
  chmodSync(root, 0o751);
}

function readXattr(path: string, name: string): string {
  const value = Buffer.alloc(64);
  const length = call("lgetxattr", name, cstr(path), cstr(name), value, value.length);
  return value.toString("hex", 0, length);
}

/** Every file's type, mode, owner, size, whole seconds, device, target and number of names, as find(1) sees them. */
async function describeTree(root: string): Promise<string> {
  const list =
    await $`find . -printf '%p %y %m %U:%G %s %T@ %l %n\n' | sed -E 's/ ([-0-9]+)\.[0-9]+ / \1 /' | LC_ALL=C sort`
      .cwd(root)
      .env({ ...process.env, LC_ALL: "C" })
      .text();
  const sums = await $`find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum`.cwd(root).text();
  const devices = await $`stat -c '%n %t:%T' null disk`.cwd(root).text();
  const attributes = [
    readXattr(join(root, "setuid"), "security.capability"),
    readXattr(join(root, "etc"), "user.note"),
  ];
  // Directories have sizes of their own on every file system.
  return list.replace(/^(\S+ d \S+ \S+) \d+/gm, "$1") + sums + devices + attributes.join("\n");
}

asRoot("copyTree() copies all that a root file system holds", async () => {
  using source = temporaryDirectory();
  using target = temporaryDirectory();
  await makeTree(source.path);
  const before = await describeTree(source.path);
  await copyTree(source.path, target.path);
  expect(await describeTree(target.path)).toBe(before);
  expect(lstatSync(join(target.path, "holes")).blocks * 512).toBeLessThan(100_000);
  expect(lstatSync(join(target.path, "hard")).ino).toBe(lstatSync(join(target.path, "etc/hostname")).ino);
  expect(readXattr(join(target.path, "setuid"), "security.capability")).toBe(
    "0100000200040000000000000000000000000000",
  );
  expect(() => readXattr(join(target.path, "etc"), "trusted.overlay.opaque")).toThrow("ENODATA");
});

asRoot("archiveTree() writes a tar that GNU tar reads as the same tree, byte for byte the same each time", async () => {
  using source = temporaryDirectory();
  using target = temporaryDirectory();
  await makeTree(source.path);
  const collect = async () => Buffer.concat(await Array.fromAsync(archiveTree(source.path)));
  const tar = await collect();
  expect(sha256(tar)).toBe(sha256(await collect()));
  const proc = Bun.spawn(["tar", "-xpf", "-", "--xattrs", "--xattrs-include=*", "--numeric-owner"], {
    cwd: target.path,
    stdin: tar,
  });
  expect(await proc.exited).toBe(0);
  // A layer's word for the mark that overlay reads.
  rmSync(join(target.path, "etc/.wh..wh..opq"));
  utimesSync(join(target.path, "etc"), 5e8, 5e8);
  expect(await describeTree(target.path)).toBe(await describeTree(source.path));
});

asRoot("initImage() makes an image that runs as it was told, of which every byte is accounted for", async () => {
  using store = temporaryStore();
  using source = temporaryDirectory();
  await makeTree(source.path);
  const options = {
    cmd: ["/bin/sh"],
    env: ["A=1"],
    workdir: "/srv",
    user: "1000",
    labels: [["__proto__", "x"]] as const,
    exposedPorts: ["80/tcp"],
    created: "2026-01-02T03:04:05Z",
  };
  const image = await initImage(store, source.path, "web", options);
  expect(image).toMatchObject({
    kind: "local",
    name: "web:latest",
    config: { cmd: ["/bin/sh"], env: ["A=1"], workdir: "/srv", user: "1000", exposedPorts: ["80/tcp"] },
  });
  const [layer = ""] = image.layers;
  expect(readFileSync(join(layersDirectory(store), layer, "etc/hostname"), "utf8")).toBe("box\n");
  expect(lstatSync(join(layersDirectory(store), layer)).mode & 0o7777).toBe(0o751);

  const { manifest } = store.database.query<{ manifest: string }, []>("SELECT manifest FROM image").get() ?? {
    manifest: "",
  };
  const document = parseManifest(await readBlob(store, parseDigest(manifest)), "");
  if (document.kind !== "manifest") throw new Error("an index");
  expect(parseConfig(await readBlob(store, document.config.digest), 1).diffIds).toEqual([`sha256:${layer}`]);
  const tar = Buffer.concat(await Array.fromAsync(archiveTree(join(layersDirectory(store), layer))));
  expect(document.layers).toEqual([
    { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: sha256(tar), size: tar.length },
  ]);
  expect(sha256(tar)).toBe(`sha256:${layer}`);

  const again = await initImage(store, source.path, "other:1", options);
  expect(again.id).toBe(image.id);
  expect(contents(store)).toMatchObject({ layers: [layer], ingest: [], images: 1, rows: 1 });
});

asRoot("initImage() leaves out the store itself and what is mounted below", async () => {
  using source = temporaryDirectory();
  using inner = temporaryStore();
  const store = { ...inner, root: join(source.path, "var/lib/store") };
  mkdirSync(store.root, { recursive: true });
  mkdirSync(join(source.path, "proc"));
  writeFileSync(join(source.path, "file"), "x");
  call("mount", undefined, cstr("proc"), cstr(join(source.path, "proc")), cstr("proc"), 0, 0);
  try {
    const { layers } = await initImage(store, source.path, "web");
    const names = await $`find . | LC_ALL=C sort`.cwd(join(layersDirectory(store), layers[0] ?? "")).text();
    expect(names.trim().split("\n")).toEqual([".", "./file", "./proc", "./var", "./var/lib", "./var/lib/store"]);
  } finally {
    call("umount2", undefined, cstr(join(source.path, "proc")), 0);
  }
});

asRoot.each<[string, (path: string) => unknown]>([
  ["a whiteout's name", (path) => writeFileSync(join(path, ".wh.passwd"), "")],
  ["overlay's whiteout", (path) => call("mknodat", undefined, -100, cstr(join(path, "gone")), 0x2000, 0)],
])("initImage() refuses %s, and leaves nothing behind", async (_, spoil) => {
  using store = temporaryStore();
  using source = temporaryDirectory();
  await spoil(source.path);
  const made = initImage(store, source.path, "web");
  expect(made).rejects.toMatchObject({ code: "init-whiteout" });
  await made.catch(() => undefined);
  expect(contents(store)).toEqual({ layers: [], blobs: [], ingest: [], images: 0, rows: 0 });
});

test("initImage() says what is wrong with its arguments", async () => {
  using store = temporaryStore();
  for (const [directory, name, code] of [
    ["/nonexistent", "web", "no-such-directory"],
    ["/etc/passwd", "web", "no-such-directory"],
    ["/tmp", "host", "reference-invalid"],
    ["/tmp", "Web", "reference-invalid"],
    ["/tmp", `web@sha256:${"a".repeat(64)}`, "reference-invalid"],
  ] as const) {
    const made = initImage(store, directory, name);
    expect(made).rejects.toMatchObject({ code });
    await made.catch(() => undefined);
  }
  expect(findImage(store, "host")?.kind).toBe("host");
});
