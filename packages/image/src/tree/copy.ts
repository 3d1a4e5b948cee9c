import { setImmediate } from "node:timers/promises";
import { attempt, BoxError, call, cstr, ERRNO, SysError } from "@bantubox/ffi";
import { FileData } from "./file-data.ts";
import {
  createFile,
  display,
  isOpaque,
  openDirectory,
  openFile,
  readLink,
  readNames,
  readXattrs,
  removeBelow,
  removeXattr,
  S,
  type Stat,
  statAt,
  statIfThereAt,
  writeMtime,
  writeXattr,
} from "./tree.ts";

const AT_EMPTY_PATH = 0x1000;
const AT_SYMLINK_NOFOLLOW = 0x100;
/** How long the event loop may stand still, in milliseconds: Ctrl-C and progress bars live on it. */
const BREATH_MS = 50;

const WHITEOUT = Buffer.from(".wh.");
const ITSELF = cstr("");
const HERE = cstr(".");

export interface CopyOptions {
  /** The copy becomes a layer: names and devices that would delete files there are refused. */
  readonly asLayer?: boolean | undefined;
  /**
   * The source is what a layer adds, and the target all that is below it: whiteouts are carried out, directories
   * merge, everything else gives way. `move` takes files from the source instead of copying them.
   */
  readonly difference?: { readonly move: boolean } | undefined;
  /** Its contents are left out, wherever it is: the store, when someone makes an image of `/`. */
  readonly exclude?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/**
 * Copies a tree into a directory, an empty one unless it takes a `difference`: owners, modes, times, links, devices,
 * holes and the attributes that images have. Links are never followed. Sockets, and what is mounted
 * below `source`, are left out; mount points stay as empty directories.
 *
 * @returns Bytes of all files, without holes.
 * @throws {BoxError} `init-whiteout` when a name or device would delete files in a layer.
 */
export async function copyTree(
  source: string,
  target: string,
  { asLayer, difference, exclude, signal, onProgress }: CopyOptions = {},
): Promise<number> {
  using from = openDirectory(undefined, cstr(source), JSON.stringify(source));
  using to = openDirectory(undefined, cstr(target), JSON.stringify(target));
  const data = new FileData();
  const linked = new Map<string, Uint8Array>();
  const excluded = exclude === undefined ? undefined : identityOf(exclude);
  const root = statAt(from.raw, ITSELF, JSON.stringify(source));
  let bytes = 0;
  let breath = performance.now();

  async function copyDirectory(fromFd: number, toFd: number, path: Uint8Array): Promise<void> {
    for (const name of readNames(fromFd, display(path))) {
      const stat = statAt(fromFd, name, display(name));
      const below = join(path, name);
      if (asLayer === true) refuseWhiteout(name, stat, below);
      if ((stat.mode & S.FMT) === S.SOCK) continue;
      if (difference !== undefined) {
        makeWay(fromFd, toFd, name, stat);
        if (isWhiteout(stat)) continue;
        if (difference.move && (stat.mode & S.FMT) !== S.DIR) {
          call("renameat2", display(below), fromFd, name, toFd, name, 0);
          continue;
        }
      }
      const known = stat.links > 1 && (stat.mode & S.FMT) !== S.DIR ? linked.get(stat.identity) : undefined;
      if (known !== undefined) {
        call("linkat", display(below), to.raw, known, toFd, name, 0);
        continue;
      }
      if ((stat.mode & S.FMT) === S.DIR) await copySubdirectory(fromFd, toFd, name, stat, below);
      else {
        if ((stat.mode & S.FMT) === S.REG) copyFile(fromFd, toFd, name, stat, below);
        else makeSpecial(fromFd, toFd, name, stat);
        copyAttributes(fromFd, toFd, name, stat);
        if (stat.links > 1) linked.set(stat.identity, below);
      }
      if (performance.now() - breath > BREATH_MS) {
        onProgress?.(bytes);
        await setImmediate();
        signal?.throwIfAborted();
        breath = performance.now();
      }
    }
  }

  async function copySubdirectory(fromFd: number, toFd: number, name: Uint8Array, stat: Stat, path: Uint8Array) {
    const made = attempt("mkdirat", toFd, name, 0o700);
    if (made === -ERRNO.EEXIST && difference !== undefined) {
      // What is left in its place is a directory; its attributes are the upper one's alone.
      for (const xattr of readXattrs(toFd, name)) removeXattr(toFd, name, xattr);
    } else if (made < 0) throw new SysError("mkdirat", -made, display(path));
    if (stat.identity !== excluded && stat.mount === root.mount) {
      using fromBelow = openDirectory(fromFd, name, display(path));
      using toBelow = openDirectory(toFd, name, display(path));
      await copyDirectory(fromBelow.raw, toBelow.raw, path);
    }
    copyAttributes(fromFd, toFd, name, stat);
  }

  function copyFile(fromFd: number, toFd: number, name: Uint8Array, stat: Stat, path: Uint8Array): void {
    using input = openFile(fromFd, name, display(path));
    const opened = statAt(input.raw, ITSELF, display(path));
    if (opened.identity !== stat.identity) {
      throw new BoxError("init-changed", `Cannot copy ${display(path)}: it was replaced meanwhile`);
    }
    using output = createFile(toFd, name);
    // A file mounted here stands for one that nobody can see: its place stays empty.
    if (stat.mount !== root.mount) return;
    bytes += data.copy(input.raw, output.raw, opened, display(path));
  }

  await copyDirectory(from.raw, to.raw, new Uint8Array());
  if (difference !== undefined) for (const xattr of readXattrs(to.raw, HERE)) removeXattr(to.raw, HERE, xattr);
  copyAttributes(from.raw, to.raw, ITSELF, root);
  return bytes;
}

/** Whether a layer that lies on nothing deletes something all the same. */
export async function holdsWhiteouts(directory: string): Promise<boolean> {
  using root = openDirectory(undefined, cstr(directory), JSON.stringify(directory));
  let breath = performance.now();

  async function search(fd: number): Promise<boolean> {
    for (const name of readNames(fd, "a layer")) {
      const stat = statAt(fd, name, display(name));
      if (isWhiteout(stat)) return true;
      if ((stat.mode & S.FMT) !== S.DIR) continue;
      if (isOpaque(fd, name)) return true;
      using child = openDirectory(fd, name, display(name));
      if (await search(child.raw)) return true;
      if (performance.now() - breath < BREATH_MS) continue;
      await setImmediate();
      breath = performance.now();
    }
    return false;
  }

  return isOpaque(root.raw, HERE) || (await search(root.raw));
}

function makeSpecial(fromFd: number, toFd: number, name: Uint8Array, stat: Stat): void {
  if ((stat.mode & S.FMT) === S.LNK) {
    call("symlinkat", display(name), cstr(readLink(fromFd, name, display(name))), toFd, name);
    return;
  }
  call("mknodat", display(name), toFd, name, (stat.mode & S.FMT) | 0o600, makeDevice(stat));
}

/** Ownership before the mode, since chown(2) takes setuid away; capabilities after it, for the same reason; times last. */
function copyAttributes(fromFd: number, toFd: number, name: Uint8Array, stat: Stat): void {
  const isItself = name.length === 1;
  call("fchownat", display(name), toFd, name, stat.uid, stat.gid, isItself ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW);
  const isLink = (stat.mode & S.FMT) === S.LNK;
  if (!isLink) {
    if (isItself) call("fchmod", display(name), toFd, stat.mode & 0o7777);
    else call("fchmodat", display(name), toFd, name, stat.mode & 0o7777);
  }
  const own = isItself ? HERE : name;
  for (const xattr of readXattrs(fromFd, own)) writeXattr(toFd, own, xattr);
  writeMtime(toFd, own, stat);
}

/** The kernel's 32-bit encoding of a device's numbers, as mknod(2) takes it. */
export function makeDevice({ rdevMajor, rdevMinor }: Pick<Stat, "rdevMajor" | "rdevMinor">): number {
  return (rdevMinor & 0xff) + (rdevMajor & 0xfff) * 0x100 + (rdevMinor >>> 8) * 0x100000;
}

/** Removes what a difference deletes or replaces: all but a directory that a directory of the same name merges with. */
function makeWay(fromFd: number, toFd: number, name: Uint8Array, stat: Stat): void {
  const there = statIfThereAt(toFd, name);
  if (there === undefined) return;
  const merges = (stat.mode & S.FMT) === S.DIR && (there.mode & S.FMT) === S.DIR && !isOpaque(fromFd, name);
  if (!merges) removeBelow(toFd, name);
}

function isWhiteout(stat: Stat): boolean {
  return (stat.mode & S.FMT) === S.CHR && stat.rdevMajor === 0 && stat.rdevMinor === 0;
}

function refuseWhiteout(name: Uint8Array, stat: Stat, path: Uint8Array): void {
  const isDevice = isWhiteout(stat);
  if (!isDevice && !(name.length > WHITEOUT.length && WHITEOUT.equals(name.subarray(0, WHITEOUT.length)))) return;
  throw new BoxError(
    "init-whiteout",
    `Cannot make an image with ${display(path)}: in a layer it would mean that a file is deleted`,
    {
      hint: isDevice
        ? "Use a merged directory, not an overlay's upper one"
        : 'Rename it: no name in an image may begin with ".wh."',
    },
  );
}

function identityOf(path: string): string | undefined {
  const result = attempt("faccessat", -100, cstr(path), 0);
  if (result === -ERRNO.ENOENT) return undefined;
  using fd = openDirectory(undefined, cstr(path), JSON.stringify(path));
  return statAt(fd.raw, ITSELF, JSON.stringify(path)).identity;
}

function join(parent: Uint8Array, name: Uint8Array): Uint8Array {
  const prefix = parent.length === 0 ? parent : Buffer.concat([parent.subarray(0, -1), Buffer.from("/")]);
  return cstr(Buffer.concat([prefix, name.subarray(0, -1)]));
}
