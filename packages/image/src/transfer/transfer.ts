import { setImmediate } from "node:timers/promises";
import { AT, attempt, BoxError, call, close, cstr, ERRNO, O, RESOLVE, SysError } from "@bantubox/ffi";
import { makeDevice } from "../tree/copy.ts";
import { FileData } from "../tree/file-data.ts";
import { isOfKernel } from "../tree/kernel-files.ts";
import { isDirectory, isGone } from "../tree/merged.ts";
import { markOpaque } from "../tree/overlay-marks.ts";
import { openBelow } from "../tree/resolve.ts";
import {
  display,
  isOpaque,
  openDirectory,
  openRegular,
  PATH_MAX,
  pathTooLong,
  readLink,
  readNames,
  readOwnXattrs,
  readXattrs,
  S,
  type Stat,
  statAt,
  writeMtime,
  writeOwnXattr,
  writeXattr,
} from "../tree/tree.ts";

/** How long the event loop may stand still, in milliseconds. */
const BREATH_MS = 50;
const SPECIAL_BITS = 0o6000;

const ITSELF = cstr("");
const HERE = cstr(".");

export interface TransferOptions {
  /** Whose everything becomes; the source's owners when absent. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
  /**
   * Whether setuid, setgid and capabilities come along: `always`, `never`, or `same-owner`, where the copy belongs to
   * whom the original does.
   */
  readonly privileges: "always" | "never" | "same-owner";
  readonly devices: "make" | "skip";
  /** The trees are layers of overlay: whiteouts and opaque directories are kept as what they are. */
  readonly layers?: boolean | undefined;
  /** The source may be an overlay over where the copy is made, and shows that under another identity. */
  readonly throughOverlay?: boolean | undefined;
  /** Paths below what is copied, without a slash in front, that are left out. */
  readonly exclude?: ((path: Buffer, stat: Stat) => boolean) | undefined;
  /** Told of what cannot be copied: a device, a socket. */
  readonly onSkipped?: ((path: Buffer, what: string) => void) | undefined;
  /** Bytes of files so far. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Something in a directory: its descriptor, and the name there as `cstr` makes it. */
export interface Place {
  readonly parent: number;
  readonly name: Uint8Array;
}

/**
 * Copies trees from descriptor to descriptor: no link is followed on either side, and nothing is opened that is not a
 * directory or a regular file, whatever the owner of either tree does meanwhile. Directories merge; anything else gives
 * way to what is copied. What the kernel shows where it is mounted below, as `/proc` in `/`, is left out, and so is the
 * copy where it is made below its own source. What comes or goes meanwhile may be missed; a file is copied up to the
 * length that it had.
 */
export class Transfer {
  /** Of all files so far. */
  bytes = 0;
  readonly #options: TransferOptions;
  readonly #data = new FileData();
  /** Where the first name of a file with several has been copied to. */
  readonly #linked = new Map<string, { readonly path: string; readonly identity: string }>();
  #base = -1;
  /** The directory that the copy is made in, open: within the source it would be copied into itself without an end. */
  #made = -1;
  readonly #begunSec = Math.floor(Date.now() / 1000);
  /** Where the copied tree begins. */
  #mount = 0;
  #breath = performance.now();

  constructor(options: TransferOptions) {
    this.#options = options;
  }

  /**
   * Copies one thing with all that is in it to a name in another directory.
   *
   * @throws {BoxError} `copy-type` when a directory would replace something else, or the other way round.
   */
  async copy(from: Place, to: Place): Promise<void> {
    this.#base = to.parent;
    const stat = statAt(from.parent, from.name, display(from.name));
    this.#mount = stat.mount;
    await this.#entry(from, to, stat, Buffer.from(to.name.subarray(0, -1)), Buffer.alloc(0));
  }

  /** Copies what is in a directory into another one, whose own attributes stay as they are. */
  async copyContents(from: number, to: number): Promise<void> {
    this.#base = to;
    this.#made = to;
    this.#mount = statAt(from, ITSELF, "a directory").mount;
    await this.#contents(from, to, Buffer.alloc(0), Buffer.alloc(0));
  }

  /** Gives a directory the attributes of another. */
  copyAttributes(from: Place, to: Place): void {
    this.#settle(from, to, statAt(from.parent, from.name, display(from.name)));
  }

  async #contents(from: number, to: number, target: Buffer, path: Buffer): Promise<void> {
    for (const name of readNames(from, display(path))) {
      const bare = name.subarray(0, -1);
      const below = Buffer.concat([path, bare]);
      try {
        const stat = statAt(from, name, display(below));
        if (this.#options.exclude?.(below, stat) === true) continue;
        if (isDirectory(stat) && this.#isMade(stat)) {
          this.#options.onSkipped?.(below, "where the copy goes");
          continue;
        }
        await this.#entry({ parent: from, name }, { parent: to, name }, stat, Buffer.concat([target, bare]), below);
      } catch (error) {
        // It was removed meanwhile, if it is the source that is gone.
        if (!isGone(error) || !isMissing(from, name)) throw error;
      }
      await this.#breathe();
    }
  }

  /** Whether it is where the copy goes, by whatever name. An overlay passes on all that its lower directory is but its number. */
  #isMade(stat: Stat): boolean {
    const made = statAt(this.#made, ITSELF, "a directory");
    if (stat.identity === made.identity) return true;
    if (!this.#options.throughOverlay || stat.ctime + 1 < this.#begunSec) return false;
    const facts = ({ ctime, ctimeNs, mtime, mtimeNs, mode, uid, gid }: Stat): string =>
      [ctime, ctimeNs, mtime, mtimeNs, mode, uid, gid].join();
    return facts(stat) === facts(made);
  }

  /** @param target Below `#base`, for links. @param path Below what is copied, for people. */
  async #entry(from: Place, to: Place, stat: Stat, target: Buffer, path: Buffer): Promise<void> {
    if (target.length > PATH_MAX) throw pathTooLong("copy", target);
    const type = stat.mode & S.FMT;
    if (type === S.DIR) {
      await this.#directory(from, to, stat, target, path);
      return;
    }
    const skipped = this.#reasonToSkip(stat);
    if (skipped !== undefined) {
      this.#options.onSkipped?.(path, skipped);
      return;
    }
    if (stat.links > 1 && this.#link(to, stat)) return;
    if (type === S.REG) {
      if (!this.#file(from, to)) return;
    } else this.#special(from, to, stat);
    if (stat.links > 1) {
      const made = statAt(to.parent, to.name, display(to.name));
      this.#linked.set(stat.identity, { path: target.toString("latin1"), identity: made.identity });
    }
  }

  #reasonToSkip({ mode, rdevMajor, rdevMinor }: Stat): string | undefined {
    const type = mode & S.FMT;
    if (type === S.SOCK) return "a socket";
    const isDevice = type === S.CHR || type === S.BLK;
    if (!isDevice || this.#options.devices === "make") return undefined;
    return `the device ${rdevMajor}:${rdevMinor}`;
  }

  async #directory(from: Place, to: Place, stat: Stat, target: Buffer, path: Buffer): Promise<void> {
    const made = attempt("mkdirat", to.parent, to.name, 0o700);
    if (made === -ERRNO.EEXIST) {
      const there = statAt(to.parent, to.name, display(target));
      if (!isDirectory(there)) throw cannotReplace(target, "a directory cannot take the place of a file");
    } else if (made < 0) throw new SysError("mkdirat", -made, display(target));
    const slash = Buffer.from("/");
    {
      using source = openDirectory(from.parent, from.name, display(path));
      using copy = openDirectory(to.parent, to.name, display(target));
      if (this.#made < 0) this.#made = copy.raw;
      const below = path.length === 0 ? path : Buffer.concat([path, slash]);
      if (stat.mount === this.#mount || !isOfKernel(source.raw))
        await this.#contents(source.raw, copy.raw, Buffer.concat([target, slash]), below);
      // One that was there keeps what it is.
      if (made === 0) this.#settle(from, { parent: copy.raw, name: ITSELF }, stat);
    }
  }

  /** Whether the file has been copied under another name, and this one now leads to the copy. */
  #link(to: Place, { identity }: Stat): boolean {
    const first = this.#linked.get(identity);
    if (first === undefined) return false;
    clearWay(to);
    const slash = first.path.lastIndexOf("/");
    const leaf = cstr(Buffer.from(first.path.slice(slash + 1), "latin1"));
    const directory = Buffer.from(first.path.slice(0, Math.max(0, slash)), "latin1");
    const parent = openBelow(this.#base, directory, O.PATH | O.DIRECTORY, RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS);
    // Whoever else is at work there may have put something else in its place, or a link on the way: then it is copied.
    if (parent < 0) return false;
    const linked = attempt("linkat", parent, leaf, to.parent, to.name, 0);
    close(parent);
    if (linked < 0) return false;
    if (statAt(to.parent, to.name, display(to.name)).identity === first.identity) return true;
    call("unlinkat", display(to.name), to.parent, to.name, 0);
    return false;
  }

  /** @returns False when it is no file any more. */
  #file(from: Place, to: Place): boolean {
    const subject = display(from.name);
    using file = openRegular(from.parent, from.name, subject);
    if (file === undefined) return false;
    const output = createFile(to);
    try {
      this.bytes += this.#data.copy(file.fd, output, file.stat, subject);
      this.#settle(from, { parent: output, name: ITSELF }, file.stat, readOwnXattrs(file.fd, from.name));
    } finally {
      close(output);
    }
    return true;
  }

  #special(from: Place, to: Place, stat: Stat): void {
    const subject = display(from.name);
    const type = stat.mode & S.FMT;
    const make = (): number =>
      type === S.LNK
        ? attempt("symlinkat", cstr(readLink(from.parent, from.name, subject)), to.parent, to.name)
        : attempt("mknodat", to.parent, to.name, type | 0o600, makeDevice(stat));
    let made = make();
    if (made === -ERRNO.EEXIST) {
      clearWay(to);
      made = make();
    }
    if (made < 0) throw new SysError(type === S.LNK ? "symlinkat" : "mknodat", -made, subject);
    this.#settle(from, to, stat);
  }

  /** Ownership before the mode, since chown(2) takes setuid away; capabilities after it, for the same reason; times last. */
  #settle(
    from: Place,
    to: Place,
    stat: Stat,
    xattrs = readXattrs(from.parent, from.name.length === 1 ? HERE : from.name),
  ): void {
    const { owner = stat, privileges, layers = false } = this.#options;
    const subject = display(from.name);
    const isItself = to.name.length === 1;
    const flags = isItself ? AT.EMPTY_PATH : AT.SYMLINK_NOFOLLOW;
    call("fchownat", subject, to.parent, to.name, owner.uid, owner.gid, flags);
    const isSame = owner.uid === stat.uid && owner.gid === stat.gid;
    const keeps = privileges === "always" || (privileges === "same-owner" && isSame);
    const mode = stat.mode & 0o7777 & (keeps || isDirectory(stat) ? 0o7777 : ~SPECIAL_BITS);
    const isLink = (stat.mode & S.FMT) === S.LNK;
    if (isItself) call("fchmod", subject, to.parent, mode);
    else if (!isLink) chmodPlace(to, stat.mode & S.FMT, mode);
    const own = isItself ? HERE : to.name;
    const source = from.name.length === 1 ? HERE : from.name;
    // A file's descriptor has no name below it: by that of the descriptor itself.
    const place = isItself && !isDirectory(stat) ? undefined : own;
    for (const xattr of xattrs) {
      if (!keeps && xattr.name === "security.capability") continue;
      if (place === undefined) writeOwnXattr(to.parent, xattr);
      else writeXattr(to.parent, place, xattr);
    }
    if (layers && isDirectory(stat) && isOpaque(from.parent, source)) {
      const marked = markOpaque(to.parent, own);
      if (marked < 0) throw new SysError("lsetxattr", -marked, subject);
    }
    if (place === undefined) writeMtime(to.parent, undefined, stat);
    else writeMtime(to.parent, place, stat);
  }

  async #breathe(): Promise<void> {
    if (performance.now() - this.#breath < BREATH_MS) return;
    this.#options.onProgress?.(this.bytes);
    await setImmediate();
    this.#options.signal?.throwIfAborted();
    this.#breath = performance.now();
  }
}

/** Sets the mode of what was made by a descriptor of it: a link that somebody puts in its place leads nowhere. */
export function chmodPlace({ parent, name }: Place, type: number, mode: number): void {
  const subject = display(name);
  const held = call("openat", subject, parent, name, O.PATH | O.NOFOLLOW | O.CLOEXEC);
  try {
    if ((statAt(held, ITSELF, subject).mode & S.FMT) !== type) return;
    call("fchmodat", subject, AT.FDCWD, cstr(`/proc/self/fd/${held}`), mode);
  } finally {
    close(held);
  }
}

/** Opens a new file for writing; one that is there gives way, and one that is mounted there is written to. */
export function createFile({ parent, name }: Place): number {
  const flags = O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW | O.CLOEXEC;
  const subject = display(name);
  for (let tries = 0; ; tries++) {
    const made = attempt("openat", parent, name, flags, 0o600);
    if (made >= 0) return made;
    if (made !== -ERRNO.EEXIST || tries > 16) throw new SysError("openat", -made, subject);
    if (clearWay({ parent, name })) continue;
    return openMounted({ parent, name });
  }
}

/** The file that is mounted there, emptied. */
function openMounted({ parent, name }: Place): number {
  const subject = display(name);
  const held = call("openat", subject, parent, name, O.PATH | O.NOFOLLOW | O.CLOEXEC);
  try {
    if ((statAt(held, ITSELF, subject).mode & S.FMT) !== S.REG) throw new SysError("openat", ERRNO.EBUSY, subject);
    const flags = O.WRONLY | O.TRUNC | O.CLOEXEC;
    return call("openat", subject, AT.FDCWD, cstr(`/proc/self/fd/${held}`), flags);
  } finally {
    close(held);
  }
}

/** Removes what has a name. @returns False for a mount point, which stays. */
export function clearWay({ parent, name }: Place): boolean {
  const result = attempt("unlinkat", parent, name, 0);
  if (result === 0 || result === -ERRNO.ENOENT) return true;
  if (result === -ERRNO.EBUSY) return false;
  if (result === -ERRNO.EISDIR) throw cannotReplace(Buffer.from(name.subarray(0, -1)), "it is a directory");
  throw new SysError("unlinkat", -result, display(name));
}

function cannotReplace(path: Buffer, why: string): BoxError {
  return new BoxError("copy-type", `Cannot replace ${display(path)}: ${why}`);
}

function isMissing(parent: number, name: Uint8Array): boolean {
  try {
    statAt(parent, name, display(name));
    return false;
  } catch (error) {
    return isGone(error);
  }
}
