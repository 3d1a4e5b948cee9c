import { cstr, Fd, O, RESOLVE, SysError } from "@bantubox/ffi";
import { TarWriter } from "../tar/tar-writer.ts";
import { refuseReserved } from "./archive.ts";
import { isGone } from "./merged.ts";
import { openBelow } from "./resolve.ts";
import { display, statAt } from "./tree.ts";
import type { Change } from "./upper-changes.ts";

/**
 * A layer's tar stream of what changed in a tree: names for what was deleted, everything else as it is there now.
 *
 * @param upper A descriptor of the tree's root.
 * @param changes Of `treeChanges`; a directory comes before what is in it.
 * @throws {BoxError} `layer-whiteout` when a file has a name that would delete another in a layer.
 */
export async function* archiveChanges(upper: number, changes: readonly Change[]): AsyncGenerator<Uint8Array> {
  const writer = new TarWriter();
  let directory: { readonly path: Buffer; readonly fd: Fd } | undefined;
  try {
    for (const { path, kind } of changes) {
      const slash = path.lastIndexOf(0x2f);
      const parent = path.subarray(0, slash + 1);
      const bare = path.subarray(slash + 1);
      if (kind === "deleted") {
        yield* writer.hide(parent, bare);
        continue;
      }
      refuseReserved(bare, path);
      if (directory === undefined || !directory.path.equals(parent)) {
        directory?.fd.close();
        directory = { path: parent, fd: openDirectoryBelow(upper, parent) };
      }
      const name = cstr(bare);
      try {
        const stat = statAt(directory.fd.raw, name, display(path));
        yield* writer.add({ parent: directory.fd.raw, name, stat, path });
      } catch (error) {
        if (!isGone(error)) throw error;
      }
    }
    yield* writer.end();
  } finally {
    directory?.fd.close();
  }
}

function openDirectoryBelow(root: number, path: Buffer): Fd {
  const result = openBelow(root, path, O.RDONLY | O.DIRECTORY, RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS);
  if (result < 0) throw new SysError("openat2", -result, display(path));
  return new Fd(result);
}
