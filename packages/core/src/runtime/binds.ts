/** Bind mounts: files and directories of the host, opened as trees of their own and moved to their place. */
import { AT, BoxError, ERRNO, MOUNT_ATTR, MS, OPEN_TREE, type Place, type Reg, S_IF, type Steps } from "@bantubox/ffi";
import { attach, type Build, mountAttributes } from "./build.ts";
import { FILE_OPTION, type MountOptions, parseMountOptions } from "./mount-options.ts";
import { openUserNamespace } from "./namespaces.ts";
import type { Mount } from "./spec.ts";
import { TAG } from "./tags.ts";

/** Where the descriptors of trees are kept that were opened before their turn. */
export type OpenedBinds = ReadonlyMap<Mount, Place>;

/** What of the container decides how a tree is opened. */
export interface BindRules {
  /** What a mount is without a word of its own about it: MS.PRIVATE or MS.SLAVE. */
  readonly propagation: number;
  /** The container's user namespace, for mounts that take its maps. */
  readonly users: Reg | undefined;
}

export function isBind({ type, options = [] }: Mount): boolean {
  return type === "bind" || options.some((option) => option === "bind" || option === "rbind");
}

/** Whether a mount stays in touch with the host's (slave, shared). */
function isLinked({ options = [] }: Mount): boolean {
  const kinds = ["rslave", "rshared", "slave", "shared"];
  return options.some((option) => kinds.includes(option));
}

/**
 * Opens trees before their turn: `all` of them where the container's process could not open them any more,
 * else those that stay in touch with the host's, since what is copied after the namespace was cut off from it
 * has no peers any more.
 */
export function openBinds(
  build: Build,
  steps: Steps,
  mounts: readonly Mount[],
  rules: BindRules,
  all: boolean,
): OpenedBinds {
  const { plan, tree } = build;
  const opened = new Map<Mount, Place>();
  for (const mount of mounts) {
    if (!isBind(mount) || !(all || isLinked(mount))) continue;
    const options = parseMountOptions(mount.options ?? []);
    if (options.isRemount) continue;
    const place = plan.space(4);
    openBind(build, steps, mount, options, rules);
    steps.builtin("store32", place, tree);
    opened.set(mount, place);
  }
  return opened;
}

/** Attaches a bind mount. Its source was looked at before; the process opens it before it leaves the host's root. */
export function addBind(
  build: Build,
  mount: Mount,
  options: MountOptions,
  rules: BindRules,
  opened: Place | undefined,
): void {
  const { child, root, scratch } = build;
  if (opened === undefined) openBind(build, child, mount, options, rules);
  else takeOpened(build, opened, options);
  const type = mount.options?.includes(FILE_OPTION) === true ? S_IF.REG : S_IF.DIR;
  child.builtin("target", root, mount.destination, type, 0).into(scratch).tag(TAG.MOUNT);
  attach(build, TAG.MOUNT);
}

/**
 * Leaves a tree that was opened before in `tree`, as a copy that is made now: mountinfo lists mounts by their age,
 * and theirs shall be in the order of the configuration. Where no copy can be had (before Linux 6.15, or from
 * another namespace) it is the tree itself.
 */
function takeOpened({ child, tree, value }: Build, opened: Place, { bind }: MountOptions): void {
  const F_DUPFD_CLOEXEC = 1030;
  const flags = OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.EMPTY_PATH | (bind === "bind" ? 0 : AT.RECURSIVE);
  child.builtin("load32", opened).into(tree);
  child.sys("open_tree", tree, "", flags).into(value).tolerate(ERRNO.EINVAL, 3).tag(TAG.MOUNT);
  child.sys("close", tree);
  child.sys("fcntl", value, F_DUPFD_CLOEXEC, 3).into(tree).tag(TAG.MOUNT);
  child.sys("close", value);
}

/** Leaves the tree of a mount's source in `tree`, with its attributes. */
function openBind(build: Build, steps: Steps, mount: Mount, options: MountOptions, rules: BindRules): void {
  const { plan, tree } = build;
  if (mount.source === undefined) {
    throw new BoxError("bad-mount", `Cannot mount on "${mount.destination}": a bind mount needs a source`);
  }
  const recursive = options.bind === "bind" ? 0 : AT.RECURSIVE;
  openTree(steps, mount.source, recursive, tree);
  if (mount.uidMappings !== undefined || options.idmap !== undefined) mapOwners(build, steps, mount, options, rules);
  const propagation = options.propagation & ~MS.REC || rules.propagation;
  if (recursive === 0 || (options.set === 0 && options.clear === 0)) {
    const attributes = mountAttributes(
      plan,
      options.set | options.setAll,
      options.clear | options.clearAll,
      propagation,
    );
    steps.sys("mount_setattr", tree, "", AT.EMPTY_PATH | recursive, attributes, 32).tag(TAG.MOUNT);
    return;
  }
  // "ro" is about the mount that is named; "rro", and how mounts spread, about all that lie below it too.
  const whole = mountAttributes(plan, options.setAll, options.clearAll, propagation);
  steps.sys("mount_setattr", tree, "", AT.EMPTY_PATH | recursive, whole, 32).tag(TAG.MOUNT);
  const top = mountAttributes(plan, options.set, options.clear);
  steps.sys("mount_setattr", tree, "", AT.EMPTY_PATH, top, 32).tag(TAG.MOUNT);
}

export function openTree(steps: Steps, source: string, recursive: number, into: Reg): void {
  steps
    .sys("open_tree", AT.FDCWD, source, OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | recursive)
    .into(into)
    .tag(TAG.MOUNT);
}

/** Shows the owners of a tree as maps say: the mount's own, or the container's. Such a map cannot be changed any more. */
function mapOwners(build: Build, steps: Steps, mount: Mount, { idmap }: MountOptions, { users }: BindRules): void {
  const { plan, tree, scratch } = build;
  const { uidMappings, gidMappings } = mount;
  const attributes = mountAttributes(plan, MOUNT_ATTR.IDMAP);
  const isOwn = uidMappings !== undefined && gidMappings !== undefined;
  if (isOwn) openUserNamespace(steps, uidMappings, gidMappings, scratch);
  else if (users === undefined) {
    throw new BoxError("bad-mount", `Cannot map the owners of "${mount.destination}": there are no maps`);
  }
  steps.builtin("store32", plan.within(attributes, 24), isOwn ? scratch : (users as Reg));
  const recursive = idmap === "ridmap" ? AT.RECURSIVE : 0;
  steps.sys("mount_setattr", tree, "", AT.EMPTY_PATH | recursive, attributes, 32).tag(TAG.IDMAP);
  if (isOwn) steps.sys("close", scratch);
}
