import { mkdirSync } from "node:fs";
import { attempt, BoxError, cstr, Fd, SysError } from "@bantubox/ffi";
import type { StorageDriver } from "./driver.ts";
import { hasProjectQuota, limitDirectories } from "./project-quota.ts";

/** Layers lie below each other; the kernel shows them as one. Containers' roots are mounted in their own namespace. */
export const overlay: StorageDriver = {
  name: "overlay",
  check() {
    const fd = attempt("fsopen", cstr("overlay"), 1);
    if (fd < 0) {
      throw new BoxError(
        "storage-unsupported",
        'Cannot use the storage driver "overlay": the kernel has no overlay file system',
        { hint: 'Load it with "modprobe overlay", or use another driver: "bb storage init --driver copy"' },
      );
    }
    new Fd(fd).close();
  },
  makeTree(path) {
    mkdirSync(path, { mode: 0o755 });
  },
  whole: undefined,
  limit(directory, bytes) {
    if (!hasProjectQuota(directory)) {
      throw new BoxError(
        "storage-no-quota",
        `Cannot limit the container's size: "${directory}" does not lie on an XFS with project quotas`,
        {
          hint: 'Mount it with the option "prjquota", or use btrfs: "bb storage init --driver btrfs --size 10G" in another --root',
        },
      );
    }
    try {
      limitDirectories([`${directory}/upper`, `${directory}/work`], bytes);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      throw new BoxError("storage-no-quota", `Cannot limit the container's size: ${error.message}`, { cause: error });
    }
  },
};
