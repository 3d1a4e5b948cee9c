import {
  isDirectory,
  isGone,
  isHidden,
  type Merged,
  type MergedEntry,
  mergedEntries,
  openBoth,
  openRoots,
} from "./merged.ts";
import { isOpaque, readXattrs, type Stat } from "./tree.ts";

/** What became of one path. */
export interface Change {
  /** Below the root, without a slash in front. */
  readonly path: Buffer;
  readonly kind: "added" | "modified" | "deleted";
}

/** Says of something that the upper directory has and the lower one has not whether nobody meant to make it. */
export type Passed = (path: Buffer, stat: Stat) => boolean;

/** What was found in a directory. */
interface Inside {
  readonly changed: boolean;
  /** Something was passed over: then the directory's own time tells nothing. */
  readonly hasPassed: boolean;
}

const NOTHING: Inside = { changed: false, hasPassed: false };

/**
 * What an overlay's upper directory changes of the tree below it: sorted, a directory before what is in it. The
 * directories that a change lies in are modified, as Docker has it; of a deleted tree only its top is named.
 */
export function upperChanges(lower: number, upper: number, passed: Passed = () => false): Change[] {
  const changes: Change[] = [];

  function visit(directory: Merged, parent: Buffer, hides: boolean): Inside {
    let changed = false;
    let hasPassed = false;
    for (const entry of mergedEntries(directory, parent)) {
      const path = Buffer.concat([parent, entry.name.subarray(0, -1)]);
      const isLower = entry.parent === directory.lower;
      if (isLower || isHidden(entry)) {
        if (isLower ? !hides : entry.below === undefined) continue;
        changes.push({ path, kind: "deleted" });
        changed = true;
        continue;
      }
      const at = changes.push({ path, kind: entry.below === undefined ? "added" : "modified" });
      const inside = isDirectory(entry.stat) ? look(directory, entry, path, hides) : NOTHING;
      hasPassed ||= inside.hasPassed;
      if (inside.changed || !isNothing(directory, entry, path, inside)) changed = true;
      else {
        changes.length = at - 1;
        hasPassed ||= entry.below === undefined;
      }
    }
    return { changed, hasPassed };
  }

  function look(directory: Merged, entry: MergedEntry, path: Buffer, hides: boolean): Inside {
    try {
      using child = openBoth(directory, entry);
      const isHiding = hides || isOpaque(entry.parent, entry.name);
      return visit(child, Buffer.concat([path, Buffer.from("/")]), isHiding);
    } catch (error) {
      if (isGone(error)) return NOTHING;
      throw error;
    }
  }

  /** Whether something with nothing in it that counts is none of the container's doing itself. */
  function isNothing({ lower: from }: Merged, entry: MergedEntry, path: Buffer, { hasPassed }: Inside): boolean {
    const { below, stat, parent, name } = entry;
    if (below === undefined) return passed(path, stat);
    // Copied up on the way to something in it, or for what was passed over.
    return (
      from !== undefined &&
      isDirectory(stat) &&
      isSameDirectory(stat, below, hasPassed) &&
      Bun.deepEquals(readXattrs(parent, name), readXattrs(from, name))
    );
  }

  using roots = openRoots(lower, upper);
  visit(roots, Buffer.alloc(0), false);
  return changes;
}

function isSameDirectory(a: Stat, b: Stat, anyTime: boolean): boolean {
  const isSameTime = anyTime || (a.mtime === b.mtime && a.mtimeNs === b.mtimeNs);
  return isSameTime && a.mode === b.mode && a.uid === b.uid && a.gid === b.gid;
}
