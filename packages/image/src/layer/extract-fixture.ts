import { createHash } from "node:crypto";
import { lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { allocate, attempt } from "@bantubox/ffi";

/** A directory below the system's temporary one; the caller removes it. */
export function temporaryDirectory(): string {
  return mkdtempSync(join(tmpdir(), "bb-layer-"));
}

/** One line for everything in a tree: path, type and mode, owner, time, links, device, content, attributes. Names are byte strings. */
export function describeTree(root: string, { times = true } = {}): string[] {
  const lines: string[] = [];
  const inodes = new Map<string, string>();
  const pending = [""];
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    const path = Buffer.concat([Buffer.from(root), Buffer.from(`/${name}`, "latin1")]);
    const status = lstatSync(path, { bigint: true, throwIfNoEntry: false });
    // Overlay lists a whiteout in a directory that only one layer has, and then says that nothing is there.
    if (status === undefined) continue;
    const key = `${status.dev}:${status.ino}`;
    const first = inodes.get(key) ?? name;
    inodes.set(key, first);
    const parts = [name || "/", Number(status.mode).toString(8), `${status.uid}:${status.gid}`];
    if (times) parts.push(String(status.mtimeNs));
    if (first !== name) parts.push(`= ${first}`);
    if (status.isSymbolicLink()) parts.push(`-> ${readlinkSync(path, { encoding: "latin1" })}`);
    if (status.isFile())
      parts.push(`${status.size} ${createHash("sha1").update(readFileSync(path)).digest("hex").slice(0, 12)}`);
    if (status.isCharacterDevice() || status.isBlockDevice())
      parts.push(`device ${status.rdev >> 8n}:${status.rdev & 0xffn}`);
    parts.push(...xattrs(path));
    lines.push(parts.join(" "));
    if (!status.isDirectory()) continue;
    for (const child of readdirSync(path, { encoding: "buffer" })) {
      pending.push(name === "" ? child.toString("latin1") : `${name}/${child.toString("latin1")}`);
    }
    pending.sort().reverse();
  }
  return lines;
}

function xattrs(path: Buffer): string[] {
  const name = cstring(path);
  const list = allocate(4096);
  const length = attempt("llistxattr", name, list, list.length);
  const names = Buffer.from(list.subarray(0, Math.max(length, 0)))
    .toString("latin1")
    .split("\0")
    .slice(0, -1);
  return names.sort().map((attribute) => {
    const value = allocate(4096);
    const size = attempt("lgetxattr", name, cstring(Buffer.from(attribute, "latin1")), value, value.length);
    return `${attribute}=${Buffer.from(value.subarray(0, size)).toString("hex")}`;
  });
}

function cstring(bytes: Buffer): Uint8Array {
  const out = allocate(bytes.length + 1);
  out.set(bytes);
  return out;
}
