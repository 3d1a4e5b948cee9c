import type { CgroupHost, CgroupPlan } from "@bantubox/cgroup";
import { AT, ERRNO, O, PR, type Reg, S_IF, SECTION, SIGNALS, type Steps, TIOC } from "@bantubox/ffi";
import { QUIET_SYSCTLS } from "@bantubox/net";
import { type Build, isolateMounts } from "./build.ts";
import { joinCgroups } from "./cgroups.ts";
import { addConsole, fillDev } from "./devices.ts";
import { becomeUser, type Ending, execute, type SeccompFilter, setRlimits } from "./identity.ts";
import { addMount, openLinkedBinds } from "./mounts.ts";
import { NAMESPACE_FLAG } from "./namespaces.ts";
import { type NetworkSetup, setUpNetwork } from "./network.ts";
import { protectPaths, writeProc } from "./paths.ts";
import { enterRoot, mountRoot, type RootFs } from "./rootfs.ts";
import type { Spec } from "./spec.ts";
import { openPty, type Streams, takeTerminal, useInherited, usePipes, usePty } from "./stdio.ts";
import { TAG } from "./tags.ts";

/** What PID 1 is made of. Whoever starts it — the engine, the OCI commands — decides what happens around it. */
export interface ChildContext {
  readonly spec: Spec;
  readonly root: RootFs;
  /** A directory of the host that the child no longer needs once its root is mounted: masks lie over it in its namespace. */
  readonly directory: string;
  readonly cgroupHost: CgroupHost;
  readonly cgroup: CgroupPlan;
  readonly network: NetworkSetup;
  /** As `openHostSocket` returned it. */
  readonly hostSocket: Reg | undefined;
  readonly streams: Streams;
  readonly filter: SeccompFilter | undefined;
  /** PID 1 is a reaper of ours, and the command its child. */
  readonly init: boolean;
  /** Adds steps when everything is mounted and the root not yet entered: the place of createRuntime's and createContainer's hooks. */
  readonly beforePivot?: (build: Build, steps: Steps) => void;
  /** What becomes of it at the end. */
  readonly ending?: Ending;
}

/** Compiles CHILD: from the first step of the new process to its execve. */
export function compileChild(build: Build, context: ChildContext): void {
  const { plan } = build;
  const steps = plan.child;
  const { spec, streams } = context;
  const { process } = spec;
  beginChild(steps);
  const hasCgroupNamespace = spec.linux.namespaces.some(({ type, path }) => type === "cgroup" && path === undefined);
  joinCgroups(build, context.cgroup, hasCgroupNamespace);
  joinNamespaces(build, spec);
  compileNetwork(build, context);
  setProcess(build, spec);
  mountAll(build, context);
  if (streams.kind === "pty") {
    const size = { rows: process.consoleSize?.height ?? 0, columns: process.consoleSize?.width ?? 0 };
    const slave = openPty(build, steps, { user: process.user, size, socket: streams.socket });
    addConsole(build, slave);
    finishMounts(build, context);
    usePty(steps, slave);
  } else {
    finishMounts(build, context);
    if (streams.kind === "pipes") usePipes(build, steps, streams.pipes, process.user);
    else useInherited(steps, process.user);
  }
  if (spec.hostname) steps.sys("sethostname", spec.hostname, Buffer.byteLength(spec.hostname)).tag(TAG.HOSTNAME);
  if (spec.domainname)
    steps.sys("setdomainname", spec.domainname, Buffer.byteLength(spec.domainname)).tag(TAG.HOSTNAME);
  takeTerminal(steps, streams.kind === "pty");
  becomeUser(build, steps, process, context.filter);
  if (context.init) runUnderInit(build, context);
  else execute(build, steps, process, context.ending);
}

/** It dies with whoever makes it, until its start is on record, and nobody else's ptrace reaches it. */
function beginChild(steps: Steps): void {
  steps.sys("prctl", PR.SET_PDEATHSIG, SIGNALS.KILL, 0, 0, 0);
  steps.sys("prctl", PR.SET_DUMPABLE, 0, 0, 0, 0);
  steps.sys("umask", 0);
}

/** What is written while the host's /proc is still there, and may still be raised. */
function setProcess(build: Build, { process, linux }: Spec): void {
  for (const [name, value] of Object.entries(linux.sysctl ?? {})) {
    writeProc(build, `/proc/sys/${name.replaceAll(".", "/")}`, value, TAG.SYSCTL);
  }
  if (process.oomScoreAdj !== undefined) {
    writeProc(build, "/proc/self/oom_score_adj", String(process.oomScoreAdj), TAG.RLIMIT);
  }
  if (process.apparmorProfile) {
    writeProc(build, "/proc/self/attr/apparmor/exec", `exec ${process.apparmorProfile}`, TAG.APPARMOR);
  }
  setRlimits(build, build.plan.child, process.rlimits ?? []);
}

function mountAll(build: Build, { spec, root, cgroupHost }: ChildContext): void {
  const { plan, scratch } = build;
  const steps = plan.child;
  const linked = openLinkedBinds(build, spec.mounts);
  isolateMounts(steps, spec.linux.rootfsPropagation ?? "private");
  mountRoot(build, root);
  for (const mount of spec.mounts) {
    addMount(build, mount, cgroupHost, linked.get(mount));
    if (mount.destination === "/dev" && mount.type === "tmpfs") fillDev(build, spec.linux.devices ?? []);
  }
  // A working directory that the image lacks is made, as Docker does; on a root that cannot be written it fails later.
  const { cwd } = spec.process;
  if (cwd !== "/") steps.builtin("target", build.root, cwd, S_IF.DIR, 0).into(scratch).ignore();
}

function finishMounts(build: Build, { spec, directory, beforePivot }: ChildContext): void {
  const { maskedPaths: masked = [], readonlyPaths: readonly = [] } = spec.linux;
  protectPaths(build, { masked, readonly, directory });
  beforePivot?.(build, build.plan.child);
  enterRoot(build, spec.root.readonly === true);
}

function joinNamespaces({ plan, scratch }: Build, spec: Spec): void {
  for (const { type, path } of spec.linux.namespaces) {
    // The network's is joined by network.ts, and a PID namespace cannot be joined by the process itself.
    if (path === undefined || type === "network") continue;
    plan.child
      .sys("openat", AT.FDCWD, path, O.RDONLY | O.CLOEXEC)
      .into(scratch)
      .tag(TAG.JOIN);
    plan.child.sys("setns", scratch, NAMESPACE_FLAG[type]).tag(TAG.JOIN);
    plan.child.sys("close", scratch);
  }
}

function compileNetwork(build: Build, { network, hostSocket }: ChildContext): void {
  const steps = build.plan.child;
  if (network.kind === "veth") {
    for (const [path, value] of QUIET_SYSCTLS) {
      steps
        .builtin("writeFile", AT.FDCWD, path, value, value.length, O.WRONLY, 0)
        .tolerate(ERRNO.ENOENT)
        .tag(TAG.NETWORK);
    }
  }
  setUpNetwork(build, network, hostSocket);
}

/** --init: the child stays as a reaper, and its first child, pid 2 of the namespace, is the command. */
function runUnderInit(build: Build, { spec, streams, ending }: ChildContext): void {
  const { plan, scratch } = build;
  const { child, inner } = plan;
  child.builtin("closeOthers", 3, -1).tag(TAG.STATE);
  child.builtin("fork", SECTION.INNER, 0, -1).into(scratch).tag(TAG.STATE);
  // From here on it lives as long as the command, which itself waits until the start is on record.
  child.sys("prctl", PR.SET_PDEATHSIG, 0, 0, 0, 0);
  child.builtin("reap", scratch);
  // Its own process group, and the terminal's foreground, so that ^C reaches it once and not through PID 1 again.
  inner.sys("setpgid", 0, 0).tag(TAG.STATE);
  if (streams.kind === "pty") takeForeground(build, inner);
  execute(build, inner, spec.process, ending);
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
