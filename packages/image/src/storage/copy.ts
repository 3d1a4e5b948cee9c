import { mkdirSync } from "node:fs";
import { BoxError } from "@bantubox/ffi";
import { copyTree } from "../tree/copy.ts";
import type { StorageDriver } from "./driver.ts";

/**
 * Plain directories, for hosts that have neither overlay nor btrfs: every container has a copy of its image's files,
 * which share their blocks where the file system can (XFS, btrfs, bcachefs).
 */
export const copy: StorageDriver = {
  name: "copy",
  check() {
    // Every file system has files.
  },
  makeTree(path) {
    mkdirSync(path, { mode: 0o755 });
  },
  whole: {
    keepsEveryLayer: false,
    movesFiles: true,
    async copy(origin, path, signal) {
      mkdirSync(path, { mode: 0o755 });
      await copyTree(origin, path, { signal });
    },
  },
  limit() {
    throw new BoxError("storage-no-quota", 'Cannot limit the container\'s size: the storage driver "copy" cannot', {
      hint: 'Use "btrfs": "bb storage init --driver btrfs --size 10G" in another --root',
    });
  },
};
