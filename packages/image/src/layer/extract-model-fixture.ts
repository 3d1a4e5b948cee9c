import { createHash } from "node:crypto";
import type { FixtureEntry } from "../tar/tar-fixture.ts";

interface Directory {
  kind: "directory";
  mode: number;
  opaque: boolean;
  children: Map<string, Node>;
  parent: Directory | undefined;
}

type Node =
  | Directory
  | { kind: "file"; mode: number; data: string }
  | { kind: "symlink"; target: string }
  | { kind: "whiteout" };

/** What a layer's entries come to, worked out without a kernel: lines as `describeTree` gives them, or an error's code. */
export function buildModel(entries: readonly FixtureEntry[]): string[] | string {
  const root = directory(undefined, 0o755);
  try {
    for (const entry of entries) apply(root, entry);
  } catch (error) {
    if (error instanceof Refusal) return "layer-invalid";
    throw error;
  }
  return describe(root);
}

class Refusal extends Error {}

function directory(parent: Directory | undefined, mode: number): Directory {
  return { kind: "directory", mode, opaque: false, children: new Map(), parent };
}

function lexical(name: string): string[] {
  const parts: string[] = [];
  for (const part of name.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts;
}

function walk(root: Directory, parts: readonly string[], create: boolean): Directory {
  const queue = [...parts];
  let at = root;
  let links = 0;
  for (let part = queue.shift(); part !== undefined; part = queue.shift()) {
    if (part === "" || part === ".") continue;
    if (part === "..") {
      at = at.parent ?? root;
      continue;
    }
    let node = at.children.get(part);
    if (node?.kind === "symlink") {
      if (++links > 40) throw new Refusal();
      if (node.target.startsWith("/")) at = root;
      queue.unshift(...node.target.split("/"));
      continue;
    }
    if ((node === undefined || node.kind === "whiteout") && create) {
      const made = directory(at, 0o755);
      made.opaque = node !== undefined;
      node = made;
      at.children.set(part, made);
    }
    if (node?.kind !== "directory") throw new Refusal();
    at = node;
  }
  return at;
}

function apply(root: Directory, entry: FixtureEntry): void {
  const parts = lexical(String(entry.name));
  const leaf = parts.pop();
  if (leaf === undefined) {
    if (entry.type !== "5") throw new Refusal();
    return;
  }
  const parent = walk(root, parts, true);
  const { children } = parent;
  if (leaf === ".wh..wh..opq") {
    parent.opaque = true;
    return;
  }
  if (leaf.startsWith(".wh.")) {
    const name = leaf.slice(4);
    const existing = children.get(name);
    if (existing === undefined) children.set(name, { kind: "whiteout" });
    else if (existing.kind === "directory") existing.opaque = true;
    return;
  }
  const existing = children.get(leaf);
  switch (entry.type) {
    case "0":
      children.set(leaf, { kind: "file", mode: 0o644, data: String(entry.data ?? "") });
      return;
    case "2":
      children.set(leaf, { kind: "symlink", target: String(entry.linkname) });
      return;
    case "5": {
      const made = existing?.kind === "directory" ? existing : directory(parent, 0);
      made.mode = entry.mode ?? 0;
      if (existing?.kind === "whiteout") made.opaque = true;
      children.set(leaf, made);
      return;
    }
    case "1": {
      const sourceParts = lexical(String(entry.linkname));
      const sourceLeaf = sourceParts.pop();
      const source = sourceLeaf === undefined ? root : walk(root, sourceParts, false).children.get(sourceLeaf);
      if (source === undefined || source.kind === "directory" || source.kind === "whiteout") throw new Refusal();
      // Making room for the link may remove the place that it is to be linked from.
      if (existing?.kind === "directory") {
        children.delete(leaf);
        const from = walk(root, sourceParts, false);
        if (from.children.get(sourceLeaf ?? "") !== source) throw new Refusal();
      }
      children.set(leaf, source);
      return;
    }
  }
}

function describe(root: Directory): string[] {
  const found: [string, Node][] = [];
  const pending: [string, Directory][] = [["", root]];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    for (const [name, node] of next[1].children) {
      const path = next[0] === "" ? name : `${next[0]}/${name}`;
      found.push([path, node]);
      if (node.kind === "directory") pending.push([path, node]);
    }
  }
  found.sort(([a], [b]) => (a < b ? -1 : 1));
  const first = new Map<Node, string>();
  return found.map(([path, node]) => {
    const same = first.get(node);
    first.set(node, same ?? path);
    const link = same === undefined ? "" : ` = ${same}`;
    if (node.kind === "directory") {
      return `${path} ${(0o40000 | node.mode).toString(8)} 0:0${node.opaque ? " trusted.overlay.opaque=79" : ""}`;
    }
    if (node.kind === "symlink") return `${path} 120777 0:0${link} -> ${node.target}`;
    if (node.kind === "whiteout") return `${path} 20000 0:0${link} device 0:0`;
    const hash = createHash("sha1").update(node.data).digest("hex").slice(0, 12);
    return `${path} 100${node.mode.toString(8)} 0:0${link} ${node.data.length} ${hash}`;
  });
}

/**
 * What layers come to that lie on each other, from bottom to top, each as `buildModel` gives it: whiteouts and marks
 * carried out, as in a whole tree.
 */
export function mergeModels(layers: readonly (readonly string[])[]): string[] {
  const tree = new Map<string, Line>();
  for (const [layer, lines] of layers.entries()) {
    for (const text of lines) {
      const line = parseLine(text, layer);
      const below = tree.get(line.path);
      const isMerged = line.isDirectory && below?.isDirectory === true && !line.isOpaque;
      if (!isMerged) {
        for (const path of [...tree.keys()]) {
          if (path === line.path || path.startsWith(`${line.path}/`)) tree.delete(path);
        }
      }
      if (!line.isWhiteout) tree.set(line.path, line);
    }
  }
  const first = new Map<string, string>();
  return [...tree.values()]
    .sort((a, b) => (a.path < b.path ? -1 : 1))
    .map(({ path, file, status, rest }) => {
      const same = first.get(file);
      first.set(file, same ?? path);
      return [path, status, same === undefined ? "" : `= ${same}`, rest].filter((part) => part !== "").join(" ");
    });
}

interface Line {
  readonly path: string;
  /** The same for all names of one file. */
  readonly file: string;
  /** Mode and owner. */
  readonly status: string;
  readonly rest: string;
  readonly isDirectory: boolean;
  readonly isOpaque: boolean;
  readonly isWhiteout: boolean;
}

function parseLine(text: string, layer: number): Line {
  const [, path = "", status = "", twin, rest = ""] = /^(\S+) (\d+ \d+:\d+)(?: = (\S+))?(?: (.*))?$/.exec(text) ?? [];
  const isOpaque = rest === "trusted.overlay.opaque=79";
  return {
    path,
    file: `${layer} ${twin ?? path}`,
    status,
    rest: isOpaque ? "" : rest,
    isDirectory: status.startsWith("4"),
    isOpaque,
    isWhiteout: rest === "device 0:0",
  };
}
