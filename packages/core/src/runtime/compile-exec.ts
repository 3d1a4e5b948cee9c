import type { CgroupPlan } from "@bantubox/cgroup";
import { AT, CLONE, MONITOR, O, PR, type Reg, SECTION, SIGNALS } from "@bantubox/ffi";
import { type Announcement, announce } from "./announce.ts";
import { type Build, startBuild } from "./build.ts";
import { joinV1, openUnified } from "./cgroups.ts";
import { prepareEnvironment } from "./environment.ts";
import {
  becomeUser,
  confine,
  enterDirectory,
  execute,
  type SeccompFilter,
  setRlimits,
  shut,
  tightenFiles,
} from "./identity.ts";
import { becomeMappedRoot, hasNamespace, NAMESPACE_FLAG } from "./namespaces.ts";
import { writeProc } from "./paths.ts";
import { setAffinity, setScheduling } from "./scheduling.ts";
import {
  awaitPid,
  connectListener,
  type FilteredContainer,
  type SeccompListener,
  tellPid,
} from "./seccomp/listener.ts";
import type { Process, Spec } from "./spec.ts";
import {
  closeContainerEnds,
  makePipe,
  makePipes,
  monitorFlags,
  NO_PIPES,
  openPty,
  type Pipe,
  type Stdio,
  takeTerminal,
  useInherited,
  usePipes,
  usePty,
} from "./stdio.ts";
import { TAG } from "./tags.ts";
import { connectSocket } from "./unix-socket.ts";

/** What joins a container that runs. */
export interface ExecContext extends Announcement {
  readonly spec: Spec;
  readonly process: Process;
  /** Number of the pidfd of the container's first process, checked to be still that one. */
  readonly pidfd: number;
  readonly cgroup: Pick<CgroupPlan, "joins" | "intoDirectory">;
  readonly stdio: Stdio;
  readonly filter: SeccompFilter | undefined;
  /** What the filter's listener is told of the container; without it, none is looked for. */
  readonly container?: FilteredContainer | undefined;
  readonly detachKeys: readonly number[];
  /**
   * Nobody stays: the process has what the caller has at 0 to 2, or a terminal whose master goes to a socket,
   * and is left to whoever called or a subreaper above them.
   */
  readonly leave?: { readonly consoleSocket: string | undefined };
  /** Descriptors from 3 on that it inherits. */
  readonly preserved?: number;
  readonly failed?: readonly string[];
  readonly reportFd?: number;
}

/**
 * Compiles the entry of a process into a container that runs.
 *
 * CHILD is a middle stage that the container cannot see: it joins, and becomes
 * what the process shall be, before it forks INNER into the container's PID
 * namespace. So nothing in there ever has more privileges than the container
 * (CVE-2016-9962), but for `confineWithListener`.
 */
export function compileExec(context: ExecContext): Uint8Array<ArrayBuffer> {
  const build = startBuild();
  const { plan } = build;
  const pid = plan.register(2);
  const { leave, preserved = 0 } = context;
  const pipes = leave === undefined ? makePipes(build, context.stdio, context.spec.linux) : NO_PIPES;
  const console =
    leave?.consoleSocket === undefined
      ? undefined
      : connectSocket(build, plan.prepare, leave.consoleSocket, TAG.CONSOLE);
  const listener = context.container && connectListener(build, context.spec.linux.seccomp, context.container);
  const { intoDirectory } = context.cgroup;
  const unified = intoDirectory === undefined ? undefined : openUnified(build, intoDirectory);
  const fork = plan.prepare.builtin("fork", SECTION.CHILD, 0, unified ?? -1).into(pid);
  fork.tag(TAG.STATE);
  if (unified !== undefined) plan.parent.sys("close", unified);
  if (listener !== undefined) plan.parent.sys("close", listener.socket);
  closeContainerEnds(build, pipes);
  announce(build, context, pid);

  const slave = enter(build, context, console);
  const steps = plan.child;
  if (slave !== undefined) usePty(steps, slave);
  else if (leave === undefined) usePipes(build, steps, pipes, context.process.user);
  else useInherited(build, steps, context.process.user);
  // INNER is born where the container can look at it, and what is open there, through /proc (CVE-2016-9962):
  // so nothing is by which the working directory could be named either, which INNER has from here (CVE-2024-21626).
  shut(steps, preserved, listener?.socket);
  enterDirectory(steps, context.process.cwd);
  // A name that only the container's own processes can look up, such as /proc/self/root, is INNER's to enter.
  steps.ignore();
  const env = prepareEnvironment(build, steps, context.process);
  if (listener === undefined) tightenFiles(build, steps, context.process.rlimits ?? []);
  becomeUser(build, steps, context.process, listener && context.filter ? undefined : context.filter, {
    later: listener && context.filter,
  });
  // Another user's process may be looked at again; INNER may not, as long as it can do more than the container.
  if (listener !== undefined) steps.sys("prctl", PR.SET_DUMPABLE, 0, 0, 0, 0);
  const inner = plan.inner;
  const last = plan.register(2);
  const pids = listener && makePipe(build, steps);
  steps.builtin("fork", SECTION.INNER, CLONE.PARENT, -1).into(last).tag(TAG.STATE);
  if (pids !== undefined) tellPid(build, steps, pids.write, last);
  steps.builtin("sendChild", last, last.next()).tag(TAG.STATE);
  steps.builtin("exit", 0);

  inner.sys("prctl", PR.SET_PDEATHSIG, SIGNALS.KILL, 0, 0, 0);
  takeTerminal(inner, context.stdio.tty);
  // It still needs the pipe that a listener waits for.
  if (listener !== undefined) tightenFiles(build, inner, context.process.rlimits ?? []);
  if (listener !== undefined && pids !== undefined) confineWithListener(build, context, listener, pids);
  execute(build, inner, context.process, env, { preserved, isShut: listener === undefined });

  const { height = 0, width = 0 } = context.process.consoleSize ?? {};
  return plan.encode({
    flags: MONITOR.EXEC | (leave === undefined ? monitorFlags(context.stdio) : MONITOR.LEAVE),
    pid,
    stdin: pipes.stdin?.[1],
    stdout: pipes.stdout?.[1],
    stderr: pipes.stderr?.[1],
    rows: height,
    columns: width,
    reportFd: context.reportFd,
    failed: context.failed && plan.strings(context.failed),
    environment: plan.strings([]),
    detachKeys: context.detachKeys,
  });
}

/**
 * In INNER: a filter that asks somebody holds up whoever is behind it until the listener has it, so CHILD,
 * whose fork may be asked about, must not be. So here alone INNER has one privilege to give up: CAP_SYS_ADMIN,
 * which the filter takes without no_new_privs. Only CAP_SYS_PTRACE reaches into it (PR_SET_DUMPABLE): a container that
 * has it, and such a filter, can have this process before it is behind that, as with runc any exec's.
 */
function confineWithListener(
  build: Build,
  { process, filter }: ExecContext,
  listener: SeccompListener,
  { read, write }: Pipe,
): void {
  const { inner } = build.plan;
  inner.sys("close", write);
  awaitPid(inner, listener, read);
  inner.sys("close", read);
  confine(build, inner, process, filter, listener);
}

/** Joins the container's groups and namespaces. @returns The slave of a pty, if there shall be one. */
function enter(
  build: Build,
  { spec, process, pidfd, cgroup, stdio }: ExecContext,
  socket: Reg | undefined,
): Reg | undefined {
  const { plan, root } = build;
  const steps = plan.child;
  steps.sys("prctl", PR.SET_DUMPABLE, 0, 0, 0, 0);
  setAffinity(build, steps, process.execCPUAffinity?.initial);
  joinV1(steps, cgroup);
  setAffinity(build, steps, process.execCPUAffinity?.final);
  if (process.oomScoreAdj !== undefined) {
    writeProc(build, steps, "/proc/self/oom_score_adj", String(process.oomScoreAdj), TAG.RLIMIT);
  }
  if (process.apparmorProfile) {
    writeProc(build, steps, "/proc/self/attr/apparmor/exec", `exec ${process.apparmorProfile}`, TAG.APPARMOR);
  }
  if (process.selinuxLabel) writeProc(build, steps, "/proc/self/attr/exec", process.selinuxLabel, TAG.APPARMOR);
  setRlimits(build, steps, process.rlimits ?? []);
  setScheduling(build, steps, process);
  // Also where it was not made for the container: the caller may be on another network than who started it.
  let flags: number = CLONE.NEWNET;
  for (const { type } of spec.linux.namespaces) flags |= NAMESPACE_FLAG[type];
  steps.sys("setns", pidfd, flags).tag(TAG.JOIN);
  if (hasNamespace(spec.linux, "user")) becomeMappedRoot(steps);
  steps.sys("close", pidfd);
  if (!stdio.tty) return undefined;
  steps
    .sys("openat", AT.FDCWD, "/", O.PATH | O.DIRECTORY | O.CLOEXEC)
    .into(root)
    .tag(TAG.PTY);
  const size = { rows: process.consoleSize?.height ?? 0, columns: process.consoleSize?.width ?? 0 };
  const slave = openPty(build, steps, { user: process.user, size, socket });
  steps.sys("close", root);
  return slave;
}
