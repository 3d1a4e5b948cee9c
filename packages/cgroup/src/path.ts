import { BoxError } from "@bantubox/ffi";
import type { CgroupHost } from "./hierarchy.ts";

const DOT = 0x2e;
const CONTROL_PREFIXES = " cgroup cpu cpuacct cpuset memory pids io blkio devices freezer hugetlb rdma misc ";

/**
 * The directories on the way to `path`, from the topmost to itself: `a`, `a/b`.
 *
 * @param path Relative to the hierarchies' top, such as `bantubox/<id>`.
 * @throws {BoxError} `invalid-cgroup-path` for one that could lead elsewhere.
 */
export function pathParts(path: string): string[] {
  const parts: string[] = [];
  for (let end = 0; end !== -1; ) {
    const start = end === 0 ? 0 : end + 1;
    end = path.indexOf("/", start);
    const part = end === -1 ? path : path.slice(0, end);
    if (!isPlainName(part.slice(start))) {
      throw new BoxError(
        "invalid-cgroup-path",
        `Cannot use cgroup ${JSON.stringify(path)}: it is no plain relative path`,
      );
    }
    parts.push(part);
  }
  return parts;
}

/**
 * Letters, digits and `_-:@+.`, without a dot in front; not the name of a control file either.
 *
 * A loop, because every start of a container comes by: a regular expression costs more to compile than to run.
 */
function isPlainName(name: string): boolean {
  if (name.length === 0 || name.length > 255 || name.charCodeAt(0) === DOT) return false;
  for (let at = 0; at < name.length; at++) {
    const code = name.charCodeAt(at);
    const isLetter = (code | 0x20) >= 0x61 && (code | 0x20) <= 0x7a;
    if (!isLetter && !(code >= 0x30 && code <= 0x3a) && !"_-@+.".includes(name.charAt(at))) return false;
  }
  const dot = name.indexOf(".");
  return dot === -1 || !CONTROL_PREFIXES.includes(` ${name.slice(0, dot)} `);
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
