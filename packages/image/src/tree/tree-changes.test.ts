import { expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cstr } from "@bantubox/ffi";
import fc from "fast-check";
import { FUZZ_TIMEOUT_MS, runs } from "../fuzz-fixture.ts";
import { type TarEntry, TarReader } from "../tar/tar.ts";
import { archiveChanges } from "./archive-changes.ts";
import { openDirectory } from "./tree.ts";
import { treeChanges } from "./tree-changes.ts";

setDefaultTimeout(FUZZ_TIMEOUT_MS);

/** A file that has several names is one object. */
interface Node {
  type: "directory" | "file" | "symlink";
  mode: number;
  mtime: number;
  content: string;
}
type Tree = Map<string, Node>;

type Step =
  | { readonly do: "make"; readonly path: string; readonly node: Node }
  | { readonly do: "link"; readonly path: string; readonly to: string }
  | { readonly do: "remove"; readonly path: string }
  | { readonly do: "touch"; readonly path: string; readonly mode: number; readonly mtime: number };

const PATHS = ["a", "b", "c", "a/a", "a/b", "a/b/c", "b/a", "b/x-", "b/x/y", "b/x", "d/e", "d", "ab"];
const path = fc.constantFrom(...PATHS);
const mode = fc.constantFrom(0o755, 0o700, 0o1777);
const mtime = fc.integer({ min: 1, max: 3 });
const node = fc.record<Node>({
  type: fc.constantFrom("directory", "file", "symlink"),
  mode,
  mtime,
  content: fc.constantFrom("x", "y", "xy"),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant("make" as const), path, node }),
  fc.record({ do: fc.constant("link" as const), path, to: path }),
  fc.record({ do: fc.constant("remove" as const), path }),
  fc.record({ do: fc.constant("touch" as const), path, mode, mtime }),
);

function parentOf(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf("/")));
}

function remove(tree: Tree, name: string): void {
  for (const key of [...tree.keys()]) if (key === name || key.startsWith(`${name}/`)) tree.delete(key);
}

function canHold(tree: Tree, name: string): boolean {
  const parent = parentOf(name);
  return parent === "" || tree.get(parent)?.type === "directory";
}

/** What does not fit is passed over. */
function carryOut(tree: Tree, steps: readonly Step[]): Tree {
  for (const each of steps) {
    const there = tree.get(each.path);
    if (each.do === "remove") remove(tree, each.path);
    else if (each.do === "touch" && there !== undefined) Object.assign(there, { mode: each.mode, mtime: each.mtime });
    else if (each.do === "make" && canHold(tree, each.path)) {
      remove(tree, each.path);
      tree.set(each.path, { ...each.node });
    } else if (each.do === "link" && canHold(tree, each.path)) {
      const target = tree.get(each.to);
      if (target === undefined || target.type !== "file" || there !== undefined) continue;
      tree.set(each.path, target);
    }
  }
  return tree;
}

function copyOf(tree: Tree): Tree {
  const copies = new Map<Node, Node>();
  for (const each of tree.values()) copies.set(each, { ...each });
  return new Map(Array.from(tree, ([name, each]) => [name, copies.get(each) as Node]));
}

function build(tree: Tree, root: string): void {
  const made = new Map<Node, string>();
  const names = [...tree.keys()].sort();
  for (const name of names) {
    const each = tree.get(name) as Node;
    const at = join(root, name);
    const first = made.get(each);
    if (each.type === "directory") mkdirSync(at);
    else if (each.type === "symlink") symlinkSync(each.content, at);
    else if (first !== undefined) linkSync(first, at);
    else writeFileSync(at, each.content);
    made.set(each, at);
  }
  for (const name of names.toReversed()) {
    const each = tree.get(name) as Node;
    const at = join(root, name);
    if (each.type === "symlink") lutimesSync(at, each.mtime, each.mtime);
    else {
      chmodSync(at, each.mode);
      utimesSync(at, each.mtime, each.mtime);
    }
  }
}

/** What a layer's reader makes of the stream: the image-spec's rules, on a model. */
function apply(tree: Tree, tar: Uint8Array): Tree {
  let current: TarEntry | undefined;
  let content = "";
  const reader = new TarReader({
    begin(entry) {
      current = entry;
      content = "";
    },
    data(chunk, start, stop) {
      content += chunk.toString("latin1", start, stop);
    },
    end() {
      const { name: full, type, mode, mtime, linkname } = current as TarEntry;
      const name = full.replace(/\/$/, "");
      const leaf = name.slice(name.lastIndexOf("/") + 1);
      if (leaf.startsWith(".wh.")) {
        remove(tree, name.slice(0, name.length - leaf.length) + leaf.slice(4));
        return;
      }
      expect(canHold(tree, name)).toBe(true);
      const there = tree.get(name);
      if (type === "hardlink") {
        const target = tree.get(linkname);
        expect(target?.type).toBe("file");
        remove(tree, name);
        tree.set(name, target as Node);
        return;
      }
      if (!(type === "directory" && there?.type === "directory")) remove(tree, name);
      tree.set(name, { type: type as Node["type"], mode, mtime, content: type === "symlink" ? linkname : content });
    },
  });
  reader.push(tar);
  reader.finish("required");
  return tree;
}

/** Everything that can be seen, which names are one file included. */
function describe(tree: Tree): string[] {
  const names = [...tree.keys()].sort();
  return names.map((name) => {
    const { type, mode, mtime, content } = tree.get(name) as Node;
    const first = names.find((other) => tree.get(other) === tree.get(name));
    const what = type === "directory" ? "" : content;
    return `${name} ${type} ${type === "symlink" ? "" : mode.toString(8)} ${mtime} ${what} =${first}`;
  });
}

async function difference(a: Tree, b: Tree): Promise<{ tar: Uint8Array; names: string[] }> {
  const root = mkdtempSync(join(tmpdir(), "bantubox-changes-"));
  try {
    for (const [name, tree] of [
      ["a", a],
      ["b", b],
    ] as const) {
      mkdirSync(join(root, name));
      build(tree, join(root, name));
    }
    using lower = openDirectory(undefined, cstr(join(root, "a")), "a");
    using upper = openDirectory(undefined, cstr(join(root, "b")), "b");
    const changes = treeChanges(lower.raw, upper.raw);
    const tar = Buffer.concat(await Array.fromAsync(archiveChanges(upper.raw, changes)));
    return { tar, names: changes.map((change) => `${change.kind} ${change.path}`) };
  } finally {
    rmSync(root, { recursive: true });
  }
}

test("a layer of what changed, applied to the old tree, is the new one (FZ-03)", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 14 }), fc.array(step, { maxLength: 6 }), async (first, then) => {
      const a = carryOut(new Map(), first);
      const b = carryOut(copyOf(a), then);
      const { tar } = await difference(a, b);
      expect(describe(apply(copyOf(a), tar))).toEqual(describe(b));
    }),
    runs(60),
  );
});

test("a tree differs in nothing from its copy (FZ-03)", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
      const tree = carryOut(new Map(), steps);
      expect((await difference(tree, copyOf(tree))).names).toEqual([]);
    }),
    runs(25),
  );
});

test("a file that lost its other name is no change but that; one that gained one is", async () => {
  const file: Node = { type: "file", mode: 0o700, mtime: 1, content: "x" };
  const one: Tree = new Map([["x", file]]);
  const two: Tree = new Map([
    ["x", file],
    ["y", file],
  ]);
  expect((await difference(two, one)).names).toEqual(["deleted y"]);
  expect((await difference(one, two)).names).toEqual(["modified x", "added y"]);
});
