import { noFTL } from "bun:jsc";
import { closeSync, openSync } from "node:fs";
import { AT, addressOf, attempt, BoxError, ERRNO, O, S_IF, SysError } from "@bantubox/ffi";
import type { TarEntry, TarSink } from "../tar/tar.ts";
import {
  Directories,
  type OpenDirectory,
  openChild,
  removeTree,
  replaceWhiteout,
  setOpaque,
  splitName,
} from "./extract-directories.ts";
import {
  check,
  found,
  isDirectory,
  isFile,
  lookUp,
  OPEN_DIRECTORY,
  path,
  quote,
  setMtime,
  setXattr,
} from "./extract-kernel.ts";
import { PendingDirectories, settleDirectory } from "./extract-pending.ts";
import type { LayerLimits } from "./layer-limits.ts";
import { classifyName } from "./whiteout.ts";

const CREATE = O.WRONLY | O.CREAT | O.EXCL | O.CLOEXEC | O.NOFOLLOW;

/** Bits of a mode that only chmod gives. */
const SPECIAL = 0o7000;

/**
 * Makes what a layer's entries describe below a directory, as the lower directory of an overlay.
 *
 * Paths resolve as in a chroot. A later entry replaces an earlier one of the same name without following it;
 * directories merge. Whatever it is told, it touches nothing outside the directory.
 */
export class Extractor implements TarSink, Disposable {
  /** Entries taken in so far, and directories made for them. */
  entries = 0;
  /** Whether the layer hides everything below it. Overlay does not look for that at a layer's root. */
  isRootOpaque = false;
  readonly #root: number;
  readonly #limits: LayerLimits;
  readonly #directories: Directories;
  /** Files of root need no chown, since root makes them in directories that are still root's own. */
  #chownAlways: boolean;
  readonly #umask: number;

  readonly #pending: PendingDirectories;

  /** The parent of the entry before, when that was fine. */
  #checkedParent: string | undefined;

  /** The file that is being written, and where it is. */
  #file = -1;
  #entry: TarEntry | undefined;
  #where = "";
  #chunk: Buffer | undefined;
  #chunkAddress = 0;

  /**
   * @param directory Exists and is empty. Its owner becomes root and its mode 0755, unless an entry says otherwise.
   * @param open How to open directories, where the kernel's own way is not wanted.
   */
  constructor({
    directory,
    limits,
    open,
  }: { directory: string; limits: LayerLimits; open?: OpenDirectory | undefined }) {
    this.#limits = limits;
    this.#root = openSync(directory, OPEN_DIRECTORY | O.NOFOLLOW);
    this.#umask = process.umask();
    this.#directories = new Directories({
      root: this.#root,
      open,
      make: (parent, name, where) => this.#makeImplied(parent, name, where),
      onOpen: (fd, where) => this.#pending.keep(fd, where),
    });
    this.#pending = new PendingDirectories({
      directories: this.#directories,
      maxCharacters: limits.pendingCharacters,
      onEarly: () => {
        this.#chownAlways = true;
      },
    });
    check(attempt("fchown", this.#root, 0, 0), "fchown", directory);
    check(attempt("fchmod", this.#root, 0o755), "fchmod", directory);
    this.#chownAlways = process.geteuid?.() !== 0 || process.getegid?.() !== 0;
  }

  begin(entry: TarEntry): void {
    this.#entry = undefined;
    this.#count(entry);
    const { parent, leaf } = splitName(entry.name);
    if (leaf === undefined) {
      this.#rootEntry(entry);
      return;
    }
    const where = parent === "" ? leaf : `${parent}/${leaf}`;
    if (parent !== this.#checkedParent) {
      if (!this.#checkParent(parent, where)) return;
      this.#checkedParent = parent;
    }

    const whiteout = classifyName(leaf);
    switch (whiteout.kind) {
      case "metadata":
        return;
      case "invalid":
        throw new BoxError("layer-invalid", `Cannot extract ${short(where)}: the whiteout names nothing`);
      case "opaque":
        if (parent === "") this.isRootOpaque = true;
        setOpaque(this.#directories.get(parent), parent);
        return;
      case "hide":
        this.#hide(this.#directories.get(parent), whiteout.name, where);
        return;
    }
    this.#make(entry, this.#directories.get(parent), leaf, where);
  }

  data(chunk: Buffer, start: number, stop: number, position: number): void {
    if (this.#file < 0) return;
    if (chunk !== this.#chunk) {
      this.#chunk = chunk;
      this.#chunkAddress = addressOf(chunk);
    }
    const isSparse = this.#entry?.isSparse === true;
    let at = start;
    while (at < stop) {
      const source = this.#chunkAddress + at;
      const written = isSparse
        ? attempt("pwrite64", this.#file, source, stop - at, position + at - start)
        : attempt("write", this.#file, source, stop - at);
      if (written <= 0) throw new SysError("write", written === 0 ? ERRNO.EIO : -written, quote(this.#where));
      at += written;
    }
  }

  end(): void {
    const entry = this.#entry;
    if (this.#file < 0 || entry === undefined) return;
    const fd = this.#file;
    const where = this.#where;
    if (entry.isSparse) check(attempt("ftruncate", fd, entry.size), "ftruncate", where);
    this.#settleFile(fd, entry, where);
    this.#file = -1;
    closeSync(fd);
  }

  /** Gives directories their final times and modes: call it after the last entry. */
  finish(): void {
    this.#pending.settle();
  }

  [Symbol.dispose](): void {
    if (this.#file >= 0) closeSync(this.#file);
    this.#file = -1;
    this.#chunk = undefined;
    this.#directories[Symbol.dispose]();
    closeSync(this.#root);
  }

  #count(entry: TarEntry): void {
    this.entries++;
    if (this.entries > this.#limits.entries) {
      throw new BoxError(
        "layer-limit",
        `Cannot extract ${short(entry.name)}: the layer has more than ${this.#limits.entries} entries`,
      );
    }
    const { uid, gid } = entry;
    // 2^32 - 1 means "leave as it is" to chown.
    if (uid < 0 || uid >= 2 ** 32 - 1 || gid < 0 || gid >= 2 ** 32 - 1) {
      throw new BoxError(
        "layer-invalid",
        `Cannot extract ${short(entry.name)}: its owner ${uid}:${gid} does not exist on Linux`,
      );
    }
  }

  /** Whether what lies in `parent` is wanted. */
  #checkParent(parent: string, where: string): boolean {
    const parts = parent === "" ? [] : parent.split("/");
    if (parts.length >= this.#limits.depth) {
      throw new BoxError(
        "layer-limit",
        `Cannot extract ${short(where)}: it lies more than ${this.#limits.depth} directories deep`,
      );
    }
    for (const part of parts) {
      const { kind } = classifyName(part);
      if (kind === "metadata") return false;
      if (kind !== "plain") {
        throw new BoxError("layer-invalid", `Cannot extract ${short(where)}: whiteouts are no directories`);
      }
    }
    return true;
  }

  #rootEntry(entry: TarEntry): void {
    if (entry.type !== "directory") {
      throw new BoxError("layer-invalid", `Cannot extract ${short(entry.name)}: the root can only be a directory`);
    }
    this.#setXattrs(this.#root, entry, "/");
    this.#pending.add("", entry);
  }

  #make(entry: TarEntry, parent: number, leaf: string, where: string): void {
    switch (entry.type) {
      case "file":
        this.#makeFile(entry, parent, leaf, where);
        return;
      case "directory":
        this.#makeDirectory(entry, parent, leaf, where);
        return;
      case "symlink":
        this.#makeSymlink(entry, parent, leaf, where);
        return;
      case "hardlink":
        this.#makeHardlink(entry, parent, leaf, where);
        return;
      case "char":
      case "block":
      case "fifo":
        this.#makeNode(entry, parent, leaf, where);
        return;
      case "unsupported":
        throw new BoxError(
          "layer-invalid",
          `Cannot extract ${short(where)}: entries of type ${JSON.stringify(entry.letter)} are unknown`,
        );
    }
  }

  #makeFile(entry: TarEntry, parent: number, leaf: string, where: string): void {
    const mode = entry.mode & 0o777;
    let fd = attempt("openat", parent, path(leaf), CREATE, mode);
    if (fd === -ERRNO.EEXIST) {
      this.#remove(parent, leaf, where);
      fd = attempt("openat", parent, path(leaf), CREATE, mode);
    }
    this.#file = check(fd, "openat", where);
    this.#entry = entry;
    this.#where = where;
  }

  /** In this order: writing drops capabilities and setuid, chown does so too, and everything bumps the time. */
  #settleFile(fd: number, entry: TarEntry, where: string): void {
    if (this.#chownAlways || entry.uid !== 0 || entry.gid !== 0) {
      check(attempt("fchown", fd, entry.uid, entry.gid), "fchown", where);
    }
    if (entry.xattrs !== undefined) this.#setXattrs(fd, entry, where);
    if ((entry.mode & (SPECIAL | this.#umask)) !== 0) {
      check(attempt("fchmod", fd, entry.mode & 0o7777), "fchmod", where);
    }
    check(setMtime(fd, undefined, entry.mtime, entry.mtimeNs), "utimensat", where);
  }

  #makeDirectory(entry: TarEntry, parent: number, leaf: string, where: string): void {
    const mode = entry.mode & 0o777;
    const made = attempt("mkdirat", parent, path(leaf), mode);
    let hasReplaced = false;
    if (made === -ERRNO.EEXIST) {
      check(lookUp(parent, leaf), "statx", where);
      if (found.isWhiteout) {
        replaceWhiteout(parent, leaf, where);
      } else if (!isDirectory()) {
        this.#remove(parent, leaf, where);
        check(attempt("mkdirat", parent, path(leaf), mode), "mkdirat", where);
        hasReplaced = true;
      }
    } else {
      check(made, "mkdirat", where);
    }
    if (entry.xattrs === undefined && !hasReplaced) {
      this.#pending.add(where, entry);
      return;
    }
    const fd = check(openChild(parent, leaf), "openat", where);
    try {
      this.#setXattrs(fd, entry, where);
      if (hasReplaced) {
        // It may have taken the place of a link that its own path leads through: then that path is another's by now.
        settleDirectory(fd, entry, where);
        this.#pending.settleEarly();
      } else {
        this.#pending.add(where, entry);
      }
    } finally {
      closeSync(fd);
    }
  }

  #makeSymlink(entry: TarEntry, parent: number, leaf: string, where: string): void {
    if (entry.linkname === "") {
      throw new BoxError("layer-invalid", `Cannot extract ${short(where)}: the symbolic link has no target`);
    }
    let made = attempt("symlinkat", path(entry.linkname, 1), parent, path(leaf));
    if (made === -ERRNO.EEXIST) {
      this.#remove(parent, leaf, where);
      made = attempt("symlinkat", path(entry.linkname, 1), parent, path(leaf));
    }
    check(made, "symlinkat", where);
    this.#settleUnopened(entry, parent, leaf, where);
  }

  #makeHardlink(entry: TarEntry, parent: number, leaf: string, where: string): void {
    const { parent: from, leaf: source = "." } = splitName(entry.linkname);
    const sourceParent = this.#directories.open(from);
    try {
      if (sourceParent < 0 || lookUp(sourceParent, source) < 0 || found.isWhiteout) throw noSource(entry, where);
      if (isDirectory()) {
        throw new BoxError(
          "layer-invalid",
          `Cannot link ${short(where)} to ${short(entry.linkname)}: that is a directory`,
        );
      }
      const { inode, device } = found;
      let made = attempt("linkat", sourceParent, path(source), parent, path(leaf, 1), 0);
      if (made === -ERRNO.EEXIST) {
        check(lookUp(parent, leaf), "statx", where);
        if (found.inode === inode && found.device === device) return;
        this.#remove(parent, leaf, where);
        made = attempt("linkat", sourceParent, path(source), parent, path(leaf, 1), 0);
        // It lay in what had to make room.
        if (made === -ERRNO.ENOENT) throw noSource(entry, where);
      }
      check(made, "linkat", where);
    } finally {
      if (sourceParent >= 0) closeSync(sourceParent);
    }
  }

  #makeNode(entry: TarEntry, parent: number, leaf: string, where: string): void {
    const { type, devMajor: major, devMinor: minor } = entry;
    // Overlay would take it for a whiteout: layers have names for those.
    if (type === "char" && major === 0 && minor === 0) return;
    if (major < 0 || major > 0xfff || minor < 0 || minor > 0xfffff) {
      throw new BoxError("layer-invalid", `Cannot extract ${short(where)}: Linux has no device ${major}:${minor}`);
    }
    const mode = (type === "char" ? S_IF.CHR : type === "block" ? S_IF.BLK : S_IF.FIFO) | (entry.mode & 0o777);
    // As the kernel's new_decode_dev() reads it.
    const device = type === "fifo" ? 0 : ((minor & 0xff) | (major << 8) | ((minor & 0xfff00) << 12)) >>> 0;
    let made = attempt("mknodat", parent, path(leaf), mode, device);
    if (made === -ERRNO.EEXIST) {
      this.#remove(parent, leaf, where);
      made = attempt("mknodat", parent, path(leaf), mode, device);
    }
    check(made, "mknodat", where);
    this.#settleUnopened(entry, parent, leaf, where);
  }

  /** Gives a new symlink, device or FIFO its attributes; opening those would follow, block or be refused. */
  #settleUnopened(entry: TarEntry, parent: number, leaf: string, where: string): void {
    if (this.#chownAlways || entry.uid !== 0 || entry.gid !== 0) {
      check(attempt("fchownat", parent, path(leaf), entry.uid, entry.gid, AT.SYMLINK_NOFOLLOW), "fchownat", where);
    }
    if (entry.type !== "symlink" && (entry.mode & (SPECIAL | this.#umask)) !== 0) {
      check(attempt("fchmodat", parent, path(leaf), entry.mode & 0o7777), "fchmodat", where);
    }
    check(setMtime(parent, leaf, entry.mtime, entry.mtimeNs), "utimensat", where);
  }

  /** Hides `name` of the layers below; what this layer itself has there stays, whichever came first. */
  #hide(parent: number, name: string, where: string): void {
    const made = attempt("mknodat", parent, path(name), S_IF.CHR, 0);
    if (made !== -ERRNO.EEXIST) {
      check(made, "mknodat", where);
      return;
    }
    const fd = openChild(parent, name);
    if (fd < 0) return;
    try {
      setOpaque(fd, where);
    } finally {
      closeSync(fd);
    }
  }

  #setXattrs(fd: number, entry: TarEntry, where: string): void {
    if (entry.xattrs === undefined) return;
    for (const [name, value] of entry.xattrs) {
      if (!isWantedXattr(name)) continue;
      const result = setXattr(fd, name, value);
      // File systems without user attributes are common, and images that need theirs are not.
      if (result === -ERRNO.EOPNOTSUPP && name !== "security.capability") continue;
      if (result < 0) throw new SysError("fsetxattr", -result, `${quote(name)} of ${quote(where)}`);
    }
  }

  /** Clears the way for another type of the same name. */
  #remove(parent: number, leaf: string, where: string): void {
    // Paths of what is pending may lead through a link that goes, or to a directory by another name.
    if (lookUp(parent, leaf) === 0 && !isFile()) this.#pending.settleEarly();
    removeTree(parent, leaf, where);
    // It may have been part of cached paths.
    this.#directories.forget();
  }

  #makeImplied(parent: number, name: string, where: string): void {
    if (++this.entries > this.#limits.entries) {
      throw new BoxError(
        "layer-limit",
        `Cannot extract ${short(where)}: the layer has more than ${this.#limits.entries} entries`,
      );
    }
    check(attempt("mkdirat", parent, path(name), 0o755), "mkdirat", where);
    check(attempt("fchmodat", parent, path(name), 0o755), "fchmodat", where);
    check(attempt("fchownat", parent, path(name), 0, 0, AT.SYMLINK_NOFOLLOW), "fchownat", where);
  }
}

/** Attributes that mean something to the host's kernel stay out: overlay's own above all, and labels of another host. */
function isWantedXattr(name: string): boolean {
  if (name === "security.capability") return true;
  return name.startsWith("user.") && !name.startsWith("user.overlay.");
}

function noSource(entry: TarEntry, where: string): BoxError {
  return new BoxError(
    "layer-invalid",
    `Cannot link ${short(where)} to ${short(entry.linkname)}: this layer has no such file`,
  );
}

function short(name: string): string {
  return name.length > 200 ? `${quote(name.slice(0, 200))}…` : quote(name);
}

// See tar-header.ts.
noFTL(Extractor.prototype.begin);
