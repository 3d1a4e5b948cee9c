import { AT, CLONE, ERRNO, O, PR, type Reg, SECTION, SIGNALS, type Steps } from "@bantubox/ffi";
import type { Build } from "./build.ts";
import type { IdMapping, Linux, Namespace, NamespaceType } from "./spec.ts";
import { TAG } from "./tags.ts";

/** The flag of clone3(2) and setns(2) for each type of config.json. */
export const NAMESPACE_FLAG: Readonly<Record<NamespaceType, number>> = {
  mount: CLONE.NEWNS,
  pid: CLONE.NEWPID,
  uts: CLONE.NEWUTS,
  ipc: CLONE.NEWIPC,
  network: CLONE.NEWNET,
  cgroup: CLONE.NEWCGROUP,
  time: CLONE.NEWTIME,
  user: CLONE.NEWUSER,
};

/** The order of joining: what needs the host's rights comes before the user namespace, the host's files until last. */
const JOIN_ORDER: readonly NamespaceType[] = ["ipc", "uts", "network", "cgroup", "time", "pid", "mount", "user"];

/**
 * Whether CHILD is a stage, which forks the container's process as INNER.
 *
 * A joined PID namespace and a time namespace's offsets count for children only. A user
 * namespace takes the host's rights away, which some steps need; so they are taken before.
 */
export function isStaged({ namespaces, timeOffsets }: Linux): boolean {
  if (hasOffsets(timeOffsets)) return true;
  return namespaces.some(({ type, path }) => type === "user" || (type === "pid" && path !== undefined));
}

/** Whether there is a namespace of that type in the list, whatever becomes of it. */
export function hasNamespace({ namespaces }: Linux, type: NamespaceType): boolean {
  return namespaces.some((namespace) => namespace.type === type);
}

/** Whether the container gets a new one of that type. */
export function isNew({ namespaces }: Linux, type: NamespaceType): boolean {
  return namespaces.some((namespace) => namespace.type === type && namespace.path === undefined);
}

/** Flags of the fork in PREPARE: a stage is born where its parent is. */
export function namespaceFlags(linux: Linux): number {
  return isStaged(linux) ? 0 : newFlags(linux);
}

/** A cgroup namespace begins at the groups that its maker is in: the process makes it, once it has joined them all. */
function newFlags({ namespaces }: Linux): number {
  let flags = 0;
  for (const { type, path } of namespaces) if (path === undefined && type !== "cgroup") flags |= NAMESPACE_FLAG[type];
  return flags;
}

/** Joins the namespaces that have a path, in a process that has one thread. */
export function joinNamespaces({ scratch }: Build, steps: Steps, namespaces: readonly Namespace[]): void {
  for (const each of JOIN_ORDER) {
    const path = namespaces.find(({ type }) => type === each)?.path;
    if (path === undefined) continue;
    steps
      .sys("openat", AT.FDCWD, path, O.RDONLY | O.CLOEXEC)
      .into(scratch)
      .tag(TAG.JOIN);
    steps.sys("setns", scratch, NAMESPACE_FLAG[each]).tag(TAG.JOIN);
    steps.sys("close", scratch);
  }
}

/** The lines of uid_map and gid_map. */
function formatMap(map: readonly IdMapping[]): string {
  return map.map(({ containerID, hostID, size }) => `${containerID} ${hostID} ${size}\n`).join("");
}

/** The ID on the host of one in the container; undefined for one that is not mapped. */
export function hostId(linux: Linux, kind: "uid" | "gid", id: number): number | undefined {
  if (!isNew(linux, "user")) return hasNamespace(linux, "user") ? undefined : id;
  const map = kind === "uid" ? linux.uidMappings : linux.gidMappings;
  const mapping = map?.find(({ containerID, size }) => id >= containerID && id < containerID + size);
  return mapping && id - mapping.containerID + mapping.hostID;
}

/** Makes a user namespace with these maps, whose descriptor goes into `into`. */
export function openUserNamespace(
  steps: Steps,
  uids: readonly IdMapping[],
  gids: readonly IdMapping[],
  into: Reg,
): void {
  const [uidMap, gidMap] = [formatMap(uids), formatMap(gids)];
  steps.builtin("userNamespace", uidMap, uidMap.length, gidMap, gidMap.length).into(into).tag(TAG.USERNS);
}

/** Opens the container's user namespace, made or to be joined; nothing for a container without one. */
export function openOwnUsers(steps: Steps, linux: Linux, into: Reg): boolean {
  const users = linux.namespaces.find(({ type }) => type === "user");
  if (users === undefined) return false;
  if (users.path === undefined) openUserNamespace(steps, linux.uidMappings ?? [], linux.gidMappings ?? [], into);
  else
    steps
      .sys("openat", AT.FDCWD, users.path, O.RDONLY | O.CLOEXEC)
      .into(into)
      .tag(TAG.JOIN);
  return true;
}

/**
 * The end of a stage: joins and makes what the container's process is born into, forks it, tells the parent and goes.
 *
 * @param users As `openOwnUsers` left it; undefined without a user namespace.
 */
export function leaveStage(build: Build, linux: Linux, users: Reg | undefined): void {
  const { plan } = build;
  const steps = plan.child;
  let flags = newFlags(linux) & ~CLONE.NEWUSER;
  if (hasOffsets(linux.timeOffsets)) {
    flags &= ~CLONE.NEWTIME;
    setTimeOffsets(steps, linux.timeOffsets);
  }
  joinNamespaces(
    build,
    steps,
    linux.namespaces.filter(({ type }) => type !== "user"),
  );
  if (users !== undefined) {
    steps.sys("setns", users, CLONE.NEWUSER).tag(TAG.USERNS);
    steps.sys("close", users);
  }
  const [child, isTold, tells] = [plan.register(2), plan.register(), plan.register()];
  const pair = plan.space(8);
  steps.sys("pipe2", pair, O.CLOEXEC).tag(TAG.STATE);
  steps.builtin("load32", pair).into(isTold);
  steps.builtin("load32", plan.within(pair, 4)).into(tells);
  steps
    .builtin("fork", SECTION.INNER, CLONE.PARENT | flags, -1)
    .into(child)
    .tag(TAG.STATE);
  steps.builtin("sendChild", child, child.next()).tag(TAG.STATE);
  steps.builtin("exit", 0);
  // The parent must have heard of the process before it hears from it: the stage's end closes the pipe.
  build.child.sys("close", tells);
  build.child.sys("read", isTold, plan.space(8), 1);
  build.child.sys("close", isTold);
}

/** For children only, and only before there is one: so in a stage. */
function setTimeOffsets(steps: Steps, offsets: NonNullable<Linux["timeOffsets"]>): void {
  steps.sys("unshare", CLONE.NEWTIME).tag(TAG.JOIN);
  const text = Object.entries(offsets)
    .map(([clock, { secs = 0, nanosecs = 0 }]) => `${clock} ${secs} ${nanosecs}\n`)
    .join("");
  steps.builtin("writeFile", AT.FDCWD, "/proc/self/timens_offsets", text, text.length, O.WRONLY, 0).tag(TAG.TIME);
}

function hasOffsets(offsets: Linux["timeOffsets"]): offsets is NonNullable<Linux["timeOffsets"]> {
  return offsets !== undefined && Object.keys(offsets).length > 0;
}

/** Becomes root of the user namespace that this process was born into. What it wrote before, it wrote as the host's root. */
export function becomeMappedRoot(steps: Steps): void {
  // A joined namespace may deny setgroups; its first process has no groups of the host's either way.
  steps.sys("setgroups", 0, null).tolerate(ERRNO.EPERM).tag(TAG.USERNS);
  steps.sys("setresgid", 0, 0, 0).tag(TAG.USERNS);
  steps.sys("setresuid", 0, 0, 0).tag(TAG.USERNS);
  // A change of user takes both back.
  steps.sys("prctl", PR.SET_PDEATHSIG, SIGNALS.KILL, 0, 0, 0);
  steps.sys("prctl", PR.SET_DUMPABLE, 0, 0, 0, 0);
}
