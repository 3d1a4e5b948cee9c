import type { CgroupHost } from "@bantubox/cgroup";
import { AT, ERRNO, MOUNT_ATTR, MOVE_MOUNT, MS, O, S_IF } from "@bantubox/ffi";
import { type BindRules, openTree } from "./binds.ts";
import { attach, type Build, mountAttributes } from "./build.ts";
import type { MountOptions } from "./mount-options.ts";
import type { Mount } from "./spec.ts";
import { TAG } from "./tags.ts";

/** What the container's process sees of cgroups. */
export interface CgroupView {
  readonly cgroups: CgroupHost;
  /** Of the container, relative to the hierarchies' mounts. */
  readonly cgroupPath: string;
  /** It has left the host's cgroup namespace, so that what is mounted begins at its own group. */
  readonly hasCgroupNamespace: boolean;
}

type AddFileSystem = (build: Build, mount: Mount, options: MountOptions, rules: BindRules) => void;

/**
 * /sys/fs/cgroup. The child has joined its groups and left the host's cgroup
 * namespace before, so that what is mounted here begins at its own group.
 *
 * Without that namespace v1's hierarchies are bound from the container's own groups, as runc has it,
 * and v2 is mounted as it is; where the kernel refuses that to a user namespace, it is bound too.
 */
export function addCgroups(
  build: Build,
  mount: Mount,
  options: MountOptions,
  rules: CgroupView & BindRules,
  addFileSystem: AddFileSystem,
): void {
  const { destination } = mount;
  const { cgroups, cgroupPath } = rules;
  if (cgroups.mode === "v2" || (mount.type === "cgroup2" && cgroups.unified !== undefined)) {
    const isForeign = rules.users !== undefined && !rules.hasCgroupNamespace;
    const source = isForeign ? `${cgroups.unified}/${cgroupPath}` : undefined;
    if (source !== undefined) bindGroup(build, source, destination, options);
    else {
      const data = { ...options, data: "" };
      addFileSystem(build, { destination, type: "cgroup2", source: "cgroup" }, data, rules);
    }
    return;
  }
  addHierarchies(build, destination, options, rules, addFileSystem);
}

/** v1's, each in a directory of a small tmpfs, with v2's beside them on a hybrid host. */
function addHierarchies(
  build: Build,
  destination: string,
  options: MountOptions,
  rules: CgroupView & BindRules,
  addFileSystem: AddFileSystem,
): void {
  const { child: steps, plan, root, scratch, tree } = build;
  const { cgroups, cgroupPath, hasCgroupNamespace } = rules;
  const flags = MS.NOSUID | MS.NODEV | MS.NOEXEC;
  const tmpfs = { destination, type: "tmpfs", source: "tmpfs" };
  addFileSystem(build, tmpfs, { ...options, flags, data: "mode=755,size=64k", setAll: 0, clearAll: 0 }, rules);
  steps.builtin("target", root, destination, S_IF.DIR, 0).into(scratch).tag(TAG.MOUNT);
  for (const { version, mount, controllers, name } of cgroups.hierarchies) {
    const directory = version === 2 ? "unified" : (name ?? controllers.join(","));
    const data = version === 2 ? null : name === undefined ? controllers.join(",") : `none,name=${name}`;
    steps.sys("mkdirat", scratch, directory, 0o755).tag(TAG.MOUNT);
    if (hasCgroupNamespace) {
      steps
        .sys("openat", scratch, directory, O.PATH | O.CLOEXEC)
        .into(tree)
        .tag(TAG.MOUNT);
      steps.sys("fchdir", tree);
      steps.sys("mount", "cgroup", ".", version === 2 ? "cgroup2" : "cgroup", options.flags, data).tag(TAG.MOUNT);
      steps.sys("close", tree);
    } else {
      openGroup(build, `${mount}/${cgroupPath}`, options);
      // The directory was made in the line above, below a descriptor of our own tmpfs.
      steps.sys("move_mount", tree, "", scratch, directory, MOVE_MOUNT.F_EMPTY_PATH).tag(TAG.MOUNT);
      steps.sys("close", tree);
    }
    if (version === 2 || controllers.length < 2) continue;
    for (const controller of controllers) {
      steps.sys("symlinkat", directory, scratch, controller).tolerate(ERRNO.EEXIST).tag(TAG.MOUNT);
    }
  }
  if (options.flags & MS.RDONLY) {
    steps.sys("mount_setattr", scratch, "", AT.EMPTY_PATH, mountAttributes(plan, MOUNT_ATTR.RDONLY), 32).tag(TAG.MOUNT);
  }
  steps.sys("close", scratch);
}

/** Leaves a group's directory in `tree`. */
function openGroup({ child, plan, tree }: Build, source: string, { set, clear }: MountOptions): void {
  openTree(child, source, 0, tree);
  const attributes = mountAttributes(plan, set, clear, MS.PRIVATE);
  child.sys("mount_setattr", tree, "", AT.EMPTY_PATH, attributes, 32).tag(TAG.MOUNT);
}

function bindGroup(build: Build, source: string, destination: string, options: MountOptions): void {
  const { child, root, scratch } = build;
  openGroup(build, source, options);
  child.builtin("target", root, destination, S_IF.DIR, 0).into(scratch).tag(TAG.MOUNT);
  attach(build, TAG.MOUNT);
}
