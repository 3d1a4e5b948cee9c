import { isGone } from "./merged.ts";
import { display, openDirectory, readNames, S, statAt } from "./tree.ts";

/** Deeper than any tree that somebody means: each level is an open descriptor. */
const DEPTH_MAX = 256;

/**
 * Bytes that a tree takes on disk: holes count for nothing, a file with several names once, what is mounted below not
 * at all. What comes or goes meanwhile may be missed, and what lies deeper than a container could mean is not looked for.
 *
 * @param root A descriptor of its root, for reading.
 */
export function treeSize(root: number): number {
  const counted = new Set<string>();
  const { mount } = statAt(root, new Uint8Array(1), "the root");
  let bytes = 0;
  // Each by its directory's descriptor, so that no link that is put in its place is followed.
  const visit = (fd: number, path: Buffer, depth: number): void => {
    for (const name of readNames(fd, display(path))) {
      try {
        const stat = statAt(fd, name, display(name));
        if (stat.mount !== mount) continue;
        const isDirectory = (stat.mode & S.FMT) === S.DIR;
        if (!isDirectory && stat.links > 1) {
          if (counted.has(stat.identity)) continue;
          counted.add(stat.identity);
        }
        bytes += stat.stored;
        if (!isDirectory || depth === DEPTH_MAX) continue;
        using below = openDirectory(fd, name, display(name));
        visit(below.raw, Buffer.concat([path, name.subarray(0, -1), Buffer.from("/")]), depth + 1);
      } catch (error) {
        if (!isGone(error)) throw error;
      }
    }
  };
  visit(root, Buffer.alloc(0), 0);
  return bytes;
}
