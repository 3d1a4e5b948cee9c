import { AT, ERRNO, FS_MAGIC, MOUNT_ATTR, MOVE_MOUNT, MS, O, OPEN_TREE, RESOLVE, type Reg, S_IF } from "@bantubox/ffi";
import { type Build, mountAttributes } from "./build.ts";
import { TAG } from "./tags.ts";

const PROC = "/proc/";

/** makedev(1, 3) as BUILTIN_CHECK_TYPE has it. */
export const DEV_NULL = (1 << 8) | 3;

/**
 * Hides `masked` and makes `readonly` read-only, below the container's root.
 *
 * What hides a file is the host's own /dev/null, opened and looked at before
 * anything of the image is reached: an image's "null" may be anything (CVE-2025-31133).
 *
 * @param directory Of the host, no longer needed by the child, which covers it in its own namespace.
 */
export function protectPaths(
  build: Build,
  { masked, readonly, directory }: { masked: readonly string[]; readonly: readonly string[]; directory: string },
): void {
  const { plan, root, scratch, tree } = build;
  if (masked.length === 0 && readonly.length === 0) return;
  const steps = plan.child;
  const how = new Uint32Array(new ArrayBuffer(24));
  how[0] = O.PATH | O.CLOEXEC;
  how[4] = RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS;
  const openHow = plan.bytes(new Uint8Array(how.buffer));
  // Another container that shares the root may move directories of it about: what counts is the real /proc, wherever it is.
  const proc = plan.register();
  steps.sys("openat2", root, "/proc", openHow, 24).into(proc).tag(TAG.MOUNT);
  steps.builtin("checkFs", proc, FS_MAGIC.PROC).tag(TAG.MOUNT);
  const place = (path: string): [Reg, string] =>
    path.startsWith(PROC) ? [proc, path.slice(PROC.length)] : [root, path];
  if (masked.length > 0) {
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
    const flags = MOVE_MOUNT.F_EMPTY_PATH;
    steps.sys("move_mount", empty, "", AT.FDCWD, directory, flags).tag(TAG.MOUNT);
    for (const path of masked) steps.builtin("mask", ...place(path), nothing, empty).tag(TAG.MOUNT);
    steps.sys("close", empty);
    steps.sys("close", nothing);
  }
  const attributes = mountAttributes(plan, MOUNT_ATTR.RDONLY, 0, MS.PRIVATE);
  const flags = AT.EMPTY_PATH | AT.RECURSIVE;
  for (const path of readonly) {
    steps
      .sys("openat2", ...place(path), openHow, 24)
      .into(scratch)
      .tolerate(ERRNO.ENOENT, 5)
      .tag(TAG.MOUNT);
    steps
      .sys("open_tree", scratch, "", OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | flags)
      .into(tree)
      .tag(TAG.MOUNT);
    steps.sys("mount_setattr", tree, "", flags, attributes, 32).tag(TAG.MOUNT);
    steps.sys("move_mount", tree, "", scratch, "", MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH).tag(TAG.MOUNT);
    steps.sys("close", tree);
    steps.sys("close", scratch);
  }
  steps.sys("close", proc);
}

/** Writes a file of procfs in the child, before it leaves the host's root, whose /proc is the real one. */
export function writeProc(build: Build, path: string, value: string, tag: number): void {
  const { plan, scratch } = build;
  plan.child
    .sys("openat", AT.FDCWD, path, O.WRONLY | O.CLOEXEC)
    .into(scratch)
    .tag(tag);
  plan.child.builtin("checkFs", scratch, FS_MAGIC.PROC).tag(tag);
  plan.child.sys("write", scratch, value, Buffer.byteLength(value)).tag(tag);
  plan.child.sys("close", scratch);
}
