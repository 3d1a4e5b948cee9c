import type { CgroupHost, CgroupPlan } from "@bantubox/cgroup";
import { AT, MS, O, type Place, PR, type Reg, S_IF, SECTION, SIGNALS, type Steps, TIOC } from "@bantubox/ffi";
import type { MovePlan } from "@bantubox/net";
import { isBind, type OpenedBinds, openBinds } from "./binds.ts";
import { type Build, isolateMounts } from "./build.ts";
import { joinV1, leaveCgroupNamespace } from "./cgroups.ts";
import { addConsole, fillDev } from "./devices.ts";
import { prepareEnvironment } from "./environment.ts";
import {
  type Becoming,
  becomeUser,
  type Ending,
  enterDirectory,
  execute,
  mayBeFilteredLast,
  type SeccompFilter,
  setRlimits,
  shut,
  tightenFiles,
} from "./identity.ts";
import { PROPAGATION } from "./mount-options.ts";
import { addMount, finishMount, type MountRules } from "./mounts.ts";
import {
  becomeMappedRoot,
  hasNamespace,
  isNew,
  isStaged,
  joinNamespaces,
  leaveStage,
  openOwnUsers,
} from "./namespaces.ts";
import { type NetworkSetup, quietLinks, setUpNetwork, takeLinks } from "./network.ts";
import { protectPaths, writeProc } from "./paths.ts";
import { RECORD } from "./records.ts";
import { changeRoot, coversRoot, enterRoot, mountRoot, openBundle, type RootFs, reopenRoot } from "./rootfs.ts";
import { setScheduling } from "./scheduling.ts";
import { learnPid } from "./seccomp/listener.ts";
import type { Linux, Process, Spec } from "./spec.ts";
import { openPty, type Streams, takeTerminal, useInherited, usePipes, usePty } from "./stdio.ts";
import { sysctlFile, sysctlNamespace } from "./sysctl.ts";
import { TAG } from "./tags.ts";

/** What PID 1 is made of. Whoever starts it — the engine, the OCI commands — decides what happens around it. */
export interface ChildContext extends Becoming {
  readonly spec: Spec;
  readonly root: RootFs;
  /** A directory of the host that the child no longer needs once its root is mounted: masks lie over it in its namespace. */
  readonly directory: string;
  readonly cgroupHost: CgroupHost;
  readonly cgroup: CgroupPlan;
  readonly network: NetworkSetup;
  /** As `openHostSocket` returned it. */
  readonly hostSocket: Reg | undefined;
  /** The host's links that become the container's; they need a `hostSocket`. */
  readonly links?: MovePlan | undefined;
  readonly streams: Streams;
  readonly filter: SeccompFilter | undefined;
  /** PID 1 is a reaper of ours, and the command its child. */
  readonly init: boolean;
  /** Adds steps when everything is mounted and the root not yet entered: the place of createRuntime's and createContainer's hooks. */
  readonly beforePivot?: (build: Build, steps: Steps) => void;
  /** The root is moved over the old one, as on an initial ramdisk. */
  readonly isMoved?: boolean;
  /** What becomes of it at the end. */
  readonly ending?: Ending;
}

/** Compiles CHILD, and INNER where CHILD is a stage: from the first step of the new process to its execve. */
export function compileChild(build: Build, context: ChildContext): void {
  const { child: steps } = build;
  const { spec, streams } = context;
  const { process, linux } = spec;
  const isMapped = hasNamespace(linux, "user");
  const users = isMapped ? build.plan.register() : undefined;
  const rules = mountRules(context, users);
  const opened = isStaged(linux) ? compileStage(build, context, rules) : enterFromHost(build, context, rules);
  isolateIfOwn(build, context);
  const aside = isMapped ? enterMapped(build, context) : context.directory;
  if (isNew(linux, "cgroup")) leaveCgroupNamespace(steps);
  compileNetwork(build, context);
  setSysctls(build, spec, (file) => !isMapped || sysctlNamespace(file) !== "uts");
  setLabels(build, process);
  if (context.listener !== undefined) learnPid(steps, context.listener);
  if (!isMapped && hasNamespace(linux, "mount")) mountRoot(build, context.root);
  mountAll(build, context, rules, opened);
  if (streams.kind === "pty") {
    const size = { rows: process.consoleSize?.height ?? 0, columns: process.consoleSize?.width ?? 0 };
    const slave = openPty(build, steps, { user: process.user, size, socket: streams.socket });
    addConsole(build, slave);
    finishMounts(build, context, aside);
    usePty(steps, slave);
  } else {
    finishMounts(build, context, aside);
    if (streams.kind === "pipes") usePipes(build, steps, streams.pipes, process.user);
    else useInherited(build, steps, process.user);
  }
  if (spec.hostname) steps.sys("sethostname", spec.hostname, Buffer.byteLength(spec.hostname)).tag(TAG.HOSTNAME);
  if (spec.domainname)
    steps.sys("setdomainname", spec.domainname, Buffer.byteLength(spec.domainname)).tag(TAG.HOSTNAME);
  takeTerminal(steps, streams.kind === "pty");
  finish(build, context);
}

/** Becomes the user, and the command. */
function finish(build: Build, context: ChildContext): void {
  const { child: steps } = build;
  const { filter, listener, init, ending, spec } = context;
  const { process } = spec;
  const env = prepareEnvironment(build, steps, process);
  tightenFiles(build, steps, process.rlimits ?? []);
  enterDirectory(steps, process.cwd);
  // Under --init PID 1 stays as it is, and what it forks inherits that; alone, only the command itself is filtered.
  const isLast = listener === undefined && !init && mayBeFilteredLast(process, mayBeTraced(spec, ending));
  // The listener's socket is needed as the filter is installed.
  const isShut = !isLast && listener === undefined;
  if (isShut) shut(steps, ending?.preserved, ending?.fifo, ending?.outputFd);
  if (isLast) becomeUser(build, steps, process, undefined, { ...context, later: filter });
  else becomeUser(build, steps, process, filter, context);
  if (init) runUnderInit(build, context, env, isShut);
  else execute(build, steps, process, env, { ...ending, meets: true, isShut, ...(isLast && { filter }) });
}

/**
 * Whether somebody could trace it before its command: others are in its PID namespace already, or may come while it is
 * held, by an exec. That it is not dumpable stops those without the capability.
 */
function mayBeTraced({ linux, process }: Spec, ending: Ending | undefined): boolean {
  const isPidJoined = linux.namespaces.some(({ type, path }) => type === "pid" && path !== undefined);
  return isPidJoined || (ending?.fifo !== undefined && process.capabilities.bounding.includes("CAP_SYS_PTRACE"));
}

/** It dies with whoever makes it, until its start is on record, and nobody else's ptrace reaches it. */
function beginChild(steps: Steps): void {
  steps.sys("prctl", PR.SET_PDEATHSIG, SIGNALS.KILL, 0, 0, 0);
  steps.sys("prctl", PR.SET_DUMPABLE, 0, 0, 0, 0);
  steps.sys("umask", 0);
}

function mountRules({ spec, cgroupHost, cgroup }: ChildContext, users: Reg | undefined): MountRules {
  const { linux } = spec;
  return {
    propagation: isSlave(linux) ? MS.SLAVE : MS.PRIVATE,
    users,
    cgroups: cgroupHost,
    cgroupPath: cgroup.path,
    hasCgroupNamespace: isNew(linux, "cgroup"),
    label: linux.mountLabel,
  };
}

/** Whether the root stays in touch with the host's mounts, which appear in it. */
function isSlave({ rootfsPropagation }: Linux): boolean {
  return rootfsPropagation === "slave" || rootfsPropagation === "rslave";
}

/** A process that was born into its new namespaces: it joins the others, and opens what is lost once they are cut off. */
function enterFromHost(build: Build, context: ChildContext, rules: MountRules): OpenedBinds {
  const { child: steps } = build;
  const { spec, network } = context;
  beginChild(steps);
  joinV1(steps, context.cgroup);
  // The engine's networks are joined by network.ts.
  const isElsewhere = network.kind === "join";
  const joined = spec.linux.namespaces.filter(({ type }) => !(isElsewhere && type === "network"));
  joinNamespaces(build, steps, joined);
  setLimits(build, steps, spec);
  const opened = openBinds(build, steps, spec.mounts, rules, false);
  openRoot(build, steps, context);
  return opened;
}

/** A stage does all that needs the host's rights or files, and forks the container's process, which begins with INNER. */
function compileStage(build: Build, context: ChildContext, rules: MountRules): OpenedBinds {
  const { plan, child } = build;
  const { spec } = context;
  const steps = plan.child;
  beginChild(steps);
  joinV1(steps, context.cgroup);
  setLimits(build, steps, spec);
  if (rules.users !== undefined) openOwnUsers(steps, spec.linux, rules.users);
  const opened = openBinds(build, steps, spec.mounts, rules, rules.users !== undefined);
  openRoot(build, steps, context);
  leaveStage(build, spec.linux, rules.users);
  beginChild(child);
  return opened;
}

function openRoot(build: Build, steps: Steps, { root, spec: { linux } }: ChildContext): void {
  if (root.kind === "bundle" && hasNamespace(linux, "mount")) openBundle(build, steps, root.path, isSlave(linux));
}

function isolateIfOwn(build: Build, { spec: { linux } }: ChildContext): void {
  if (hasNamespace(linux, "mount")) isolateMounts(build.child, isSlave(linux));
}

/**
 * Becomes the user namespace's root. Until then the process has the host's user, without its rights: whose
 * files it can still open, but not the container's root.
 *
 * @returns A descriptor of the directory that masks lie over.
 */
function enterMapped(build: Build, context: ChildContext): Reg {
  const { child: steps, plan } = build;
  const aside = plan.register();
  setSysctls(build, context.spec, (file) => sysctlNamespace(file) === "uts");
  steps
    .sys("openat", AT.FDCWD, context.directory, O.PATH | O.DIRECTORY | O.CLOEXEC)
    .into(aside)
    .tag(TAG.STATE);
  if (hasNamespace(context.spec.linux, "mount")) mountRoot(build, context.root);
  becomeMappedRoot(steps);
  return aside;
}

/** What may only be raised with the host's rights, and is inherited. */
function setLimits(build: Build, steps: Steps, { process, linux }: Spec): void {
  if (process.oomScoreAdj !== undefined) {
    writeProc(build, steps, "/proc/self/oom_score_adj", String(process.oomScoreAdj), TAG.RLIMIT);
  }
  setRlimits(build, steps, process.rlimits ?? []);
  setScheduling(build, steps, process, linux);
}

/** What is written while the host's /proc is still there. */
function setSysctls(build: Build, { linux }: Spec, isChosen: (file: string) => boolean): void {
  for (const [name, value] of Object.entries(linux.sysctl ?? {})) {
    const file = sysctlFile(name);
    if (isChosen(file)) writeProc(build, build.child, `/proc/sys/${file}`, value, TAG.SYSCTL);
  }
}

/** For the next execve. */
function setLabels(build: Build, { apparmorProfile, selinuxLabel }: Process): void {
  if (apparmorProfile) {
    writeProc(build, build.child, "/proc/self/attr/apparmor/exec", `exec ${apparmorProfile}`, TAG.APPARMOR);
  }
  if (selinuxLabel) writeProc(build, build.child, "/proc/self/attr/exec", selinuxLabel, TAG.APPARMOR);
}

function mountAll(build: Build, { spec, root }: ChildContext, rules: MountRules, opened: OpenedBinds): void {
  const { child: steps, scratch } = build;
  const { devices = [] } = spec.linux;
  if (!hasNamespace(spec.linux, "mount")) {
    // Nothing is mounted, which everybody would see: the process gets the root as it is.
    if (root.kind === "bundle") openDirectory(steps, root.path, build.root);
    return;
  }
  const isMapped = rules.users !== undefined;
  let isFilled = false;
  for (const mount of spec.mounts) {
    addMount(build, mount, rules, opened);
    if (coversRoot(mount)) reopenRoot(build);
    if (!/^\/dev\/*$/.test(mount.destination)) continue;
    if (mount.type === "tmpfs") fillDev(build, devices, isMapped);
    // A /dev of the host's is complete, and not the container's to change.
    isFilled = mount.type === "tmpfs" || isBind(mount);
  }
  if (!isFilled) fillDev(build, devices, isMapped);
  // A working directory that the image lacks is made, as Docker does; on a root that cannot be written it fails later.
  const { cwd } = spec.process;
  if (cwd !== "/") steps.builtin("target", build.root, cwd, S_IF.DIR, 0).into(scratch).ignore();
}

function openDirectory(steps: Steps, path: string, into: Reg): void {
  steps
    .sys("openat", AT.FDCWD, path, O.PATH | O.DIRECTORY | O.CLOEXEC)
    .into(into)
    .tag(TAG.ROOTFS);
}

function finishMounts(build: Build, context: ChildContext, aside: string | Reg): void {
  const { spec, root, beforePivot, isMoved = false } = context;
  const { maskedPaths: masked = [], readonlyPaths: readonly = [], rootfsPropagation = "private" } = spec.linux;
  if (!hasNamespace(spec.linux, "mount")) {
    beforePivot?.(build, build.child);
    if (root.kind === "bundle") changeRoot(build, root.path);
    return;
  }
  const hasProc = spec.mounts.some(({ destination }) => /^\/proc\/*$/.test(destination));
  protectPaths(build, { masked, readonly, hasProc, aside });
  for (const mount of spec.mounts) finishMount(build, mount);
  beforePivot?.(build, build.child);
  const propagation = PROPAGATION[rootfsPropagation] ?? 0;
  enterRoot(build, {
    isReadOnly: spec.root.readonly === true,
    // A root that is private or a slave has been so since it was opened.
    propagation: propagation & (MS.SHARED | MS.UNBINDABLE) ? propagation : 0,
    isMoved,
  });
}

function compileNetwork(build: Build, context: ChildContext): void {
  const { child: steps } = build;
  const { spec, network, hostSocket, links } = context;
  if (network.kind === "veth") quietLinks(steps);
  // A stage has joined what there was to join.
  const isJoined = isStaged(spec.linux) && network.kind === "join";
  if (!isJoined) setUpNetwork(build, network, hostSocket);
  if (links !== undefined && hostSocket !== undefined) takeLinks(build, links, hostSocket);
}

/** --init: the child stays as a reaper, and its first child, pid 2 of the namespace, is the command. */
function runUnderInit(build: Build, { spec, streams, ending }: ChildContext, env: Place, isShut: boolean): void {
  const { plan, scratch } = build;
  const { child, inner } = plan;
  if (!isShut) shut(child);
  child.builtin("fork", SECTION.INNER, 0, -1).into(scratch).tag(TAG.STATE);
  // From here on it lives as long as the command, which itself waits until the start is on record.
  child.sys("prctl", PR.SET_PDEATHSIG, 0, 0, 0, 0);
  child.builtin("reap", scratch);
  // Its own process group, and the terminal's foreground, so that ^C reaches it once and not through PID 1 again.
  inner.sys("setpgid", 0, 0).tag(TAG.STATE);
  if (streams.kind === "pty") takeForeground(build, inner);
  execute(build, inner, spec.process, env, { ...ending, meets: true, isShut: true });
}

/**
 * In PARENT: records that the container runs once its process is where it shall be. Whoever finds the record joins its
 * namespaces, or looks through its /proc/PID/root: before pivot_root that is the host's root.
 */
export function recordReady({ plan }: Build, directory: Reg): void {
  plan.parent.builtin("meet").tag(TAG.STATE);
  plan.parent.builtin("recordStart", directory, RECORD.pid).tag(TAG.STATE);
}

/** Blocks SIGTTOU for the one call that would stop a background process. */
function takeForeground({ plan }: Build, steps: Steps): void {
  const SIG_BLOCK = 0;
  const SIG_UNBLOCK = 1;
  const set = new Uint32Array(new ArrayBuffer(8));
  set[0] = 1 << (SIGNALS.TTOU - 1);
  const group = new Uint32Array(new ArrayBuffer(4));
  group[0] = 2;
  const mask = plan.bytes(new Uint8Array(set.buffer));
  steps.sys("rt_sigprocmask", SIG_BLOCK, mask, null, 8);
  steps.sys("ioctl", 0, TIOC.SPGRP, plan.bytes(new Uint8Array(group.buffer))).tag(TAG.PTY);
  steps.sys("rt_sigprocmask", SIG_UNBLOCK, mask, null, 8);
}
