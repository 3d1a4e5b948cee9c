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

/**
 * The path of a group as `linux.cgroupsPath` names it, relative to the hierarchies' tops.
 *
 * `slice:prefix:name` is systemd's way: the scope `prefix-name.scope` in a slice, whose name tells its parents
 * (`a-b.slice` lies in `a.slice`).
 *
 * @param isSystemd The first form is not a name with colons.
 * @param id Of the container, for a path that is not given.
 * @throws {BoxError} `invalid-cgroup-path`
 */
export function groupPath(cgroupsPath: string | undefined, id: string, isSystemd: boolean): string {
  if (isSystemd) return systemdGroup(cgroupsPath, id).path;
  const parts = (cgroupsPath || id).split("/").filter((part) => part !== "" && part !== ".");
  const path = parts.join("/");
  pathParts(path);
  return path;
}

/** The scope that `cgroupsPath` names, the slice that it lies in, and the path of its group. @throws {BoxError} As `groupPath`. */
export function systemdGroup(
  cgroupsPath: string | undefined,
  id: string,
): { unit: string; slice: string; path: string } {
  const text = cgroupsPath || `:runtime:${id}`;
  const [slice = "", prefix = "", name = "", ...rest] = text.split(":");
  const isSlice = slice === "" || slice === "-.slice" || /^[^/-][^/]*\.slice$/.test(slice);
  if (!isSlice || name === "" || `${prefix}${name}`.includes("/") || rest.length > 0 || slice.includes("--")) {
    throw new BoxError(
      "invalid-cgroup-path",
      `Cannot use cgroup ${JSON.stringify(text)}: it is not of the form "slice:prefix:name"`,
      { hint: 'Such as "system.slice:runtime:ID"; or leave --systemd-cgroup out' },
    );
  }
  const unit = name.endsWith(".slice") ? name : `${prefix === "" ? "" : `${prefix}-`}${name}.scope`;
  const parent = slice === "" ? "system.slice" : slice;
  const path = [...sliceParts(parent), unit].map(groupOfUnit).join("/");
  pathParts(path);
  return { unit, slice: parent, path };
}

/** systemd's name for the directory of a unit's group: what begins with `_` gets another one. */
export function groupOfUnit(unit: string): string {
  return unit.startsWith("_") ? `_${unit}` : unit;
}

/** `a-b.slice` → `a.slice/a-b.slice`; the root slice is the top itself. */
function sliceParts(slice: string): string[] {
  if (slice === "-.slice") return [];
  const words = slice.slice(0, -".slice".length).split("-");
  return words.map((_, i) => `${words.slice(0, i + 1).join("-")}.slice`);
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
