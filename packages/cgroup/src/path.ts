import { BoxError } from "@bantubox/ffi";
import type { CgroupHost } from "./hierarchy.ts";

/**
 * The directories on the way to `path`, from the topmost to itself: `a`, `a/b`.
 *
 * @param path Relative to the hierarchies' top, such as `bantubox/<id>`.
 * @throws {BoxError} `invalid-cgroup-path` for one that could lead elsewhere.
 */
export function pathParts(path: string): string[] {
  const names = path.split("/");
  for (const name of names) {
    // A name with a dot could be a control file ("cgroup.procs"); one with only dots climbs.
    if (
      !/^[A-Za-z0-9_:@+-][A-Za-z0-9_.:@+-]{0,254}$/.test(name) ||
      /^(cgroup|cpu|cpuset|memory|pids|io)\./.test(name)
    ) {
      throw new BoxError(
        "invalid-cgroup-path",
        `Cannot use cgroup ${JSON.stringify(path)}: it is no plain relative path`,
      );
    }
  }
  return names.map((_, index) => names.slice(0, index + 1).join("/"));
}

/** Directory of the group `path` in the hierarchy that has `controller`. */
export function groupDir(host: CgroupHost, controller: string, path: string): string | undefined {
  const place = host.controllers.get(controller);
  return place && `${place.mount}/${path}`;
}

/** Directories of the group `path`, one for each hierarchy of the host. */
export function groupDirs(host: CgroupHost, path: string): string[] {
  return host.hierarchies.map(({ mount }) => `${mount}/${path}`);
}
