import { BoxError, SysError } from "@bantubox/ffi";
import type { StorageDriver } from "./driver.ts";
import { createSubvolume, isOnBtrfs, limitSubvolume, snapshot } from "./subvolume.ts";

/** A subvolume for every layer, a snapshot for every container: both made and deleted at once, whatever is in them. */
export const btrfs: StorageDriver = {
  name: "btrfs",
  check(directory) {
    if (isOnBtrfs(directory)) return;
    throw new BoxError(
      "storage-unsupported",
      `Cannot use the storage driver "btrfs": "${directory}" does not lie on a btrfs`,
      { hint: 'Make one in a file: "bb storage init --driver btrfs --size 10G"' },
    );
  },
  makeTree: createSubvolume,
  whole: {
    keepsEveryLayer: true,
    // Subvolumes are file systems of their own to rename(2), but share blocks.
    movesFiles: false,
    async copy(origin, path) {
      snapshot(origin, path);
    },
  },
  limit(directory, bytes) {
    try {
      limitSubvolume(directory, bytes);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      throw new BoxError("storage-no-quota", `Cannot limit the container's size: ${error.message}`, {
        cause: error,
        hint: 'If quotas are just being turned on, try again; else see "btrfs quota status"',
      });
    }
  },
};
