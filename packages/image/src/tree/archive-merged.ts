import { cstr } from "@bantubox/ffi";
import { TarWriter } from "../tar/tar-writer.ts";
import { refuseReserved } from "./archive.ts";
import { isOfKernel } from "./kernel-files.ts";
import { isDirectory, isGone, isHidden, type Merged, mergedEntries, openMerged, openRoots } from "./merged.ts";
import { display, statAt } from "./tree.ts";
import type { Passed } from "./upper-changes.ts";

const ITSELF = cstr("");

export interface ArchiveOptions {
  /** What the tree is called in the archive; the directory itself has no entry without it. */
  readonly prefix?: string | undefined;
  /** Mounts below are left out; their mount points stay as empty directories and files. */
  readonly oneMount?: boolean | undefined;
  /** It shall be a layer: names that would delete files there are refused. */
  readonly asLayer?: boolean | undefined;
  /** Only this name of the directory, and what it is called in the archive. */
  readonly only?: { readonly name: Uint8Array; readonly path: Buffer } | undefined;
  /** Left out, with all that is in it. */
  readonly passed?: Passed | undefined;
}

/**
 * A tree as it shows itself as a tar stream: for people and other programs, not for layers. What comes or goes
 * meanwhile is in it or not; what the kernel shows, as in `/proc`, is not; devices and FIFOs are named and never opened, sockets left out.
 */
export async function* archiveMerged(
  tree: Merged,
  { prefix, oneMount = false, asLayer = false, only, passed }: ArchiveOptions = {},
): AsyncGenerator<Uint8Array> {
  const writer = new TarWriter();
  using roots = openRoots(tree.lower, tree.upper);
  const top = (roots.upper ?? roots.lower) as number;
  const root = statAt(top, ITSELF, "the root");
  const mounts = new Set([root.mount, statAt(roots.lower ?? top, ITSELF, "the root").mount]);

  function* entries(directory: Merged, path: Buffer): Generator<Uint8Array> {
    for (const entry of mergedEntries(directory, path)) {
      if (isHidden(entry)) continue;
      const bare = entry.name.subarray(0, -1);
      const below = Buffer.concat([path, bare]);
      if (passed?.(below, entry.stat) === true) continue;
      if (asLayer) refuseReserved(bare, below);
      const isMounted = oneMount && !mounts.has(entry.stat.mount);
      try {
        if (isMounted && !isDirectory(entry.stat)) continue;
        yield* writer.add({ parent: entry.parent, name: entry.name, stat: entry.stat, path: below });
        if (!isDirectory(entry.stat) || isMounted) continue;
        using child = openMerged(directory, entry);
        if (!mounts.has(entry.stat.mount) && isOfKernel((child.upper ?? child.lower) as number)) continue;
        yield* entries(child, Buffer.concat([below, Buffer.from("/")]));
      } catch (error) {
        if (!isGone(error)) throw error;
      }
    }
  }

  if (only !== undefined) {
    const { name, path } = only;
    yield* writer.add({ parent: top, name, stat: statAt(top, name, display(name)), path });
    yield* writer.end();
    return;
  }
  const start = Buffer.from(prefix ?? "");
  if (prefix !== undefined) {
    yield* writer.add({ parent: top, name: ITSELF, stat: root, path: start });
  }
  yield* entries(roots, start.length === 0 ? start : Buffer.concat([start, Buffer.from("/")]));
  yield* writer.end();
}
