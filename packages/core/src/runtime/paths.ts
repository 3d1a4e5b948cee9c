import {
  AT,
  ERRNO,
  FS_MAGIC,
  MOUNT_ATTR,
  MOVE_MOUNT,
  MS,
  O,
  OPEN_TREE,
  type Place,
  type Reg,
  S_IF,
  type Steps,
} from "@bantubox/ffi";
import { attach, type Build, inRoot, mountAttributes } from "./build.ts";
import { deviceNumber } from "./devices.ts";
import { TAG } from "./tags.ts";

const PROC = "/proc/";

/** The number of /dev/null. */
export const DEV_NULL = deviceNumber(1, 3);

/** What is protected, and where the child finds what it needs for it. */
export interface Protection {
  readonly masked: readonly string[];
  readonly readonly: readonly string[];
  /** The container has a /proc of the kernel's. */
  readonly hasProc: boolean;
  /** A directory of the host, by path or descriptor, that the child no longer needs and covers in its own namespace. */
  readonly aside: string | Reg;
}

/**
 * Hides `masked` and makes `readonly` read-only, below the container's root.
 *
 * What hides a file is the host's own /dev/null, opened and looked at before
 * anything of the image is reached: an image's "null" may be anything (CVE-2025-31133). It lies there read-only: its
 * mode, owner and times are the whole host's.
 */
export function protectPaths(build: Build, { masked, readonly, hasProc, aside }: Protection): void {
  const { child: steps, plan, root } = build;
  if (masked.length === 0 && readonly.length === 0) return;
  const openHow = inRoot(plan);
  // Another container that shares the root may move directories of it about: what counts is the real /proc, wherever it is.
  const proc = plan.register();
  if (hasProc) {
    steps.sys("openat2", root, "/proc", openHow, 24).into(proc).tag(TAG.MOUNT);
    steps.builtin("checkFs", proc, FS_MAGIC.PROC).tag(TAG.MOUNT);
  }
  const place = (path: string): [Reg, string] =>
    hasProc && path.startsWith(PROC) ? [proc, path.slice(PROC.length)] : [root, path];
  if (masked.length > 0) maskAll(build, masked.map(place), aside);
  const attributes = mountAttributes(plan, MOUNT_ATTR.RDONLY, 0, MS.PRIVATE);
  for (const path of readonly) makeReadOnly(build, place(path), openHow, attributes);
  if (hasProc) steps.sys("close", proc);
}

function maskAll(
  { child: steps, plan, scratch }: Build,
  places: readonly [Reg, string][],
  aside: Protection["aside"],
): void {
  const empty = plan.register();
  const nothing = plan.register();
  steps
    .sys("openat", AT.FDCWD, "/dev/null", O.PATH | O.CLOEXEC)
    .into(nothing)
    .tag(TAG.MOUNT);
  steps.builtin("checkType", nothing, S_IF.CHR, DEV_NULL).tag(TAG.MOUNT);
  // One empty directory behind all masks: a file system each would cost 50 µs.
  steps.sys("fsopen", "tmpfs", 1).into(scratch).tag(TAG.MOUNT);
  steps.sys("fsconfig", scratch, 1, "nr_blocks", "1", 0).tag(TAG.MOUNT);
  steps.sys("fsconfig", scratch, 1, "nr_inodes", "2", 0).tag(TAG.MOUNT);
  steps.sys("fsconfig", scratch, 1, "mode", "0555", 0).tag(TAG.MOUNT);
  steps.sys("fsconfig", scratch, 6, null, null, 0).tag(TAG.MOUNT);
  const attributes = MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC;
  steps.sys("fsmount", scratch, 1, attributes).into(empty).tag(TAG.MOUNT);
  steps.sys("close", scratch);
  // Before Linux 6.15 only what is attached can be copied: it lies on the host's side, which goes with the old root.
  const to: [string | Reg | number, string] = typeof aside === "string" ? [AT.FDCWD, aside] : [aside, ""];
  const flags = MOVE_MOUNT.F_EMPTY_PATH | (typeof aside === "string" ? 0 : MOVE_MOUNT.T_EMPTY_PATH);
  steps.sys("move_mount", empty, "", ...to, flags).tag(TAG.MOUNT);
  for (const each of places) steps.builtin("mask", ...each, nothing, empty).tag(TAG.MOUNT);
  steps.sys("close", empty);
  steps.sys("close", nothing);
}

/** A path that is not there needs no protection. */
function makeReadOnly(build: Build, place: [Reg, string], openHow: Place, attributes: Place): void {
  const { child: steps, scratch, tree } = build;
  const flags = AT.EMPTY_PATH | AT.RECURSIVE;
  steps
    .sys("openat2", ...place, openHow, 24)
    .into(scratch)
    .tolerate(ERRNO.ENOENT, 5)
    .tag(TAG.MOUNT);
  steps
    .sys("open_tree", scratch, "", OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | flags)
    .into(tree)
    .tag(TAG.MOUNT);
  steps.sys("mount_setattr", tree, "", flags, attributes, 32).tag(TAG.MOUNT);
  attach(build, TAG.MOUNT);
}

/** Writes a file of procfs in the child, before it leaves the host's root, whose /proc is the real one. */
export function writeProc({ scratch }: Build, steps: Steps, path: string, value: string, tag: number): void {
  steps
    .sys("openat", AT.FDCWD, path, O.WRONLY | O.CLOEXEC)
    .into(scratch)
    .tag(tag);
  steps.builtin("checkFs", scratch, FS_MAGIC.PROC).tag(tag);
  steps.sys("write", scratch, value, Buffer.byteLength(value)).tag(tag);
  steps.sys("close", scratch);
}
