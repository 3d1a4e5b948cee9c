import { AT, CLONE, MONITOR, MOUNT_ATTR, MOVE_MOUNT, OPEN_TREE, type Plan, S_IF } from "@bantubox/ffi";
import { type Build, isolateMounts, mountAttributes, startBuild } from "./build.ts";
import { clearVolatile, mountRoot, type RootFs } from "./rootfs.ts";
import { TAG } from "./tags.ts";

const REPORT_STARTED = 1;

/** A file or directory of the host that lies in the container. */
export interface HeldBind {
  readonly source: string;
  readonly destination: string;
  readonly isFile: boolean;
  readonly isReadOnly: boolean;
}

export interface HoldContext {
  readonly root: RootFs;
  readonly isReadOnly: boolean;
  /** Outer ones before what lies in them. */
  readonly binds: readonly HeldBind[];
  /** Numbers of the descriptors that it reports to and waits at. */
  readonly reportFd: number;
  readonly waitFd: number;
}

/**
 * Compiles a process that mounts a container's files as its start would, in a mount namespace of its own, and waits:
 * who looks through its /proc/PID/root sees them at `rootfs` of the container's directory. They go with the process.
 */
export function compileHold({ root, isReadOnly, binds, reportFd, waitFd }: HoldContext): Uint8Array<ArrayBuffer> {
  const started = startBuild();
  const steps = started.plan.prepare;
  const build = { ...started, child: steps };
  steps.sys("umask", 0o022);
  steps.sys("unshare", CLONE.NEWNS).tag(TAG.ROOTFS);
  isolateMounts(steps, false);
  if (root.kind === "overlay") clearVolatile(build, root.directory);
  mountRoot(build, root);
  for (const bind of binds) addBind(build, bind);
  if (isReadOnly) {
    const attributes = mountAttributes(build.plan, MOUNT_ATTR.RDONLY);
    steps.sys("mount_setattr", build.root, "", AT.EMPTY_PATH, attributes, 32).tag(TAG.ROOTFS);
  }
  return waitAndLeave(build.plan, reportFd, waitFd);
}

/** Compiles a process that waits and then writes a file each: what shall happen even if the caller is killed. */
export function compileWrites(
  files: readonly { readonly path: string; readonly value: string }[],
  { reportFd, waitFd }: Pick<HoldContext, "reportFd" | "waitFd">,
): Uint8Array<ArrayBuffer> {
  const { plan } = startBuild();
  return waitAndLeave(plan, reportFd, waitFd, () => {
    const O_WRONLY = 1;
    for (const { path, value } of files)
      plan.prepare.builtin("writeFile", AT.FDCWD, path, value, value.length, O_WRONLY, 0).ignore();
  });
}

/** Compiles a process that does nothing, until nobody has the other end of its pipe open. */
export function compileWait(fds: Pick<HoldContext, "reportFd" | "waitFd">): Uint8Array<ArrayBuffer> {
  return compileWrites([], fds);
}

function addBind({ plan, root, scratch, tree }: Build, { source, destination, isFile, isReadOnly }: HeldBind): void {
  const steps = plan.prepare;
  steps
    .sys("open_tree", AT.FDCWD, source, OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.RECURSIVE)
    .into(tree)
    .tag(TAG.MOUNT);
  if (isReadOnly) {
    const attributes = mountAttributes(plan, MOUNT_ATTR.RDONLY);
    steps.sys("mount_setattr", tree, "", AT.EMPTY_PATH | AT.RECURSIVE, attributes, 32).tag(TAG.MOUNT);
  }
  steps
    .builtin("target", root, destination, isFile ? S_IF.REG : S_IF.DIR, 0)
    .into(scratch)
    .tag(TAG.MOUNT);
  steps.sys("move_mount", tree, "", scratch, "", MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH).tag(TAG.MOUNT);
  steps.sys("close", tree);
  steps.sys("close", scratch);
}

/** Says that all is ready, waits for the end of a pipe, and ends. */
function waitAndLeave(plan: Plan, reportFd: number, waitFd: number, then?: () => void): Uint8Array<ArrayBuffer> {
  const steps = plan.prepare;
  // struct plan_report
  const started = new Uint32Array([REPORT_STARTED, 0, 0, 0]);
  const ready = plan.bytes(new Uint8Array(started.buffer));
  // struct pollfd: a pipe whose writer is gone is always ready.
  const poll = plan.bytes(new Uint8Array(new Uint32Array([waitFd, 1]).buffer));
  steps.sys("write", reportFd, ready, started.byteLength);
  steps.sys("close", reportFd);
  steps.sys("ppoll", poll, 1, null, null, 8);
  then?.();
  steps.builtin("exit", 0);
  return plan.encode({
    flags: MONITOR.LEAVE,
    pid: plan.register(2),
    reportFd,
    environment: plan.strings([]),
  });
}
