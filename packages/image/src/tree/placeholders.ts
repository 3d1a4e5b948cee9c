import { allocate, close, O, RESOLVE } from "@bantubox/ffi";
import { openBelow } from "./resolve.ts";
import { readNames, S, statAt } from "./tree.ts";

const ITSELF = allocate(1);

/**
 * Which of `places` are in the upper tree only to be mounted on: empty files and directories that the lower tree does
 * not have, and directories that hold nothing else.
 *
 * @param places Below the root, without a slash in front; a directory is found empty only with all that is in it.
 */
export function findPlaceholders(lower: number | undefined, upper: number, places: readonly string[]): Set<string> {
  const found = new Set<string>();
  for (const place of places.toSorted().toReversed()) {
    if (lower === undefined || exists(lower, place)) continue;
    if (isEmpty(upper, place, found)) found.add(place);
  }
  return found;
}

function exists(root: number, path: string): boolean {
  const fd = openBelow(root, path, O.PATH | O.NOFOLLOW, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS);
  if (fd >= 0) close(fd);
  return fd >= 0;
}

function isEmpty(root: number, path: string, found: ReadonlySet<string>): boolean {
  const fd = openBelow(root, path, O.PATH | O.NOFOLLOW, RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS);
  if (fd < 0) return false;
  try {
    const { mode, size } = statAt(fd, ITSELF, path);
    if ((mode & S.FMT) === S.REG) return size === 0;
    if ((mode & S.FMT) !== S.DIR) return false;
    const directory = openBelow(fd, ".", O.RDONLY | O.DIRECTORY, RESOLVE.BENEATH);
    if (directory < 0) return false;
    try {
      return readNames(directory, path).every((name) => found.has(`${path}/${Buffer.from(name.subarray(0, -1))}`));
    } finally {
      close(directory);
    }
  } finally {
    close(fd);
  }
}
