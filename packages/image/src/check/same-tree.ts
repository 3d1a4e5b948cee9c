import { setImmediate } from "node:timers/promises";
import { allocate, cstr } from "@bantubox/ffi";
import {
  display,
  isOpaque,
  openDirectory,
  openFile,
  readInto,
  readLink,
  readNames,
  readXattrs,
  S,
  type Stat,
  statAt,
} from "../tree/tree.ts";

const CHUNK = 1 << 20;
const BREATH_MS = 50;

interface Pair {
  readonly fd: number;
  readonly otherFd: number;
  /** Of the directory, for people. */
  readonly path: string;
}

/**
 * Compares two trees to the byte: names, types, modes, owners, contents, link targets, device numbers, hard links,
 * the attributes that images have, and the times of everything but whiteouts and directories: whiteouts, and directories
 * that no layer names, get the time at which they are made.
 *
 * @returns The first difference, as people may read it; undefined when there is none.
 */
export async function differenceOf(
  directory: string,
  wanted: string,
  signal?: AbortSignal,
): Promise<string | undefined> {
  using root = openDirectory(undefined, cstr(directory), JSON.stringify(directory));
  using other = openDirectory(undefined, cstr(wanted), JSON.stringify(wanted));
  const buffer = allocate(CHUNK);
  const otherBuffer = allocate(CHUNK);
  /** Which file of the other tree a file with several names is. */
  const links = new Map<string, string>();
  let breath = performance.now();

  async function compareDirectories({ fd, otherFd, path }: Pair): Promise<string | undefined> {
    const names = readNames(fd, path);
    const otherNames = readNames(otherFd, path);
    for (const [index, name] of otherNames.entries()) {
      const found = names[index];
      if (found !== undefined && Buffer.compare(found, name) === 0) continue;
      const isExtra = found !== undefined && Buffer.compare(found, name) < 0;
      return isExtra ? `${at(path, found)} should not be there` : `${at(path, name)} is missing`;
    }
    const extra = names[otherNames.length];
    if (extra !== undefined) return `${at(path, extra)} should not be there`;
    for (const name of names) {
      const difference = await compareEntry({ fd, otherFd, path }, name);
      if (difference !== undefined) return difference;
      if (performance.now() - breath < BREATH_MS) continue;
      await setImmediate();
      signal?.throwIfAborted();
      breath = performance.now();
    }
    return undefined;
  }

  async function compareEntry({ fd, otherFd, path }: Pair, name: Uint8Array): Promise<string | undefined> {
    const where = at(path, name);
    const stat = statAt(fd, name, where);
    const otherStat = statAt(otherFd, name, where);
    const field = differingField(stat, otherStat);
    if (field !== undefined) return `${where} has another ${field}`;
    const type = stat.mode & S.FMT;
    if (type !== S.DIR && stat.links > 1) {
      const known = links.get(stat.identity);
      if (known !== undefined && known !== otherStat.identity) return `${where} is linked to another file`;
      links.set(stat.identity, otherStat.identity);
    }
    if (!sameXattrs(fd, otherFd, name)) return `${where} has other attributes`;
    if (type === S.LNK) {
      const isSame = Buffer.compare(readLink(fd, name, where), readLink(otherFd, name, where)) === 0;
      return isSame ? undefined : `${where} leads elsewhere`;
    }
    if (type === S.REG) return sameContent(fd, otherFd, name) ? undefined : `${where} has another content`;
    if (type !== S.DIR) return undefined;
    using child = openDirectory(fd, name, where);
    using otherChild = openDirectory(otherFd, name, where);
    return await compareDirectories({ fd: child.raw, otherFd: otherChild.raw, path: where.slice(1, -1) });
  }

  function sameContent(fd: number, otherFd: number, name: Uint8Array): boolean {
    using file = openFile(fd, name, display(name));
    using otherFile = openFile(otherFd, name, display(name));
    for (;;) {
      const length = readWhole(file.raw, buffer);
      if (length !== readWhole(otherFile.raw, otherBuffer)) return false;
      if (length === 0) return true;
      if (buffer.subarray(0, length).some((byte, index) => byte !== otherBuffer[index])) return false;
    }
  }

  const here = cstr(".");
  const [stat, otherStat] = [statAt(root.raw, here, directory), statAt(other.raw, here, wanted)];
  const field = differingField(stat, otherStat);
  if (field !== undefined) return `"/" has another ${field}`;
  if (!sameXattrs(root.raw, other.raw, here)) return `"/" has other attributes`;
  return await compareDirectories({ fd: root.raw, otherFd: other.raw, path: "" });
}

/** Fills the buffer as far as the file goes: reads may be short. */
function readWhole(fd: number, buffer: Uint8Array): number {
  let length = 0;
  while (length < buffer.length) {
    const count = readInto(fd, buffer, length, buffer.length - length);
    if (count === 0) break;
    length += count;
  }
  return length;
}

function differingField(one: Stat, other: Stat): string | undefined {
  const type = one.mode & S.FMT;
  if (type !== (other.mode & S.FMT)) return "type";
  if (one.mode !== other.mode) return "mode";
  if (one.uid !== other.uid || one.gid !== other.gid) return "owner";
  if (type === S.DIR) return undefined;
  if (one.size !== other.size) return "size";
  const isWhiteout = type === S.CHR && one.rdevMajor === 0 && one.rdevMinor === 0;
  if (!isWhiteout && !isSameTime(one, other)) return "time";
  if (one.links !== other.links) return "number of links";
  if (one.rdevMajor !== other.rdevMajor || one.rdevMinor !== other.rdevMinor) return "device number";
  return undefined;
}

/** A tree that was made here has its files' times; the layer that was made of it, and came back, has whole seconds. */
function isSameTime(stored: Stat, wanted: Stat): boolean {
  return stored.mtime === wanted.mtime && (wanted.mtimeNs === 0 || stored.mtimeNs === wanted.mtimeNs);
}

function sameXattrs(fd: number, otherFd: number, name: Uint8Array): boolean {
  const list = (from: number): string =>
    readXattrs(from, name)
      .map((xattr) => `${xattr.name}=${Buffer.from(xattr.value).toString("hex")}`)
      .join(" ");
  return list(fd) === list(otherFd) && isOpaque(fd, name) === isOpaque(otherFd, name);
}

function at(path: string, name: Uint8Array): string {
  const text = Buffer.from(name.subarray(0, -1)).toString();
  return JSON.stringify(path === "" ? text : `${path}/${text}`);
}
