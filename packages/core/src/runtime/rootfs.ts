import {
  AT,
  ERRNO,
  MNT_DETACH,
  MOUNT_ATTR,
  MOVE_MOUNT,
  MS,
  O,
  OPEN_TREE,
  readTextSync,
  type Steps,
} from "@bantubox/ffi";
import { type Build, inRoot, mountAttributes } from "./build.ts";
import type { Mount } from "./spec.ts";
import { TAG } from "./tags.ts";

/** Name of a root that is a copy of an image's tree, in the container's directory. */
export const OWN_ROOT = "root";

/** What the container's root is made of. */
export type RootFs =
  /** Layers below a writable directory. */
  | {
      readonly kind: "overlay";
      /** Directory that `lower` is relative to; absolute. */
      readonly base: string;
      /** From top to bottom: names in `base`, or absolute paths. */
      readonly lower: readonly string[];
      /** Absolute; holds `upper`, `work` and the mount point `rootfs`. */
      readonly directory: string;
      /** The upper directory is thrown away with the container: no need to sync it. */
      readonly isVolatile: boolean;
    }
  /** As an overlay, but what is written lies in memory: the host's own root cannot hold the layer above itself. */
  | { readonly kind: "memory-overlay"; readonly lower: string; readonly directory: string }
  /** A directory as it is, written through. */
  | {
      readonly kind: "directory";
      readonly path: string;
      readonly directory: string;
      /** The image's tree that `path` was made a copy of, when it is the container's own. */
      readonly origin?: string;
      /** It is a subvolume of btrfs. */
      readonly isSubvolume?: boolean;
    }
  /** A bundle's directory, mounted on itself: nothing else of the host is touched. */
  | { readonly kind: "bundle"; readonly path: string };

/**
 * Overlay's options that stand for every container: layers are untrusted, so
 * nothing in them may redirect a lookup or stand for another file's data.
 */
const OPTIONS = "index=off,metacopy=off,redirect_dir=nofollow,xino=off";

/**
 * Opens a bundle's root before its namespace is cut off from the host's, and leaves the tree in `build.root`.
 *
 * @param isSlave The host's later mounts below it appear in the container too.
 */
export function openBundle({ plan, root }: Build, steps: Steps, path: string, isSlave: boolean): void {
  steps
    .sys("open_tree", AT.FDCWD, path, OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.RECURSIVE)
    .into(root)
    .tag(TAG.ROOTFS);
  const attributes = mountAttributes(plan, 0, 0, isSlave ? MS.SLAVE : MS.PRIVATE);
  steps.sys("mount_setattr", root, "", AT.EMPTY_PATH | AT.RECURSIVE, attributes, 32).tag(TAG.ROOTFS);
}

/** Mounts the root inside the child's own namespace and leaves its descriptor in `build.root`. */
export function mountRoot(build: Build, root: RootFs): void {
  const steps = build.child;
  if (root.kind === "bundle") {
    steps.sys("move_mount", build.root, "", AT.FDCWD, root.path, MOVE_MOUNT.F_EMPTY_PATH).tag(TAG.ROOTFS);
    return;
  }
  const mountPoint = `${root.directory}/rootfs`;
  if (root.kind === "directory") {
    steps.sys("mount", root.path, mountPoint, null, MS.BIND | MS.REC, null).tag(TAG.ROOTFS);
    steps
      .sys("openat", AT.FDCWD, mountPoint, O.PATH | O.DIRECTORY | O.CLOEXEC)
      .into(build.root)
      .tag(TAG.ROOTFS);
    return;
  }
  if (root.kind === "overlay") {
    const lower = root.lower.map(escapePath).join(":");
    const directory = escapePath(root.directory);
    const volatile = root.isVolatile ? ",volatile" : "";
    steps.sys("chdir", root.base).tag(TAG.ROOTFS);
    const data = `lowerdir=${lower},upperdir=${directory}/upper,workdir=${directory}/work,${OPTIONS}${volatile}`;
    steps.sys("mount", "overlay", mountPoint, "overlay", 0, data).tag(TAG.ROOTFS);
    steps
      .sys("openat", AT.FDCWD, mountPoint, O.PATH | O.DIRECTORY | O.CLOEXEC)
      .into(build.root)
      .tag(TAG.ROOTFS);
    return;
  }
  steps.sys("mount", "tmpfs", mountPoint, "tmpfs", MS.NOSUID | MS.NODEV, "mode=0700").tag(TAG.ROOTFS);
  steps.sys("chdir", mountPoint).tag(TAG.ROOTFS);
  for (const name of ["upper", "work", "merged"]) steps.sys("mkdirat", AT.FDCWD, name, 0o755).tag(TAG.ROOTFS);
  const data = `lowerdir=${escapePath(root.lower)},upperdir=upper,workdir=work,${OPTIONS},volatile`;
  steps.sys("mount", "overlay", "merged", "overlay", 0, data).tag(TAG.ROOTFS);
  steps
    .sys("openat", AT.FDCWD, "merged", O.PATH | O.DIRECTORY | O.CLOEXEC)
    .into(build.root)
    .tag(TAG.ROOTFS);
}

/** Whether a mount lies on the root itself, and is the root from then on. */
export function coversRoot({ destination }: Mount): boolean {
  return destination.split("/").every((part) => part === "" || part === ".");
}

/** Leaves in `build.root` what was mounted there last: no name leads to it from below, but ".." of a root does. */
export function reopenRoot({ child, plan, root }: Build): void {
  child.sys("openat2", root, "..", inRoot(plan), 24).into(root).tag(TAG.ROOTFS);
}

/** How a container enters its root. */
export interface Entry {
  readonly isReadOnly: boolean;
  /** MS_SHARED, MS_UNBINDABLE …, with MS_REC; 0 leaves it as it was mounted. */
  readonly propagation: number;
  /** The root is moved over the old one instead of taking its place: an initial ramdisk cannot be left otherwise. */
  readonly isMoved: boolean;
}

/** Makes the root the child's own and lets go of the host's. */
export function enterRoot(build: Build, { isReadOnly, propagation, isMoved }: Entry): void {
  const steps = build.child;
  if (isReadOnly) {
    const attributes = mountAttributes(build.plan, MOUNT_ATTR.RDONLY);
    steps.sys("mount_setattr", build.root, "", AT.EMPTY_PATH, attributes, 32).tag(TAG.ROOTFS);
  }
  steps.sys("fchdir", build.root).tag(TAG.ROOTFS);
  if (isMoved) {
    hideBareMounts(build);
    steps.sys("mount", ".", "/", null, MS.MOVE, null).tag(TAG.ROOTFS);
    steps.sys("chroot", ".").tag(TAG.ROOTFS);
  } else {
    steps.sys("pivot_root", ".", ".").tag(TAG.ROOTFS);
    // Both roots lie on top of each other now; what is detached is the old one.
    steps.sys("umount2", ".", MNT_DETACH).tag(TAG.ROOTFS);
  }
  steps.sys("chdir", "/").tag(TAG.ROOTFS);
  if (propagation !== 0) steps.sys("mount", null, "/", null, propagation, null).tag(TAG.ROOTFS);
}

/**
 * The old root stays reachable under a moved one. A full proc or sysfs there would let a container mount another
 * one, without the masks of its own: so each is detached, and covered for a user namespace, where it is locked.
 */
function hideBareMounts({ child: steps }: Build): void {
  for (const line of readTextSync("/proc/self/mountinfo").split("\n")) {
    // proc(5): ID, parent, device, root, mount point, …, "-", type, …
    const [left = "", right = ""] = line.split(" - ");
    const [, , , root, point = ""] = left.split(" ");
    if (root !== "/" || !/^(proc|sysfs) /.test(right)) continue;
    const path = point.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
    steps.sys("umount2", path, MNT_DETACH).ignore();
    // Where that was on a mount which is gone by now, there is nothing left to cover.
    steps.sys("mount", "none", path, "tmpfs", 0, null).tolerate(ERRNO.ENOENT).tag(TAG.ROOTFS);
  }
}

/** Enters a root without a mount namespace: nothing is mounted, which the host would see. */
export function changeRoot(build: Build, path: string): void {
  build.child.sys("chroot", path).tag(TAG.ROOTFS);
  build.child.sys("chdir", "/").tag(TAG.ROOTFS);
}

/** Removes overlay's mark of a `volatile` mount, which refuses to be mounted again. */
export function clearVolatile(build: Build, directory: string): void {
  build.plan.prepare
    .sys("unlinkat", AT.FDCWD, `${directory}/work/work/incompat/volatile`, AT.REMOVEDIR)
    .tolerate(ERRNO.ENOENT)
    .ignore();
}

/** Overlay splits options at commas and layers at colons. */
function escapePath(path: string): string {
  return path.replace(/[\\:,]/g, "\\$&");
}
