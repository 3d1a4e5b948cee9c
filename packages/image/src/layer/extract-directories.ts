import { closeSync } from "node:fs";
import { AT, attempt, BoxError, ERRNO, O } from "@bantubox/ffi";
import {
  check,
  found,
  lookUp,
  OPEN_DIRECTORY,
  openInRoot,
  path,
  quote,
  readEntries,
  readLink,
  setXattr,
} from "./extract-kernel.ts";

/** Descriptors that are kept open; an extraction may not eat up a process that runs several. */
const MAX_OPEN = 64;
/** As many as the kernel follows. */
const MAX_LINKS = 40;

/** Opens the directory at a path below `root`, symlinks resolved as in a chroot. A descriptor or -errno. */
export type OpenDirectory = (root: number, name: string) => number;

/** Splits a path into what it names, `..` resolved by the letter and never above the root: `/a/./b/../../../c/` is `["c"]`. */
export function components(name: string): string[] {
  const parts: string[] = [];
  for (const part of name.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === "..") parts.pop();
    else parts.push(part);
  }
  return parts;
}

/** The directory of what `name` names, as `components` joins it, and its name there: `undefined` for the root itself. */
export function splitName(name: string): { parent: string; leaf: string | undefined } {
  const start = name.startsWith("./") ? 2 : 0;
  const end = name.endsWith("/") ? name.length - 1 : name.length;
  const plain = start === 0 && end === name.length ? name : name.slice(start, end);
  // Most names need no work; hidden files look as if they did.
  if (plain === "" || plain.startsWith(".") || plain.startsWith("/") || plain.includes("/.") || name.includes("//")) {
    const parts = components(name);
    const leaf = parts.pop();
    return { parent: parts.join("/"), leaf };
  }
  const slash = plain.lastIndexOf("/");
  return { parent: slash < 0 ? "" : plain.slice(0, slash), leaf: plain.slice(slash + 1) };
}

/** Makes a directory where a whiteout of this layer is: it hides the lower one's content from then on, no more and no less. */
export function replaceWhiteout(parent: number, name: string, where: string): void {
  check(attempt("unlinkat", parent, path(name), 0), "unlinkat", where);
  check(attempt("mkdirat", parent, path(name), 0o755), "mkdirat", where);
  const fd = openChild(parent, name);
  check(fd, "openat", where);
  setOpaque(fd, where);
  closeSync(fd);
}

export function setOpaque(fd: number, where: string): void {
  check(setXattr(fd, "trusted.overlay.opaque", "y"), "fsetxattr", where);
}

/** Opens a directory in `parent`; a symlink is none (`ENOTDIR`). */
export function openChild(parent: number, name: string): number {
  return attempt("openat", parent, path(name), OPEN_DIRECTORY | O.NOFOLLOW);
}

/**
 * Walks to a directory component by component: what the kernel does in `openInRoot`, for kernels that cannot, and
 * for making what is missing.
 *
 * Nobody else changes the tree meanwhile: it lies in a store that only its owner may enter.
 *
 * @param make Told of each missing directory by its parent and name, with the path to it; must make it.
 */
export function walkInRoot(
  root: number,
  name: string,
  make?: (parent: number, name: string, where: string) => void,
): number {
  const ahead = name.split("/").reverse();
  let behind: string[] = [];
  let links = 0;
  let fd = openChild(root, ".");
  try {
    while (fd >= 0) {
      const part = ahead.pop();
      if (part === undefined) return fd;
      if (part === "" || part === ".") continue;
      if (part === "..") {
        behind.pop();
        fd = swap(fd, descend(root, behind));
        continue;
      }
      let next = openChild(fd, part);
      if (next === -ERRNO.ENOENT && make !== undefined) {
        make(fd, part, [...behind, part].join("/"));
        next = openChild(fd, part);
      }
      if (next === -ERRNO.ENOTDIR || next === -ERRNO.ELOOP) {
        const target = readLink(fd, part);
        if (typeof target === "string") {
          if (++links > MAX_LINKS) return swap(fd, -ERRNO.ELOOP);
          ahead.push(...target.split("/").reverse());
          if (!target.startsWith("/")) continue;
          behind = [];
          fd = swap(fd, openChild(root, "."));
          continue;
        }
        if (make !== undefined && lookUp(fd, part) === 0 && found.isWhiteout) {
          replaceWhiteout(fd, part, [...behind, part].join("/"));
          next = openChild(fd, part);
        }
      }
      behind.push(part);
      fd = swap(fd, next);
    }
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Closes `old` and gives `next`, be it a descriptor or an error. */
function swap(old: number, next: number): number {
  closeSync(old);
  return next;
}

function descend(root: number, parts: readonly string[]): number {
  let fd = openChild(root, ".");
  for (const part of parts) {
    if (fd < 0) return fd;
    fd = swap(fd, openChild(fd, part));
  }
  return fd;
}

/** The directories below a root, by path: opened once, made when missing. */
export class Directories implements Disposable {
  readonly root: number;
  readonly #open: OpenDirectory;
  /** Is told of every directory that no entry named before something in it was. */
  readonly #make: (parent: number, name: string, where: string) => void;
  readonly #onOpen: (fd: number, where: string) => void;
  /** In order of use, the latest last. */
  readonly #cache = new Map<string, number>();
  #lastPath: string | undefined;
  #lastFd = -1;
  #stale = -1;
  #kernelCan = true;

  constructor(options: {
    root: number;
    open?: OpenDirectory | undefined;
    make: (parent: number, name: string, where: string) => void;
    onOpen: (fd: number, where: string) => void;
  }) {
    this.root = options.root;
    this.#open = options.open ?? openInRoot;
    this.#make = options.make;
    this.#onOpen = options.onOpen;
  }

  /**
   * A descriptor of the directory at `name` (as `components` joins it), which stays the property of this object and is
   * good until `MAX_OPEN` others were asked for, or `forget`.
   */
  get(name: string): number {
    if (name === this.#lastPath) return this.#lastFd;
    this.#closeStale();
    if (name === "") return this.root;
    let fd = this.#cache.get(name);
    if (fd === undefined) {
      fd = this.#openOrMake(name);
      if (this.#cache.size >= MAX_OPEN) this.#evict();
      this.#cache.set(name, fd);
      this.#onOpen(fd, name);
    } else {
      this.#cache.delete(name);
      this.#cache.set(name, fd);
    }
    this.#lastPath = name;
    this.#lastFd = fd;
    return fd;
  }

  /**
   * Forgets what paths mean: the tree changed in a way that may have changed it. The descriptor that `get` gave last
   * stays open until the next `get`, for whoever is still at work in it, however often this is called meanwhile.
   */
  forget(): void {
    for (const fd of this.#cache.values()) {
      if (fd === this.#lastFd) this.#stale = fd;
      else closeSync(fd);
    }
    this.#cache.clear();
    this.#lastPath = undefined;
    this.#lastFd = -1;
  }

  [Symbol.dispose](): void {
    this.forget();
    this.#closeStale();
  }

  #closeStale(): void {
    if (this.#stale >= 0) closeSync(this.#stale);
    this.#stale = -1;
  }

  /** The same without making anything. A descriptor that the caller closes, or -errno. */
  open(name: string): number {
    if (name === "") return openChild(this.root, ".");
    if (this.#kernelCan) {
      const fd = this.#open(this.root, name);
      // EPERM is what old seccomp filters say to calls that they do not know.
      if (fd !== -ERRNO.ENOSYS && fd !== -ERRNO.EPERM && fd !== -ERRNO.EAGAIN) return fd;
      if (fd !== -ERRNO.EAGAIN) this.#kernelCan = false;
    }
    return walkInRoot(this.root, name);
  }

  #openOrMake(name: string): number {
    let fd = this.open(name);
    if (fd === -ERRNO.ENOENT || fd === -ERRNO.ENOTDIR) fd = walkInRoot(this.root, name, this.#make);
    if (fd === -ERRNO.ENOTDIR) {
      throw new BoxError("layer-invalid", `Cannot extract into ${quote(name)}: a part of it is not a directory`);
    }
    if (fd === -ERRNO.ELOOP) {
      throw new BoxError("layer-invalid", `Cannot extract into ${quote(name)}: its symbolic links go round in circles`);
    }
    return check(fd, "openat2", name);
  }

  #evict(): void {
    for (const [name, fd] of this.#cache) {
      this.#cache.delete(name);
      closeSync(fd);
      return;
    }
  }
}

/**
 * Removes `name` in `parent`, whatever it is, without following symlinks. Needs three descriptors for a tree of any
 * depth: it goes back up by "..", which nobody else moves meanwhile.
 */
export function removeTree(parent: number, name: string, where: string): void {
  const result = attempt("unlinkat", parent, path(name), 0);
  if (result !== -ERRNO.EISDIR) {
    if (result !== -ERRNO.ENOENT) check(result, "unlinkat", where);
    return;
  }
  const trail = [name];
  let fd = check(openChild(parent, name), "openat", where);
  try {
    while (trail.length > 0) {
      let child: string | undefined;
      const current = fd;
      const some = readEntries(current, (entry) => {
        const removed = attempt("unlinkat", current, path(entry), 0);
        if (removed === -ERRNO.EISDIR) child ??= entry;
        else check(removed, "unlinkat", where);
      });
      if (child !== undefined) {
        trail.push(child);
        fd = swap(fd, check(openChild(fd, child), "openat", where));
        continue;
      }
      if (some) continue;
      const last = trail.pop() as string;
      if (trail.length === 0) break;
      fd = swap(fd, check(attempt("openat", fd, path(".."), OPEN_DIRECTORY), "openat", where));
      check(attempt("unlinkat", fd, path(last), AT.REMOVEDIR), "unlinkat", where);
    }
  } finally {
    closeSync(fd);
  }
  check(attempt("unlinkat", parent, path(name), AT.REMOVEDIR), "unlinkat", where);
}
