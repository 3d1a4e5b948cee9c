import { MONITOR, type Reg, SECTION } from "@bantubox/ffi";
import { announce } from "./announce.ts";
import { type Build, startBuild } from "./build.ts";
import { makeCgroups } from "./cgroups.ts";
import { compileEnd, hasRuntimeHooks, type OciContext, stateOf } from "./compile-oci.ts";
import { type Checkpoint, compileRestored, followRestore, rememberStage } from "./criu/restore.ts";
import { delegateCgroup } from "./delegate.ts";
import { runHooks } from "./hooks.ts";
import { RECORD } from "./records.ts";
import { closeContainerEnds, makePipes, monitorFlags, NO_PIPES, type Stdio, streamsOf } from "./stdio.ts";
import { TAG } from "./tags.ts";
import { connectSocket } from "./unix-socket.ts";

/** As a run, but what runs comes out of a checkpoint. */
export interface OciRestoreContext extends OciContext {
  readonly mode: "detach" | "foreground";
  readonly checkpoint: Checkpoint;
}

const F_DUPFD_CLOEXEC = 1030;
const FIRST_FREE = 3;

/** Compiles a restore. */
export function compileOciRestore(context: OciRestoreContext): Uint8Array<ArrayBuffer> {
  const { spec, consoleSocket } = context;
  const build = startBuild();
  const { plan } = build;
  const steps = plan.prepare;
  const stays = context.mode === "foreground";
  const stdio: Stdio = { tty: spec.process.terminal === true, interactive: true, attach: true, forward: true };
  const [directory, pid] = [plan.register(), plan.register(2)];
  steps.sys("umask", 0o022);
  steps.sys("fcntl", context.lockFd, F_DUPFD_CLOEXEC, FIRST_FREE).into(directory).tag(TAG.STATE);
  steps.sys("close", context.lockFd);
  const intoCgroup = makeCgroups(build, context.cgroup);
  delegateCgroup(build, context.cgroup, spec);
  const terminal = consoleSocket === undefined ? undefined : connectSocket(build, steps, consoleSocket, TAG.CONSOLE);
  const pipes = stays ? makePipes(build, stdio, spec.linux) : NO_PIPES;
  steps.sys("chdir", context.bundle).tag(TAG.STATE);
  steps.builtin("fork", SECTION.CHILD, 0, -1).into(pid).tag(TAG.STATE);
  const reapStage = rememberStage(build, pid);
  // The stage keeps the seed until CRIU is in the group.
  if (context.seedFd !== undefined) for (const each of [plan.inner, plan.parent]) each.sys("close", context.seedFd);
  compileRestored(build, {
    ...context,
    hostSocket: undefined,
    intoCgroup,
    makesNetwork: false,
    streams: stdio.tty ? { kind: "pty", socket: terminal } : stays ? streamsOf(stdio, pipes) : { kind: "inherited" },
    withNamespaces: hasRuntimeHooks(context) ? (_, child) => runNamespaceHooks(build, context, child) : undefined,
  });
  plan.parent.builtin("recordStart", directory, RECORD.pid).tag(TAG.STATE);
  announce(build, context, pid);
  followRestore(build, reapStage);
  closeContainerEnds(build, pipes);
  compileEnd(build, context);
  const { height = 0, width = 0 } = spec.process.consoleSize ?? {};
  return plan.encode({
    flags: (stays ? monitorFlags(stdio) : MONITOR.LEAVE) | MONITOR.STAGED | MONITOR.RESTORED,
    pid,
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

/** As runc has it: an engine sets up its network by them. */
function runNamespaceHooks(build: Build, context: OciRestoreContext, pid: Reg): void {
  const { prestart = [], createRuntime = [] } = context.spec.hooks ?? {};
  const run = { state: stateOf(context), status: "created", pid } as const;
  const steps = build.plan.child;
  runHooks(build, steps, { ...run, kind: "prestart", hooks: prestart });
  runHooks(build, steps, { ...run, kind: "createRuntime", hooks: createRuntime });
}
