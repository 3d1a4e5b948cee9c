/** `bb system check`: one kind of damage at a time, told apart, mended or made so that a pull mends it. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  cpSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { busyboxRoot, missing, newStore, type Store } from "./harness.ts";
import { type MountedPlace, mountBtrfs } from "./mounted.ts";
import { pushImage, type Registry, startRegistry } from "./registry.ts";

const hasBtrfs = !missing("btrfs-progs is not installed", Bun.which("mkfs.btrfs") === null);
const none = ["--network", "none"];
let registry: Registry;
let name = "";
let btrfs: MountedPlace | undefined;

beforeAll(async () => {
  registry = await startRegistry();
  name = `${registry.host}/check/app:1`;
  const layers = [{ script: "mkdir opt; echo one > opt/file; echo gone > opt/gone" }, { script: "rm opt/gone" }];
  await pushImage(registry, "check/app:1", { layers });
  if (hasBtrfs) btrfs = await mountBtrfs();
}, 300_000);

afterAll(async () => {
  await btrfs?.[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
});

interface Found {
  readonly Kind: string;
  readonly ID: string;
  readonly Problem: string;
  readonly Action: string;
  readonly Damage: boolean;
  readonly Repaired: boolean;
}

/** What a check says, and its exit status. */
async function check(store: Store, ...flags: string[]): Promise<{ code: number; found: Found[] }> {
  const { code, stdout, stderr } = await store.bb(["system", "check", "--format", "json", ...flags]);
  if (stderr !== "") throw new Error(stderr);
  const found = stdout.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as Found]));
  return { code, found };
}

async function pulled(): Promise<Store> {
  const store = await newStore();
  await store.ok(["pull", "-q", name]);
  return store;
}

const runs = async (store: Store): Promise<string> =>
  await store.ok(["run", "--rm", ...none, name, "sh", "-c", "cat /opt/file; ls /opt"]);

const allIn = (store: Store, directory: string): string[] =>
  readdirSync(join(store.root, directory)).map((each) => join(store.root, directory, each));

/** The tree of the store that has a file. */
function treeWith(store: Store, path: string): string {
  const found = allIn(store, "layers").find((tree) => lstatSync(join(tree, path), { throwIfNoEntry: false }));
  if (found === undefined) throw new Error(`No layer has ${path}`);
  return found;
}

/** The largest blob is a layer's, the smallest a config or a manifest. */
function blobOf(store: Store, which: "layer" | "document"): string {
  const blobs = allIn(store, "blobs/sha256").sort((a, b) => statSync(a).size - statSync(b).size);
  const found = which === "layer" ? blobs.at(-1) : blobs.find((blob) => readFileSync(blob)[0] === 0x7b);
  if (found === undefined) throw new Error("No blobs");
  return found;
}

/** Changes rows as no command of ours does. */
function withRows(store: Store, ...statements: string[]): void {
  using database = new Database(join(store.root, "db.sqlite"));
  database.run("PRAGMA foreign_keys = OFF");
  for (const statement of statements) database.run(statement);
}

/** Other bytes, with the same length and time. */
function flip(path: string): void {
  const { atime, mtime } = statSync(path);
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  utimesSync(path, atime, mtime);
}

test("a whole store is said to be whole, in words and in JSON", async () => {
  await using store = await pulled();
  await store.ok(["init", await busyboxRoot(), "box"]);
  await store.ok(["run", "--name", "one", ...none, "box", "true"]);
  expect(await store.ok(["system", "check"])).toBe("Everything is there and as it should be");
  expect(await check(store)).toEqual({ code: 0, found: [] });
  expect(await check(store, "--quick")).toEqual({ code: 0, found: [] });
  expect(await check(store, "--repair")).toEqual({ code: 0, found: [] });
  expect(allIn(store, "layers").filter((path) => path.includes(".tmp"))).toEqual([]);
});

const FILE = "opt/file";

/** What damages a tree, what is said of it, and whether a quick look sees it. */
const TREES: readonly (readonly [what: string, damage: (store: Store) => void, says: string, quick: boolean])[] = [
  ["another content", (s) => flip(join(treeWith(s, FILE), FILE)), "another content", false],
  ["another mode", (s) => chmodSync(join(treeWith(s, FILE), FILE), 0o600), "another mode", false],
  ["another time", (s) => utimesSync(join(treeWith(s, FILE), FILE), 1, 1), "another time", false],
  ["a file too many", (s) => writeFileSync(join(treeWith(s, FILE), "opt/more"), ""), "should not be there", false],
  ["a file too few", (s) => rmSync(join(treeWith(s, FILE), FILE)), "is missing", false],
  ["an empty file after a power cut", (s) => writeFileSync(join(treeWith(s, FILE), FILE), ""), "another size", false],
  ["no directory", (s) => rmSync(treeWith(s, FILE), { recursive: true }), "its directory is missing", true],
  [
    "no row",
    (s) => withRows(s, `DELETE FROM layer WHERE id = '${treeWith(s, FILE).split("/").at(-1)}'`),
    "its row is missing",
    true,
  ],
];

describe("a layer's tree with", () => {
  test.each(TREES)("%s is found, and extracted again from its blob", async (_, damage, says, isSeenQuickly) => {
    await using store = await pulled();
    const expected = await runs(store);
    damage(store);
    const { code, found } = await check(store);
    expect(code).toBe(1);
    expect(found).toEqual([expect.objectContaining({ Kind: "layer", Damage: true, Repaired: false })]);
    expect(found[0]?.Problem).toContain(says);
    expect(found[0]?.Action).toContain("--repair");
    expect((await check(store, "--quick")).code).toBe(isSeenQuickly ? 1 : 0);
    const repaired = await check(store, "--repair");
    expect(repaired.code).toBe(0);
    expect(repaired.found[0]).toMatchObject({ Repaired: true, Action: "extracted again" });
    expect(await check(store)).toEqual({ code: 0, found: [] });
    expect(await runs(store)).toBe(expected);
  });

  test.skipIf(!hasBtrfs).each(["btrfs", "copy"])(
    "damage is found and mended on %s, too",
    async (driver) => {
      if (btrfs === undefined) throw new Error("No btrfs");
      await using store = await newStore({ ...btrfs, flags: ["--storage-driver", driver] });
      await store.ok(["pull", "-q", name]);
      await store.ok(["init", await busyboxRoot(), "box"]);
      const expected = await runs(store);
      expect(await check(store)).toEqual({ code: 0, found: [] });
      // One each of what is changed, added and gone.
      for (const [what, damage, says] of [0, 3, 6].flatMap((index) => TREES.slice(index, index + 1))) {
        damage(store);
        const { code, found } = await check(store);
        expect([what, code, found.length]).toEqual([what, 1, 1]);
        expect(found[0]?.Problem).toContain(says);
        expect((await check(store, "--repair")).code).toBe(0);
        expect(await check(store)).toEqual({ code: 0, found: [] });
      }
      expect(await runs(store)).toBe(expected);
      rmSync(blobOf(store, "layer"));
      expect((await check(store, "--quick")).code).toBe(1);
      const { code, found } = await check(store, "--repair");
      expect([code, found.map(({ Kind }) => Kind)]).toEqual([1, ["blob", "image"]]);
      await store.ok(["pull", "-q", name]);
      expect(await check(store)).toEqual({ code: 0, found: [] });
      expect(await runs(store)).toBe(expected);
      expect(allIn(store, "layers").filter((path) => path.includes(".tmp"))).toEqual([]);
    },
    60_000,
  );

  test("damage below a running container waits until that is stopped", async () => {
    await using store = await pulled();
    await store.ok(["run", "-d", "--name", "one", ...none, name, "sleep", "600"]);
    flip(join(treeWith(store, FILE), FILE));
    const refused = await check(store, "--repair");
    expect(refused.code).toBe(1);
    expect(refused.found[0]?.Action).toContain("stop what runs on it (one)");
    await store.ok(["stop", "-t", "0", "one"]);
    expect((await check(store, "--repair")).code).toBe(0);
    await store.ok(["start", "one"]);
    expect(await store.ok(["exec", "one", "cat", "/opt/file"])).toBe("one");
  });
});

describe("an image whose", () => {
  test.each([
    ["layer's blob has other bytes", (s: Store) => flip(blobOf(s, "layer")), "is damaged"],
    ["layer's blob is cut", (s: Store) => writeFileSync(blobOf(s, "layer"), "short"), "is damaged"],
    ["layer's blob is missing", (s: Store) => rmSync(blobOf(s, "layer")), "is missing"],
    ["document has other bytes", (s: Store) => flip(blobOf(s, "document")), "cannot be read"],
    ["document is missing", (s: Store) => rmSync(blobOf(s, "document")), "cannot be read"],
  ])("%s is kept by --repair, since it runs, and mended by a pull", async (_, damage, says) => {
    await using store = await pulled();
    const expected = await runs(store);
    damage(store);
    const { code, found } = await check(store);
    expect([code, found.map(({ Kind }) => Kind)]).toEqual([1, ["blob", "image"]]);
    expect(found[1]?.Problem).toContain(says);
    expect(found[1]?.Action).toContain(`pull it again: ${name}`);
    const repaired = await check(store, "--repair");
    const image = repaired.found.find(({ Kind }) => Kind === "image");
    expect([repaired.code, image]).toMatchObject([1, { Repaired: false, Action: `pull it again: ${name}` }]);
    expect(await runs(store)).toBe(expected);
    await store.ok(["pull", "-q", name]);
    expect(await check(store)).toEqual({ code: 0, found: [] });
    await store.ok(["save", "-o", join(store.root, "saved.tar"), name]);
    expect(await runs(store)).toBe(expected);
  });

  test("layer is missing as files and as a blob is removed by --repair, and a pull brings it back", async () => {
    await using store = await pulled();
    const expected = await runs(store);
    rmSync(blobOf(store, "layer"));
    rmSync(treeWith(store, "bin/busybox"), { recursive: true });
    const { code, found } = await check(store);
    expect([code, found.map(({ Kind }) => Kind)]).toEqual([1, ["blob", "image"]]);
    expect(found[1]?.Action).toBe(`--repair removes it; then pull it again: ${name}`);
    const repaired = await check(store, "--repair");
    expect(repaired.found.find(({ Kind }) => Kind === "image")?.Repaired).toBe(true);
    expect(await store.ok(["images", "-q"])).toBe("");
    expect([...allIn(store, "layers"), ...allIn(store, "blobs/sha256")]).toEqual([]);
    await store.ok(["pull", "-q", name]);
    expect(await check(store)).toEqual({ code: 0, found: [] });
    expect(await runs(store)).toBe(expected);
  });

  test("only copy of the files has changed is lost: it was made of a directory", async () => {
    await using store = await newStore();
    await store.ok(["init", await busyboxRoot(), "box"]);
    flip(join(treeWith(store, "bin/busybox"), "bin/busybox"));
    const { code, found } = await check(store);
    expect([code, found]).toEqual([1, [expect.objectContaining({ Kind: "image", Damage: true })]]);
    expect(found[0]?.Action).toContain("make it again");
    expect((await check(store, "--repair")).found[0]?.Repaired).toBe(true);
    expect(await store.ok(["images", "-q"])).toBe("");
    await store.ok(["init", await busyboxRoot(), "box"]);
    expect(await check(store)).toEqual({ code: 0, found: [] });
  });

  test("loss would take a container's files along is left, and the container is named", async () => {
    await using store = await newStore();
    const source = mkdtempSync(join(tmpdir(), "bb-check-"));
    cpSync(await busyboxRoot(), source, { recursive: true, verbatimSymlinks: true });
    writeFileSync(join(source, "file"), "one");
    await store.ok(["init", source, "box"]);
    rmSync(source, { recursive: true });
    await store.ok(["create", "--name", "one", ...none, "box", "true"]);
    flip(join(treeWith(store, "file"), "file"));
    const { code, found } = await check(store, "--repair");
    expect(code).toBe(1);
    expect(found.find(({ Kind }) => Kind === "image")?.Action).toContain("containers need it (one)");
    await store.ok(["start", "-a", "one"]);
    await store.ok(["rm", "one"]);
    expect((await check(store, "--repair")).found.find(({ Kind }) => Kind === "image")?.Repaired).toBe(true);
  });
});

describe("a container", () => {
  const made = async (): Promise<{ store: Store; directory: string }> => {
    const store = await newStore();
    await store.ok(["init", await busyboxRoot(), "box"]);
    await store.ok(["create", "--name", "one", ...none, "box", "true"]);
    const id = await store.ok(["ps", "-aq", "--no-trunc"]);
    return { store, directory: join(store.root, "containers", id) };
  };

  test("without a directory has only its row removed", async () => {
    const { store, directory } = await made();
    await using _store = store;
    rmSync(directory, { recursive: true });
    const { code, found } = await check(store);
    expect([code, found[0]?.Problem]).toEqual([1, '"one": its directory is missing']);
    expect((await check(store, "--repair")).code).toBe(0);
    expect(await store.ok(["ps", "-aq"])).toBe("");
  });

  test.each(["{", "{}", ""])("whose config.json is %p is told, and nothing of its files is touched", async (text) => {
    const { store, directory } = await made();
    await using _store = store;
    writeFileSync(join(directory, "config.json"), text);
    const { code, found } = await check(store, "--repair");
    expect([code, found]).toEqual([1, [expect.objectContaining({ Kind: "container", Repaired: false })]]);
    expect(found[0]?.Problem).toContain("config.json is missing or damaged");
    expect(found[0]?.Action).toContain('bb rm -f one"');
    await store.ok(["rm", "-f", "one"]);
    expect(await check(store)).toEqual({ code: 0, found: [] });
  });

  test("whose image is gone with its layers is told", async () => {
    const { store } = await made();
    await using _store = store;
    withRows(store, "DELETE FROM image_name", "DELETE FROM image_layer", "DELETE FROM image_blob", "DELETE FROM image");
    await store.ok(["init", join(await busyboxRoot(), "etc"), "other"]);
    await store.ok(["rmi", "other"]);
    const { code, found } = await check(store);
    expect([code, found[0]?.Kind]).toEqual([1, "container"]);
    expect(found[0]?.Problem).toContain("its layer");
    expect(found[0]?.Action).toContain("again");
  });
});

test("what killed commands leave is no damage; --repair removes it", async () => {
  await using store = await pulled();
  mkdirSync(join(store.root, "layers/.tmp-killed"));
  mkdirSync(join(store.root, "layers", "a".repeat(64)));
  writeFileSync(join(store.root, "blobs/sha256", "b".repeat(64)), "x");
  mkdirSync(join(store.root, "containers", "c".repeat(64)));
  const { code, found } = await check(store);
  expect(code).toBe(0);
  expect(found.map(({ Kind, ID, Damage }) => [Kind, ID, Damage]).sort()).toEqual([
    ["leftover", `blobs/sha256/${"b".repeat(64)}`, false],
    ["leftover", `containers/${"c".repeat(64)}`, false],
    ["leftover", "layers/.tmp-killed", false],
    ["leftover", `layers/${"a".repeat(64)}`, false],
  ]);
  expect((await check(store, "--repair")).found.every(({ Repaired }) => Repaired)).toBe(true);
  expect(await check(store)).toEqual({ code: 0, found: [] });
  expect(await runs(store)).toContain("one");
});
