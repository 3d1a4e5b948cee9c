import type { CgroupHost, CgroupPlan } from "@bantubox/cgroup";
import { AT, ERRNO, MONITOR, O, type Reg, SECTION, type Steps } from "@bantubox/ffi";
import { SNAP_DESTROY, volArgs } from "@bantubox/image/subvolume";
import { type Build, startBuild } from "./build.ts";
import { makeCgroups, removeCgroups, undoCgroups } from "./cgroups.ts";
import { compileChild, recordReady } from "./child.ts";
import type { SeccompFilter } from "./identity.ts";
import { namespaceFlags } from "./namespaces.ts";
import { type NetworkSetup, openHostSocket } from "./network.ts";
import { goneDirectory, RECORD } from "./records.ts";
import { clearVolatile, OWN_ROOT, type RootFs } from "./rootfs.ts";
import type { Spec } from "./spec.ts";
import {
  closeContainerEnds,
  makePipes,
  monitorFlags,
  type Pipes,
  type Stdio,
  type Streams,
  streamsOf,
} from "./stdio.ts";
import { TAG } from "./tags.ts";
import { AF_UNIX, SOCK_SEQPACKET, socketAddress } from "./unix-socket.ts";

/** What the engine knows beside config.json: where things lie on this host. */
export interface StartContext {
  readonly id: string;
  readonly spec: Spec;
  readonly root: RootFs;
  /** Absolute: `containers/<id>` of the store, which exists. */
  readonly directory: string;
  /** Number of a descriptor of `directory` that holds the container's lock; the monitor keeps it until the end. */
  readonly lockFd: number;
  /** Absolute: `<id>` of the run directory, whose parent exists. */
  readonly runDirectory: string;
  readonly cgroupHost: CgroupHost;
  readonly cgroup: CgroupPlan;
  readonly network: NetworkSetup;
  /** Files that the engine writes into `directory` at each start: [name, content]. */
  readonly files: readonly (readonly [string, string])[];
  /** Absolute path of what says that its address is the container's, and goes with it. */
  readonly lease: string | undefined;
  readonly stdio: Stdio;
  readonly filter: SeccompFilter | undefined;
  /** PID 1 is a reaper of ours, and the command its child. */
  readonly init: boolean;
  /** Everything goes when the container ends. */
  readonly autoRemove: boolean;
  readonly log: { readonly bytes: number; readonly files: number };
  readonly detachKeys: readonly number[];
  /** argv of the program that explains a failed start; three numbers and the plan's descriptor follow it. */
  readonly failed?: readonly string[];
  /** Where struct plan_report goes instead, for a caller that waits in process. */
  readonly reportFd?: number;
}

const ATTACH_BACKLOG = 16;
const F_DUPFD_CLOEXEC = 1030;
const FIRST_FREE = 3;

/** What a container's process comes from: a command, or what was saved of it. */
export interface Origin {
  /** Flags of the fork that CHILD begins with, and MONITOR_*. */
  readonly forkFlags: number;
  readonly monitorFlags: number;
  /** Whether that process is born into v2's group. */
  readonly isBornInGroup: boolean;
  /** Adds CHILD, and what PARENT has to do until it runs and is on record in `run`. */
  compile(build: Build, parts: OriginParts): void;
}

interface OriginParts {
  readonly streams: Streams;
  readonly hostSocket: Reg | undefined;
  readonly intoCgroup: Reg | undefined;
  readonly pid: Reg;
  readonly run: Reg;
}

/** The container's command, executed. */
function commandOf(context: StartContext): Origin {
  return {
    forkFlags: namespaceFlags(context.spec.linux),
    monitorFlags: 0,
    isBornInGroup: true,
    compile(build, { hostSocket, streams, run }) {
      compileChild(build, { ...context, hostSocket, streams });
      recordReady(build, run);
    },
  };
}

/** Compiles the start of a container, in the order in which the kernel sees it. */
export function compileStart(context: StartContext, origin = commandOf(context)): Uint8Array<ArrayBuffer> {
  const build = startBuild();
  const { plan } = build;
  const registers = {
    directory: plan.register(),
    run: plan.register(),
    listen: plan.register(),
    pid: plan.register(2),
  };
  const pipes = compilePrepare(build, context, registers, origin);
  const { hostSocket, intoCgroup } = pipes;
  origin.compile(build, { ...registers, hostSocket, intoCgroup, streams: streamsOf(context.stdio, pipes) });
  closeContainerEnds(build, pipes);
  compileEnd(build, context, registers.directory);
  const { stdio } = context;
  const { height = 0, width = 0 } = context.spec.process.consoleSize ?? {};
  return plan.encode({
    flags: monitorFlags(stdio) | MONITOR.LOG | origin.monitorFlags,
    pid: registers.pid,
    stdin: pipes.stdin?.[1],
    stdout: pipes.stdout?.[1],
    stderr: pipes.stderr?.[1],
    listen: registers.listen,
    logDir: registers.directory,
    logBytes: context.log.bytes,
    logFiles: context.log.files,
    rows: height,
    columns: width,
    reportFd: context.reportFd,
    failed: context.failed && plan.strings(context.failed),
    environment: plan.strings([]),
    detachKeys: context.detachKeys,
  });
}

interface Registers {
  readonly directory: Reg;
  readonly run: Reg;
  readonly listen: Reg;
  readonly pid: Reg;
}

/** The monitor's part before the fork: directories, cgroups, pipes, the attach socket. */
function compilePrepare(
  build: Build,
  context: StartContext,
  registers: Registers,
  { forkFlags, isBornInGroup }: Origin,
): Pipes & Pick<OriginParts, "hostSocket" | "intoCgroup"> {
  const { plan } = build;
  const steps = plan.prepare;
  const directoryFlags = O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC;
  // The caller's may keep the container's own users from its files and groups.
  steps.sys("umask", 0o022);
  steps.sys("fcntl", context.lockFd, F_DUPFD_CLOEXEC, FIRST_FREE).into(registers.directory).tag(TAG.STATE);
  steps.sys("close", context.lockFd);
  steps.sys("mkdirat", AT.FDCWD, context.runDirectory, 0o700).tolerate(ERRNO.EEXIST).tag(TAG.STATE);
  steps.sys("openat", AT.FDCWD, context.runDirectory, directoryFlags).into(registers.run).tag(TAG.STATE);
  steps.sys("unlinkat", registers.directory, RECORD.exit, 0).tolerate(ERRNO.ENOENT).tag(TAG.STATE);
  for (const [name, content] of context.files) {
    const flags = O.WRONLY | O.CREAT | O.TRUNC | O.NOFOLLOW;
    const length = Buffer.byteLength(content);
    steps.builtin("writeFile", registers.directory, name, content, length, flags, 0o644).tag(TAG.STATE);
  }
  if (context.root.kind === "overlay" && context.root.isVolatile) clearVolatile(build, context.root.directory);
  const intoCgroup = makeCgroups(build, context.cgroup);
  const pipes = makePipes(build, context.stdio, context.spec.linux);
  listenForAttach(steps, context.runDirectory, registers, plan);
  const hostSocket = openHostSocket(build, context.network);

  const group = isBornInGroup ? intoCgroup : undefined;
  steps
    .builtin("fork", SECTION.CHILD, forkFlags, group ?? -1)
    .into(registers.pid)
    .tag(TAG.STATE);
  if (intoCgroup !== undefined) plan.parent.sys("close", intoCgroup);
  return { ...pipes, hostSocket, intoCgroup };
}

/** The attach socket is bound by a relative name: a path of sun_path's 108 bytes may be too short for a run directory. */
function listenForAttach(steps: Steps, runDirectory: string, { run, listen }: Registers, plan: Build["plan"]): void {
  const address = socketAddress(RECORD.attach);
  steps
    .sys("socket", AF_UNIX, SOCK_SEQPACKET | O.CLOEXEC, 0)
    .into(listen)
    .tag(TAG.STATE);
  steps.sys("chdir", runDirectory).tag(TAG.STATE);
  steps.sys("unlinkat", run, RECORD.attach, 0).tolerate(ERRNO.ENOENT).tag(TAG.STATE);
  steps.sys("umask", 0o177);
  steps.sys("bind", listen, plan.bytes(address), address.length).tag(TAG.STATE);
  steps.sys("umask", 0o022);
  steps.sys("listen", listen, ATTACH_BACKLOG).tag(TAG.STATE);
  steps.sys("chdir", "/");
}

/** Removes the container's directory by any of its names. A subvolume goes at once; where that fails, file by file. */
function removeContainer(steps: Steps, plan: Build["plan"], directory: string, root: RootFs): void {
  if (root.kind === "directory" && root.isSubvolume) {
    const fd = plan.register();
    steps
      .sys("openat", AT.FDCWD, directory, O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC)
      .into(fd)
      .ignore();
    steps.sys("ioctl", fd, SNAP_DESTROY, plan.bytes(volArgs(0, OWN_ROOT))).ignore();
    steps.sys("close", fd).ignore();
  }
  steps.builtin("removeTree", AT.FDCWD, directory).ignore();
}

/** What the monitor does when the container has ended, and when it never began. */
function compileEnd({ plan }: Build, context: StartContext, directory: Reg): void {
  const { exited, undo } = plan;
  const events = context.cgroup.oomEvents;
  exited.builtin("recordExit", directory, RECORD.exit, AT.FDCWD, events ?? null).ignore();
  removeCgroups(exited, context.cgroup);
  undoCgroups(undo, context.cgroup);
  exited.builtin("removeTree", AT.FDCWD, context.runDirectory).ignore();
  undo.builtin("removeTree", AT.FDCWD, context.runDirectory).ignore();
  if (!context.autoRemove) return;
  // As long as its directory has the name, nobody takes the address for free, or takes it back.
  if (context.lease !== undefined) {
    exited.sys("unlinkat", AT.FDCWD, context.lease, 0).ignore();
    undo.sys("unlinkat", AT.FDCWD, context.lease, 0).ignore();
  }
  // For everybody else it is gone at once; its files go when nobody waits for it.
  const gone = goneDirectory(context.directory);
  exited.sys("renameat2", AT.FDCWD, context.directory, AT.FDCWD, gone, 0).ignore();
  removeContainer(plan.after, plan, gone, context.root);
  removeContainer(undo, plan, context.directory, context.root);
}
