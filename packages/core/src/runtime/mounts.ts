import type { CgroupHost } from "@bantubox/cgroup";
import { AT, BoxError, MOUNT_ATTR, MOVE_MOUNT, MS, O, OPEN_TREE, RESOLVE, type Reg, S_IF } from "@bantubox/ffi";
import { type Build, mountAttributes } from "./build.ts";
import type { Mount } from "./spec.ts";
import { TAG } from "./tags.ts";

/** Options that are a flag: [flag of mount(2), attribute of mount_setattr(2), cleared instead of set]. */
const FLAGS: Readonly<Record<string, readonly [number, number, boolean]>> = {
  ro: [MS.RDONLY, MOUNT_ATTR.RDONLY, false],
  rw: [MS.RDONLY, MOUNT_ATTR.RDONLY, true],
  nosuid: [MS.NOSUID, MOUNT_ATTR.NOSUID, false],
  suid: [MS.NOSUID, MOUNT_ATTR.NOSUID, true],
  nodev: [MS.NODEV, MOUNT_ATTR.NODEV, false],
  dev: [MS.NODEV, MOUNT_ATTR.NODEV, true],
  noexec: [MS.NOEXEC, MOUNT_ATTR.NOEXEC, false],
  exec: [MS.NOEXEC, MOUNT_ATTR.NOEXEC, true],
  noatime: [MS.NOATIME, MOUNT_ATTR.NOATIME, false],
  nodiratime: [MS.NODIRATIME, MOUNT_ATTR.NODIRATIME, false],
  relatime: [MS.RELATIME, MOUNT_ATTR.RELATIME, false],
  strictatime: [MS.STRICTATIME, MOUNT_ATTR.STRICTATIME, false],
  sync: [MS.SYNCHRONOUS, 0, false],
  dirsync: [MS.DIRSYNC, 0, false],
  lazytime: [MS.LAZYTIME, 0, false],
};

const PROPAGATION: Readonly<Record<string, number>> = {
  private: MS.PRIVATE,
  rprivate: MS.PRIVATE | MS.REC,
  slave: MS.SLAVE,
  rslave: MS.SLAVE | MS.REC,
  shared: MS.SHARED,
  rshared: MS.SHARED | MS.REC,
  unbindable: MS.UNBINDABLE,
  runbindable: MS.UNBINDABLE | MS.REC,
};

interface Options {
  flags: number;
  set: number;
  clear: number;
  propagation: number;
  bind: "bind" | "rbind" | undefined;
  data: string;
}

/** Each keeps one of the plan's few registers until it is attached. */
const MAX_LINKED = 24;

/**
 * Opens the binds that stay in touch with the host's mounts (slave, shared).
 *
 * It must happen before the namespace is cut off from the host: what is copied
 * after that has no peers any more.
 */
export function openLinkedBinds(build: Build, mounts: readonly Mount[]): ReadonlyMap<Mount, Reg> {
  const trees = new Map<Mount, Reg>();
  for (const mount of mounts) {
    if (mount.options === undefined || !mount.options.some(isLinked)) continue;
    if (trees.size === MAX_LINKED) {
      throw new BoxError(
        "bad-mount",
        `Cannot mount on "${mount.destination}": ${MAX_LINKED} mounts are slave or shared`,
      );
    }
    const tree = build.plan.register();
    openBind(build, mount, parseOptions(mount.options), tree);
    trees.set(mount, tree);
  }
  return trees;
}

function isLinked(option: string): boolean {
  return option === "rslave" || option === "rshared" || option === "slave" || option === "shared";
}

/**
 * Attaches one mount of config.json, in the order that it has there.
 *
 * @param opened Its tree, if it was opened before.
 */
export function addMount(build: Build, mount: Mount, cgroups: CgroupHost, opened?: Reg): void {
  const options = parseOptions(mount.options ?? []);
  if (options.bind !== undefined || mount.type === "bind") addBind(build, mount, options, opened);
  else if (mount.type === "cgroup" || mount.type === "cgroup2") addCgroups(build, mount.destination, options, cgroups);
  else addFileSystem(build, mount, options);
}

function parseOptions(texts: readonly string[]): Options {
  const options: Options = { flags: 0, set: 0, clear: 0, propagation: 0, bind: undefined, data: "" };
  for (const text of texts) {
    const flag = FLAGS[text];
    const propagation = PROPAGATION[text];
    if (flag !== undefined) {
      const [bit, attribute, isCleared] = flag;
      options.flags = isCleared ? options.flags & ~bit : options.flags | bit;
      options.set = isCleared ? options.set & ~attribute : options.set | attribute;
      options.clear = isCleared ? options.clear | attribute : options.clear & ~attribute;
    } else if (propagation !== undefined) options.propagation = propagation;
    else if (text === "bind" || text === "rbind") options.bind = text;
    else if (text !== "defaults") options.data += options.data === "" ? text : `,${text}`;
  }
  // The access-time modes are one field: to set one, the others are cleared.
  if (options.set & MOUNT_ATTR.ATIME) options.clear |= MOUNT_ATTR.ATIME;
  return options;
}

/** A file or directory of the host. Its source was looked at by the engine; the child opens it before it leaves the host's root. */
function addBind(build: Build, mount: Mount, options: Options, opened: Reg | undefined): void {
  const { plan, root, scratch, tree } = build;
  if (opened === undefined) openBind(build, mount, options, tree);
  const type = isFileMount(mount) ? S_IF.REG : S_IF.DIR;
  plan.child.builtin("target", root, mount.destination, type, 0).into(scratch).tag(TAG.MOUNT);
  attach(build, opened);
}

function openBind({ plan }: Build, mount: Mount, options: Options, tree: Reg): void {
  if (mount.source === undefined) {
    throw new BoxError("bad-mount", `Cannot mount on "${mount.destination}": a bind mount needs a source`);
  }
  const recursive = options.bind === "bind" ? 0 : AT.RECURSIVE;
  plan.child
    .sys("open_tree", AT.FDCWD, mount.source, OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | recursive)
    .into(tree)
    .tag(TAG.MOUNT);
  const propagation = options.propagation & ~MS.REC || MS.PRIVATE;
  const attributes = mountAttributes(plan, options.set, options.clear, propagation);
  plan.child.sys("mount_setattr", tree, "", AT.EMPTY_PATH | recursive, attributes, 32).tag(TAG.MOUNT);
}

/** Moves the mount in `tree` onto `scratch`, and closes both. */
function attach({ plan, scratch, tree: own }: Build, opened?: Reg): void {
  const tree = opened ?? own;
  const flags = MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH;
  plan.child.sys("move_mount", tree, "", scratch, "", flags).tag(TAG.MOUNT);
  plan.child.sys("close", tree);
  plan.child.sys("close", scratch);
}

/** The engine says with an option of its own that a bind's source is no directory. */
export const FILE_OPTION = "x-bantubox.file";

function isFileMount(mount: Mount): boolean {
  return mount.options?.includes(FILE_OPTION) === true;
}

/** A file system of its own. /proc and /sys must lie where they are looked for, so no link may stand there. */
function addFileSystem(build: Build, mount: Mount, options: Options): void {
  const { plan, root, scratch } = build;
  const type = mount.type ?? "";
  const resolve = type === "proc" || type === "sysfs" ? RESOLVE.NO_SYMLINKS : 0;
  plan.child.builtin("target", root, mount.destination, S_IF.DIR, resolve).into(scratch).tag(TAG.MOUNT);
  // The directory itself, whatever its name leads to by now.
  plan.child.sys("fchdir", scratch).tag(TAG.MOUNT);
  plan.child.sys("mount", mount.source ?? type, ".", type, options.flags, options.data || null).tag(TAG.MOUNT);
  plan.child.sys("close", scratch);
}

/**
 * /sys/fs/cgroup. The child has joined its groups and left the host's cgroup
 * namespace before, so that what is mounted here begins at its own group.
 */
function addCgroups(build: Build, destination: string, options: Options, cgroups: CgroupHost): void {
  const { plan, root, scratch, tree } = build;
  const steps = plan.child;
  if (cgroups.mode === "v2") {
    addFileSystem(build, { destination, type: "cgroup2", source: "cgroup" }, { ...options, data: "" });
    return;
  }
  const flags = MS.NOSUID | MS.NODEV | MS.NOEXEC;
  addFileSystem(
    build,
    { destination, type: "tmpfs", source: "tmpfs" },
    { ...options, flags, data: "mode=755,size=64k" },
  );
  steps.builtin("target", root, destination, S_IF.DIR, 0).into(scratch).tag(TAG.MOUNT);
  for (const { version, controllers, name } of cgroups.hierarchies) {
    const directory = version === 2 ? "unified" : (name ?? controllers.join(","));
    const data = version === 2 ? null : name === undefined ? controllers.join(",") : `none,name=${name}`;
    steps.sys("mkdirat", scratch, directory, 0o755).tag(TAG.MOUNT);
    steps
      .sys("openat", scratch, directory, O.PATH | O.CLOEXEC)
      .into(tree)
      .tag(TAG.MOUNT);
    steps.sys("fchdir", tree);
    steps.sys("mount", "cgroup", ".", version === 2 ? "cgroup2" : "cgroup", options.flags, data).tag(TAG.MOUNT);
    steps.sys("close", tree);
    if (version === 2 || controllers.length < 2) continue;
    for (const controller of controllers) steps.sys("symlinkat", directory, scratch, controller);
  }
  if (options.flags & MS.RDONLY) {
    steps.sys("mount_setattr", scratch, "", AT.EMPTY_PATH, mountAttributes(plan, MOUNT_ATTR.RDONLY), 32).tag(TAG.MOUNT);
  }
  steps.sys("close", scratch);
}
