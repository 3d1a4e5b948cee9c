import { closeSync } from "node:fs";
import { attempt } from "@bantubox/ffi";
import { type Directories, openChild } from "./extract-directories.ts";
import { check, found, lookUp, setMtime } from "./extract-kernel.ts";

/** What a directory gets once nothing more is put into it. */
interface Attributes {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly mtime: number;
  readonly mtimeNs: number;
}

/** Directories that get their modes and times at the end, since whatever is put into them would change those. By path. */
export class PendingDirectories {
  readonly #directories: Directories;
  readonly #maxCharacters: number;
  readonly #onEarly: () => void;
  readonly #pending = new Map<string, Attributes>();
  #characters = 0;
  /** Whether directories were settled early: then they are made pending again before something is put into them. */
  #settledEarly = false;

  /**
   * @param options.maxCharacters Of all paths; more are settled early.
   * @param options.onEarly Called when directories were settled, and more entries come: owners may differ from now on.
   */
  constructor(options: { directories: Directories; maxCharacters: number; onEarly: () => void }) {
    this.#directories = options.directories;
    this.#maxCharacters = options.maxCharacters;
    this.#onEarly = options.onEarly;
  }

  add(where: string, { uid, gid, mode, mtime, mtimeNs }: Attributes): void {
    // Deleted first, so that the latest entry of a directory that has two paths is settled last.
    if (!this.#pending.delete(where)) this.#characters += where.length + 64;
    this.#pending.set(where, { uid, gid, mode: mode & 0o7777, mtime, mtimeNs });
    if (this.#characters >= this.#maxCharacters) this.settleEarly();
  }

  /** From now on a directory's attributes are kept, by the path that it is opened by, when something is put into it. */
  settleEarly(): void {
    this.settle();
    this.#settledEarly = true;
    this.#onEarly();
    this.#directories.forget();
  }

  /** Is told of each directory that is opened for something to be put into it. */
  keep(fd: number, where: string): void {
    if (!this.#settledEarly || this.#pending.has(where)) return;
    check(lookUp(fd, ""), "statx", where);
    this.#characters += where.length + 64;
    const { uid, gid, mode, mtime, mtimeNs } = found;
    this.#pending.set(where, { uid, gid, mode: mode & 0o7777, mtime, mtimeNs });
  }

  settle(): void {
    for (const [where, attributes] of this.#pending) {
      const slash = where.lastIndexOf("/");
      const parent = this.#directories.open(slash < 0 ? "" : where.slice(0, slash));
      // A later entry may have put something else in its place.
      if (parent < 0) continue;
      const fd = where === "" ? openChild(parent, ".") : openChild(parent, where.slice(slash + 1));
      closeSync(parent);
      if (fd < 0) continue;
      try {
        settleDirectory(fd, attributes, where);
      } finally {
        closeSync(fd);
      }
    }
    this.#pending.clear();
    this.#characters = 0;
  }
}

export function settleDirectory(fd: number, { uid, gid, mode, mtime, mtimeNs }: Attributes, where: string): void {
  // Also for root's: a directory made in one that was settled with its setgid bit has that one's group.
  check(attempt("fchown", fd, uid, gid), "fchown", where);
  check(attempt("fchmod", fd, mode & 0o7777), "fchmod", where);
  check(setMtime(fd, undefined, mtime, mtimeNs), "utimensat", where);
}
