import type { CgroupHost, CgroupPlan } from "@bantubox/cgroup";
import { AT, MONITOR, O, type Place, type Reg, S_IF, SECTION, type Steps } from "@bantubox/ffi";
import { type Announcement, announce } from "./announce.ts";
import { type Build, startBuild } from "./build.ts";
import { makeCgroups, removeCgroups, undoCgroups } from "./cgroups.ts";
import { compileChild, recordReady } from "./child.ts";
import { delegateCgroup } from "./delegate.ts";
import { type HookRun, type HookState, runHooks } from "./hooks.ts";
import type { SeccompFilter } from "./identity.ts";
import { isNew, isStaged, namespaceFlags } from "./namespaces.ts";
import { linksOf, type NetworkSetup, openHostSocket } from "./network.ts";
import { FIFO } from "./records.ts";
import type { RootFs } from "./rootfs.ts";
import { connectListener, type SeccompListener } from "./seccomp/listener.ts";
import type { Hooks, Spec } from "./spec.ts";
import { closeContainerEnds, makePipes, monitorFlags, NO_PIPES, type Pipes, type Stdio, streamsOf } from "./stdio.ts";
import { TAG } from "./tags.ts";
import { connectSocket } from "./unix-socket.ts";

/** A start as the OCI commands have it: without a store, and mostly without anybody who stays. */
export interface OciContext extends Announcement {
  readonly id: string;
  readonly spec: Spec;
  readonly root: RootFs;
  /** Absolute: the container's directory of state, which exists. */
  readonly directory: string;
  /** Absolute: hooks run there. */
  readonly bundle: string;
  /**
   * `create` leaves PID 1 held at its fifo and `detach` running, each to whoever called or a subreaper above them;
   * `foreground` stays as its parent, and removes everything when it ends.
   */
  readonly mode: "create" | "detach" | "foreground";
  /** Of `foreground`: what it has made stays when it ends. */
  readonly keeps: boolean;
  /** Number of a descriptor of `directory` that holds its lock. */
  readonly lockFd: number;
  /** Number of a descriptor that keeps the process alive for which a group was made: see seed.ts of bb-oci. */
  readonly seedFd?: number | undefined;
  /** Where hooks print, for the error. */
  readonly outputFd: number | undefined;
  readonly cgroupHost: CgroupHost;
  readonly cgroup: CgroupPlan;
  readonly network: NetworkSetup;
  readonly filter: SeccompFilter | undefined;
  /** As ChildContext has them: --no-pivot, --no-new-keyring. */
  readonly isMoved: boolean;
  readonly keepsKeyring: boolean;
  /** Absolute path of the socket that gets the terminal's master. */
  readonly consoleSocket: string | undefined;
  /** Descriptors from 3 on that PID 1 inherits. */
  readonly preserved: number;
  /** Of `detach`: what the process that leaves becomes once the container runs, if anything. */
  readonly started?: { readonly argv: readonly string[]; readonly env: readonly string[] };
  /** argv of what explains a failure; three numbers and the plan's descriptor follow it. */
  readonly failed: readonly string[];
  /** argv of what ends those who are left in the container's groups. */
  readonly endGroups: readonly string[];
}

interface Registers {
  readonly directory: Reg;
  /** The child; its pidfd is the next. */
  readonly pid: Reg;
  readonly fifo: Reg;
  readonly console: Reg | undefined;
}

const F_DUPFD_CLOEXEC = 1030;
/** How long the end of processes that were left behind may take. */
const END_MS = 10_000;

/** Compiles a create or a run. */
export function compileOci(context: OciContext): Uint8Array<ArrayBuffer> {
  const { spec, mode, preserved } = context;
  const hasStage = isStaged(spec.linux);
  const build = startBuild(hasStage);
  const { plan } = build;
  const stdio: Stdio = {
    tty: spec.process.terminal === true,
    interactive: true,
    attach: true,
    forward: true,
  };
  const stays = mode === "foreground";
  const links = linksOf(spec);
  const hostSocket = openHostSocket(build, context.network, links);
  // The container's own process takes the seed's place; it may wait for long, and must not hold on to the seed.
  if (context.seedFd !== undefined) for (const steps of [plan.child, plan.parent]) steps.sys("close", context.seedFd);
  const { registers, pipes, listener } = prepare(build, context, stays ? stdio : undefined);
  const terminal = stays ? undefined : registers.console;
  compileChild(build, {
    ...context,
    hostSocket,
    links,
    listener,
    init: false,
    streams: stays ? streamsOf(stdio, pipes) : stdio.tty ? { kind: "pty", socket: terminal } : { kind: "inherited" },
    beforePivot: () => meetParent(build, context),
    ending: {
      preserved,
      ...(mode === "create" ? { fifo: registers.fifo, isFirst: isNew(spec.linux, "pid") } : {}),
      // Nothing else that runs behind the container's start prints what is asked for.
      ...(hasHooks(context, "startContainer") ? { outputFd: context.outputFd } : {}),
      beforeExec: (env) => runOwn(build, context, "startContainer", env),
    },
  });
  compileParent(build, context, registers, pipes);
  compileEnd(build, context);
  const { height = 0, width = 0 } = spec.process.consoleSize ?? {};
  return plan.encode({
    flags: (stays ? monitorFlags(stdio) : MONITOR.LEAVE) | (hasStage ? MONITOR.STAGED : 0),
    pid: registers.pid,
    stdin: pipes.stdin?.[1],
    stdout: pipes.stdout?.[1],
    stderr: pipes.stderr?.[1],
    rows: height,
    columns: width,
    outputFd: context.outputFd,
    failed: plan.strings(context.failed),
    environment: plan.strings([]),
  });
}

/** On the host, before there is a child. */
function prepare(
  build: Build,
  context: OciContext,
  stdio: Stdio | undefined,
): { registers: Registers; pipes: Pipes; listener: SeccompListener | undefined } {
  const { plan } = build;
  const steps = plan.prepare;
  const directory = plan.register();
  const fifo = plan.register();
  const pid = plan.register(2);
  steps.sys("umask", 0o022);
  steps
    .sys("fcntl", context.lockFd, F_DUPFD_CLOEXEC, 3 + context.preserved)
    .into(directory)
    .tag(TAG.STATE);
  steps.sys("close", context.lockFd);
  // Where the root is mounted, in the child's own namespace.
  steps.sys("mkdirat", directory, "rootfs", 0o700).tag(TAG.STATE);
  if (context.mode === "create") {
    steps.sys("mknodat", directory, FIFO, S_IF.FIFO | 0o600, 0).tag(TAG.STATE);
    // Reader and writer in one: a read waits although nobody else has it open.
    steps
      .sys("openat", directory, FIFO, O.RDWR | O.CLOEXEC)
      .into(fifo)
      .tag(TAG.STATE);
  }
  const intoCgroup = makeCgroups(build, context.cgroup);
  delegateCgroup(build, context.cgroup, context.spec);
  const { consoleSocket } = context;
  const terminal = consoleSocket === undefined ? undefined : connectSocket(build, steps, consoleSocket, TAG.CONSOLE);
  const listener = connectListener(build, context.spec.linux.seccomp, { ...stateOf(context), status: "creating" });
  const pipes = stdio === undefined ? NO_PIPES : makePipes(build, stdio, context.spec.linux);
  steps.sys("chdir", context.bundle).tag(TAG.STATE);
  const flags = namespaceFlags(context.spec.linux);
  steps
    .builtin("fork", SECTION.CHILD, flags, intoCgroup ?? -1)
    .into(pid)
    .tag(TAG.STATE);
  if (intoCgroup !== undefined) plan.parent.sys("close", intoCgroup);
  return { registers: { directory, pid, fifo, console: terminal }, pipes, listener };
}

/** In the child, when all is mounted: createRuntime's hooks find it so, and createContainer's are its own. */
function meetParent(build: Build, context: OciContext): void {
  if (hasRuntimeHooks(context)) {
    build.child.builtin("meet").tag(TAG.HOOK);
    build.child.builtin("meet").tag(TAG.HOOK);
  }
  const { plan, child } = build;
  const { spec, outputFd } = context;
  if (hasHooks(context, "createContainer")) {
    // As runc has it: what a hook does to "." it does to the container.
    child.sys("fchdir", build.root).tag(TAG.HOOK);
    child.sys("umask", 0o022);
    runOwn(build, context, "createContainer", plan.strings(spec.process.env));
    child.sys("umask", 0);
  }
  // What hooks of the host have printed is not for the container, which may look at what it is made of.
  if (outputFd !== undefined && hasHooks(context, "startContainer")) {
    child.sys("ftruncate", outputFd, 0).tag(TAG.HOOK);
    child.sys("lseek", outputFd, 0, 0).tag(TAG.HOOK);
  }
}

function hasHooks({ spec: { hooks } }: OciContext, kind: keyof Hooks): boolean {
  return (hooks?.[kind] ?? []).length > 0;
}

export function hasRuntimeHooks(context: OciContext): boolean {
  return hasHooks(context, "prestart") || hasHooks(context, "createRuntime");
}

/**
 * Hooks that the container's process runs itself: to them it has the pid that it knows of itself, and its environment,
 * never the runtime's, which is the host's.
 */
function runOwn(
  build: Build,
  context: OciContext,
  kind: "createContainer" | "startContainer",
  environment: Place,
): void {
  const hooks = context.spec.hooks?.[kind] ?? [];
  if (hooks.length === 0) return;
  const { child, scratch } = build;
  child.sys("getpid").into(scratch);
  runHooks(build, child, { kind, hooks, state: stateOf(context), status: "created", pid: scratch, environment });
}

/** Beside the child: hooks on the host, and what tells others of it. */
function compileParent(build: Build, context: OciContext, registers: Registers, pipes: Pipes): void {
  const { plan } = build;
  const steps = plan.parent;
  const { prestart = [], createRuntime = [] } = context.spec.hooks ?? {};
  const { directory, pid, fifo } = registers;
  if (hasRuntimeHooks(context)) {
    // Its environment is there: steps 3 to 5 of the specification's lifecycle, and crun, have it so; runc says "creating".
    const run = { state: stateOf(context), status: "created", pid } as const;
    steps.builtin("meet").tag(TAG.HOOK);
    runHooks(build, steps, { ...run, kind: "prestart", hooks: prestart });
    runHooks(build, steps, { ...run, kind: "createRuntime", hooks: createRuntime });
    steps.builtin("meet").tag(TAG.HOOK);
  }
  if (context.mode === "create") steps.sys("close", fifo);
  else runLate(build, plan.started, context, { kind: "poststart", status: "running", pid });
  const { started } = context;
  if (started !== undefined) {
    const path = plan.strings(started.argv.slice(0, 1));
    plan.started.builtin("exec", path, plan.strings(started.argv), plan.strings(started.env)).tag(TAG.STATE);
  }
  recordReady(build, directory);
  announce(build, context, pid);
  closeContainerEnds(build, pipes);
}

/** When it failed, or, with somebody who stayed, ended. */
export function compileEnd(build: Build, context: OciContext): void {
  const { exited, undo } = build.plan;
  for (const steps of context.keeps ? [undo] : [exited, undo]) {
    if (steps === undo) undoCgroups(steps, context.cgroup);
    else {
      // Without a PID namespace of its own nobody took the others along.
      if (!isNew(context.spec.linux, "pid")) endGroups(build, context.endGroups);
      removeCgroups(steps, context.cgroup);
    }
    steps.builtin("removeTree", AT.FDCWD, context.directory).ignore();
    runLate(build, steps, context, { kind: "poststop", status: "stopped", pid: 0 });
  }
}

/** To kill who is in groups, and to wait until they are gone, takes more than steps can do. */
function endGroups({ plan }: Build, argv: readonly string[]): void {
  const [path = ""] = argv;
  const input = plan.text("");
  plan.exited.builtin("hook", path, plan.strings(argv), plan.strings([]), input, END_MS, "").ignore();
}

/** In the bundle, where hooks of all kinds run on the host. Who stays as the container's parent stays in no directory. */
function runLate(
  build: Build,
  steps: Steps,
  context: OciContext,
  run: Pick<HookRun, "status" | "pid"> & { readonly kind: "poststart" | "poststop" },
): void {
  if (!hasHooks(context, run.kind)) return;
  steps.sys("chdir", context.bundle).ignore();
  runHooks(build, steps, { ...run, hooks: context.spec.hooks?.[run.kind] ?? [], state: stateOf(context) });
  steps.sys("chdir", "/");
}

export function stateOf({ spec, id, bundle }: OciContext): HookState {
  const { ociVersion, annotations } = spec;
  return annotations === undefined ? { ociVersion, id, bundle } : { ociVersion, id, bundle, annotations };
}
