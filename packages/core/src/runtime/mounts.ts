/** The mounts of config.json, in the order that they have there. */
import { AT, COPY, ERRNO, MOUNT_ATTR, MOVE_MOUNT, MS, type Place, RESOLVE, S_IF } from "@bantubox/ffi";
import { addBind, type BindRules, isBind, type OpenedBinds, openTree } from "./binds.ts";
import { type Build, inRoot, mountAttributes } from "./build.ts";
import { addCgroups, type CgroupView } from "./cgroup-mounts.ts";
import { type MountOptions, parseMountOptions } from "./mount-options.ts";
import type { Mount } from "./spec.ts";
import { TAG } from "./tags.ts";

/** What of the container its mounts depend on. */
export interface MountRules extends BindRules, CgroupView {
  /** SELinux's label of new file systems. */
  readonly label: string | undefined;
}

/** What the host has for a file system that only the owner of another namespace may mount. */
const INSTEAD: Readonly<Record<string, string>> = { proc: "/proc", sysfs: "/sys", mqueue: "/dev/mqueue" };

/** Attaches one mount. @param opened The trees that were opened before. */
export function addMount(build: Build, mount: Mount, rules: MountRules, opened: OpenedBinds): void {
  const options = parseMountOptions(mount.options ?? []);
  const { type, destination } = mount;
  if (options.isRemount) remount(build, mount, options);
  else if (isBind(mount)) addBind(build, mount, options, rules, opened.get(mount));
  else if (type === "cgroup" || type === "cgroup2") addCgroups(build, mount, options, rules, addFileSystem);
  else if (type === undefined || type === "none") change(build, destination, options);
  else addFileSystem(build, mount, { ...options, data: withLabel(type, options.data, rules.label) }, rules);
}

/** Makes those read-only that had to be filled first. */
export function finishMount(build: Build, mount: Mount): void {
  const options = parseMountOptions(mount.options ?? []);
  if (isFilledFirst(mount, options)) change(build, mount.destination, { set: MOUNT_ATTR.RDONLY });
}

/** Whether other mounts may lie in it, for which directories are made there, or a copy of what it covers. */
function isFilledFirst({ type }: Mount, { flags, isRemount }: MountOptions): boolean {
  return type === "tmpfs" && !isRemount && (flags & MS.RDONLY) !== 0;
}

/** A file system of its own. /proc and /sys must lie where they are looked for, so no link may stand there. */
function addFileSystem(build: Build, mount: Mount, options: MountOptions, { users }: BindRules): void {
  const { child, root, scratch } = build;
  const type = mount.type ?? "";
  const isFilled = type === "tmpfs" && (options.copiesUp || !hasMode(options));
  const isThere = isFilled ? askWhetherThere(build, mount, options) : undefined;
  const resolve = type === "proc" || type === "sysfs" ? RESOLVE.NO_SYMLINKS : 0;
  child.builtin("target", root, mount.destination, S_IF.DIR, resolve).into(scratch).tag(TAG.MOUNT);
  // The directory itself, whatever its name leads to by now.
  child.sys("fchdir", scratch).tag(TAG.MOUNT);
  const flags = isFilledFirst(mount, options) ? options.flags & ~MS.RDONLY : options.flags;
  child.sys("mount", mount.source ?? type, ".", type, flags, options.data || null).tag(TAG.MOUNT);
  const instead = users === undefined ? undefined : INSTEAD[type];
  if (instead !== undefined) bindInstead(build, instead, options);
  if (isThere !== undefined) fillTmpfs(build, mount, isThere);
  child.sys("close", scratch);
  const { setAll, clearAll, propagation } = options;
  if (propagation !== 0 || setAll !== 0 || clearAll !== 0) {
    change(build, mount.destination, { setAll, clearAll, propagation });
  }
}

/**
 * Where the kernel says EPERM to the last step, because another owner's namespace is shown there:
 * the host's own, as it is seen from here, onto what is in `scratch`.
 */
function bindInstead({ child, plan, scratch, tree }: Build, source: string, { set }: MountOptions): void {
  const attributes = mountAttributes(plan, set);
  const flags = MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH;
  // It passes over the next step, which every other outcome takes, and which passes over those four.
  child.tolerate(ERRNO.EPERM, 1);
  child.sys("close", -1).tolerate(ERRNO.EBADF, 4);
  openTree(child, source, AT.RECURSIVE, tree);
  child.sys("mount_setattr", tree, "", AT.EMPTY_PATH, attributes, 32).tag(TAG.MOUNT);
  child.sys("move_mount", tree, "", scratch, "", flags).tag(TAG.MOUNT);
  child.sys("close", tree);
}

/**
 * Before a tmpfs is mounted: whether there is a directory that it covers, which decides what it is filled with.
 *
 * @returns Where that is kept: COPY_*, 0 for no directory.
 */
function askWhetherThere(build: Build, { destination }: Mount, options: MountOptions): Place {
  const { child, plan, root, tree } = build;
  const place = plan.space(4);
  child.sys("openat2", root, destination, inRoot(plan), 24).into(tree).tolerate(ERRNO.ENOENT, 2).tag(TAG.MOUNT);
  child.builtin("store32", place, (hasMode(options) ? 0 : COPY.MODE) | (options.copiesUp ? COPY.TREE : 0));
  child.sys("close", tree);
  return place;
}

/** A tmpfs that is not told its permissions has those of what it covers, and with "tmpcopyup" the content too. */
function fillTmpfs({ child, root, scratch, tree, value }: Build, { destination }: Mount, isThere: Place): void {
  child.builtin("target", root, destination, S_IF.DIR, 0).into(tree).tag(TAG.MOUNT);
  child.builtin("load32", isThere).into(value);
  child.builtin("copyUp", scratch, tree, value).tag(TAG.MOUNT);
  child.sys("close", tree);
}

function hasMode({ data }: MountOptions): boolean {
  return /(?:^|,)mode=/.test(data);
}

/** Changes a mount that is there: with "bind" what is its own, else what is the file system's. */
function remount(build: Build, mount: Mount, options: MountOptions): void {
  const { child, root, scratch } = build;
  if (options.bind !== undefined) {
    change(build, mount.destination, options);
    return;
  }
  child.builtin("target", root, mount.destination, S_IF.DIR, 0).into(scratch).tag(TAG.MOUNT);
  child.sys("fchdir", scratch).tag(TAG.MOUNT);
  const flags = options.flags | MS.REMOUNT;
  child.sys("mount", mount.source ?? "none", ".", mount.type ?? null, flags, options.data || null).tag(TAG.MOUNT);
  child.sys("close", scratch);
  if (options.propagation !== 0) change(build, mount.destination, { propagation: options.propagation });
}

/** Gives what is mounted there attributes, and says how its mounts spread. */
function change(
  { child, plan, root, scratch }: Build,
  destination: string,
  { set = 0, clear = 0, setAll = 0, clearAll = 0, propagation = 0 }: Partial<MountOptions>,
): void {
  child.builtin("target", root, destination, S_IF.DIR, 0).into(scratch).tag(TAG.MOUNT);
  const isAll = (propagation & MS.REC) !== 0;
  const apply = (flags: number, ...values: [set: number, clear: number, propagation: number]): void => {
    if (values.every((value) => value === 0)) return;
    child.sys("mount_setattr", scratch, "", AT.EMPTY_PATH | flags, mountAttributes(plan, ...values), 32).tag(TAG.MOUNT);
  };
  apply(0, set, clear, isAll ? 0 : propagation);
  apply(AT.RECURSIVE, setAll, clearAll, isAll ? propagation & ~MS.REC : 0);
  child.sys("close", scratch);
}

/** The pseudo file systems have their labels from the policy. */
function withLabel(type: string, data: string, label: string | undefined): string {
  if (!label || type === "proc" || type === "sysfs") return data;
  const context = `context="${label}"`;
  return data === "" ? context : `${data},${context}`;
}
