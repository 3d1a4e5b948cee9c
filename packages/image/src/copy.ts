import { ftruncateSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { addressOf, allocate, attempt, BoxError, call, cstr, ERRNO } from "@bantubox/ffi";
import {
  createFile,
  display,
  openDirectory,
  openFile,
  readInto,
  readLink,
  readNames,
  readXattrs,
  S,
  type Stat,
  statAt,
  writeMtime,
  writeXattr,
} from "./tree.ts";

const CHUNK = 1 << 20;
/** How finely holes are found: every file system's blocks are smaller. */
const HOLE = 1 << 16;
/** _IOW(0x94, 9, int), <linux/fs.h>: share the blocks instead of copying them. */
const FICLONE = 0x40049409;
const AT_EMPTY_PATH = 0x1000;
const AT_SYMLINK_NOFOLLOW = 0x100;
/** How long the event loop may stand still, in milliseconds: Ctrl-C and progress bars live on it. */
const BREATH_MS = 50;

const WHITEOUT = Buffer.from(".wh.");
const ITSELF = cstr("");

export interface CopyOptions {
  /** The copy becomes a layer: names and devices that would delete files there are refused. */
  readonly asLayer?: boolean | undefined;
  /** Its contents are left out, wherever it is: the store, when someone makes an image of `/`. */
  readonly exclude?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/**
 * Copies a tree into an empty directory: owners, modes, times, links, devices,
 * holes and the attributes that images have. Links are never followed. Sockets, and what is mounted
 * below `source`, are left out; mount points stay as empty directories.
 *
 * @returns Bytes of all files.
 * @throws {BoxError} `init-whiteout` when a name or device would delete files in a layer.
 */
export async function copyTree(
  source: string,
  target: string,
  { asLayer, exclude, signal, onProgress }: CopyOptions = {},
): Promise<number> {
  using from = openDirectory(undefined, cstr(source), JSON.stringify(source));
  using to = openDirectory(undefined, cstr(target), JSON.stringify(target));
  const buffer = allocate(CHUNK);
  const zeros = Buffer.alloc(CHUNK);
  const linked = new Map<string, Uint8Array>();
  const excluded = exclude === undefined ? undefined : identityOf(exclude);
  const root = statAt(from.raw, ITSELF, JSON.stringify(source));
  let bytes = 0;
  let cloning = true;
  let breath = performance.now();

  async function copyDirectory(fromFd: number, toFd: number, path: Uint8Array): Promise<void> {
    for (const name of readNames(fromFd, display(path))) {
      const stat = statAt(fromFd, name, display(name));
      const below = join(path, name);
      if (asLayer === true) refuseWhiteout(name, stat, below);
      if ((stat.mode & S.FMT) === S.SOCK) continue;
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
    call("mkdirat", display(path), toFd, name, 0o700);
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
    if (cloning && stat.size > 0) {
      if (attempt("ioctl", output.raw, FICLONE, input.raw) >= 0) {
        bytes += stat.size;
        return;
      }
      // Another file system, or one that cannot: not worth asking for each file.
      cloning = false;
    }
    const hasHoles = stat.stored < stat.size;
    let length = 0;
    for (;;) {
      const count = readInto(input.raw, buffer, 0, hasHoles ? HOLE : CHUNK);
      if (count === 0) break;
      if (hasHoles && zeros.compare(buffer, 0, count, 0, count) === 0)
        call("lseek", display(path), output.raw, count, 1);
      else {
        for (let at = 0; at < count; )
          at += call("write", display(path), output.raw, addressOf(buffer) + at, count - at);
      }
      length += count;
    }
    if (hasHoles) ftruncateSync(output.raw, length);
    bytes += length;
  }

  await copyDirectory(from.raw, to.raw, new Uint8Array());
  copyAttributes(from.raw, to.raw, ITSELF, root);
  return bytes;
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
  const own = isItself ? cstr(".") : name;
  for (const xattr of readXattrs(fromFd, own)) writeXattr(toFd, own, xattr);
  writeMtime(toFd, own, stat);
}

/** The kernel's 32-bit encoding of a device's numbers, as mknod(2) takes it. */
export function makeDevice({ rdevMajor, rdevMinor }: Stat): number {
  return (rdevMinor & 0xff) + (rdevMajor & 0xfff) * 0x100 + (rdevMinor >>> 8) * 0x100000;
}

function refuseWhiteout(name: Uint8Array, stat: Stat, path: Uint8Array): void {
  const isDevice = (stat.mode & S.FMT) === S.CHR && stat.rdevMajor === 0 && stat.rdevMinor === 0;
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
