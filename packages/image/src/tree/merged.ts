import { cstr, isErrno } from "@bantubox/ffi";
import { isWhiteout } from "./overlay-marks.ts";
import { display, isOpaque, openDirectory, readNames, S, type Stat, statAt } from "./tree.ts";

/** A directory of an overlay, by the descriptors of what it is made of; a plain directory is an upper one alone. */
export interface Merged {
  readonly lower: number | undefined;
  readonly upper: number | undefined;
}

/** Something in such a directory, as who looks through the overlay sees it. */
export interface MergedEntry {
  readonly name: Uint8Array;
  readonly stat: Stat;
  /** The directory that it lies in: the upper one, unless it is only in the lower. */
  readonly parent: number;
  /** Of what the lower directory has of that name, if the upper one has hidden or replaced it. */
  readonly below: Stat | undefined;
}

/**
 * What a directory shows, sorted by names. Reads what lies there now: things that come or go meanwhile may be met or
 * not. A name that the upper directory deletes is given with the whiteout's `stat` and what is `below`.
 */
export function* mergedEntries({ lower, upper }: Merged, path: Buffer): Generator<MergedEntry> {
  const above = upper === undefined ? [] : readNames(upper, display(path));
  const under = lower === undefined ? [] : readNames(lower, display(path));
  let i = 0;
  let j = 0;
  while (i < above.length || j < under.length) {
    const [a, b] = [above[i], under[j]];
    const order = a === undefined ? 1 : b === undefined ? -1 : Buffer.compare(a, b);
    const name = (order <= 0 ? a : b) as Uint8Array;
    if (order <= 0) i++;
    if (order >= 0) j++;
    const below = order >= 0 ? statIfThere(lower, name) : undefined;
    const stat = order <= 0 ? statIfThere(upper, name) : below;
    if (stat === undefined) continue;
    const parent = (order <= 0 ? upper : lower) as number;
    yield { name, stat, parent, below: order <= 0 ? below : undefined };
  }
}

/** A directory that `mergedEntries` gave, as it shows itself; its descriptors close with it. */
export function openMerged(directory: Merged, entry: MergedEntry): Merged & Disposable {
  const { upper } = directory;
  const hides = entry.below !== undefined && upper !== undefined && isOpaque(upper, entry.name);
  return openBoth(directory, hides ? { ...entry, below: undefined } : entry);
}

/** As `openMerged`, but the lower directory is opened even where the upper one hides it. */
export function openBoth({ lower, upper }: Merged, { name, parent, below }: MergedEntry): Merged & Disposable {
  using stack = new DisposableStack();
  const open = (from: number | undefined): number | undefined =>
    from === undefined ? undefined : stack.use(openDirectory(from, name, display(name))).raw;
  const isLower = parent === lower;
  const opened = {
    lower: isLower || (below !== undefined && isDirectory(below)) ? open(lower) : undefined,
    upper: isLower ? undefined : open(upper),
  };
  const kept = stack.move();
  return { ...opened, [Symbol.dispose]: () => kept.dispose() };
}

export function isDirectory({ mode }: Stat): boolean {
  return (mode & S.FMT) === S.DIR;
}

/** Whether an entry is only there to hide what is below. */
export function isHidden({ stat }: MergedEntry): boolean {
  return isWhiteout(stat);
}

/** Whether something is gone: its owner is at work. */
export function isGone(error: unknown): boolean {
  return isErrno(error, "ENOENT", "ESTALE");
}

function statIfThere(parent: number | undefined, name: Uint8Array): Stat | undefined {
  if (parent === undefined) return undefined;
  try {
    return statAt(parent, name, display(name));
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

/** The roots of an overlay; they are read through descriptors of their own. */
export function openRoots(lower: number | undefined, upper: number | undefined): Merged & Disposable {
  using stack = new DisposableStack();
  const open = (fd: number | undefined): number | undefined =>
    fd === undefined ? undefined : stack.use(openDirectory(fd, cstr("."), "the container's root")).raw;
  const opened = { lower: open(lower), upper: open(upper) };
  const kept = stack.move();
  return { ...opened, [Symbol.dispose]: () => kept.dispose() };
}
