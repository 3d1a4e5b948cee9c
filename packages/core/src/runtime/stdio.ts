import { AT, ERRNO, FS_MAGIC, MONITOR, O, RESOLVE, type Reg, S_IF, type Steps, TIOC } from "@bantubox/ffi";
import type { Build } from "./build.ts";
import { hostId, isNew } from "./namespaces.ts";
import { DEV_NULL } from "./paths.ts";
import type { Linux, User } from "./spec.ts";
import { TAG } from "./tags.ts";

/** How a container's terminal or pipes are kept. */
export interface Stdio {
  readonly tty: boolean;
  /** stdin stays open (-i); without it the container reads /dev/null. */
  readonly interactive: boolean;
  /** The calling process relays its own stdout and stderr. */
  readonly attach: boolean;
  /** It also relays its stdin. */
  readonly forward: boolean;
}

/** The ends of the pipes: [the container's, the monitor's]. Undefined where there is none. */
export interface Pipes {
  readonly stdin: readonly [Reg, Reg] | undefined;
  readonly stdout: readonly [Reg, Reg] | undefined;
  readonly stderr: readonly [Reg, Reg] | undefined;
}

export const NO_PIPES: Pipes = { stdin: undefined, stdout: undefined, stderr: undefined };

/** What a process of a container has at 0, 1 and 2. */
export type Streams =
  | { readonly kind: "pipes"; readonly pipes: Pipes }
  /** A terminal of the container's own devpts. Its master goes over `socket`, or to the monitor. */
  | { readonly kind: "pty"; readonly socket?: Reg | undefined }
  /** Whatever the caller has there. */
  | { readonly kind: "inherited" };

/** The streams of a process whose monitor holds the other ends. */
export function streamsOf({ tty }: Stdio, pipes: Pipes): Streams {
  return tty ? { kind: "pty" } : { kind: "pipes", pipes };
}

export function monitorFlags({ tty, attach, forward }: Stdio): number {
  return (
    (tty ? MONITOR.TTY : 0) |
    (forward ? MONITOR.STDIN : 0) |
    (attach ? MONITOR.ATTACH : MONITOR.DETACH) |
    (attach && forward && !tty ? MONITOR.STDIN_ONCE : 0)
  );
}

/**
 * Makes the pipes in PREPARE: real pipes, since `echo > /dev/stdout` in a container opens them again.
 *
 * A container without a terminal never holds the caller's: what it writes passes through the monitor.
 */
export function makePipes(build: Build, { tty, interactive }: Stdio, linux: Linux): Pipes {
  if (tty) return NO_PIPES;
  const { prepare } = build.plan;
  // Who is root of a user namespace can give away only what is somebody's in there.
  const isMapped = isNew(linux, "user");
  const [uid, gid] = [hostId(linux, "uid", 0), hostId(linux, "gid", 0)];
  const pipe = (isInput: boolean): [Reg, Reg] => {
    const { read, write } = makePipe(build, prepare);
    const [own, other] = isInput ? [read, write] : [write, read];
    if (isMapped && uid !== undefined && gid !== undefined) prepare.sys("fchown", own, uid, gid).tag(TAG.STATE);
    return [own, other];
  };
  return { stdin: interactive ? pipe(true) : undefined, stdout: pipe(false), stderr: pipe(false) };
}

/** Both ends of a pipe. */
export interface Pipe {
  readonly read: Reg;
  readonly write: Reg;
}

/** Makes a pipe that no execve passes on. */
export function makePipe({ plan }: Build, steps: Steps): Pipe {
  const pair = plan.space(8);
  const [read, write] = [plan.register(), plan.register()];
  steps.sys("pipe2", pair, O.CLOEXEC);
  steps.builtin("load32", pair).into(read);
  steps.builtin("load32", plan.within(pair, 4)).into(write);
  return { read, write };
}

/** In the monitor, after the fork: only the container may hold its own ends, or no pipe would ever end. */
export function closeContainerEnds({ plan }: Build, pipes: Pipes): void {
  for (const pair of [pipes.stdin, pipes.stdout, pipes.stderr]) {
    if (pair !== undefined) plan.parent.sys("close", pair[0]);
  }
}

/** Puts the pipes at 0, 1 and 2. They belong to the container's user, who may open them again by /dev/stdout. */
export function usePipes(build: Build, steps: Steps, pipes: Pipes, user: User): void {
  const { scratch } = build;
  let stdin = pipes.stdin?.[0];
  if (stdin === undefined) {
    openNull(build, steps);
    stdin = scratch;
  }
  const ends = [stdin, pipes.stdout?.[0], pipes.stderr?.[0]];
  ends.forEach((end, fd) => {
    if (end === undefined) return;
    const isPipe = fd > 0 || pipes.stdin !== undefined;
    // A namespace that was joined may map nobody to who made the pipe, and then it stays as it is.
    if (isPipe && (user.uid !== 0 || user.gid !== 0)) steps.sys("fchown", end, user.uid, user.gid).ignore();
    steps.sys("dup3", end, fd, 0);
  });
  if (pipes.stdin === undefined) steps.sys("close", scratch);
}

/**
 * Makes the caller's pipes the user's, who may open them again by /dev/stdout, and the host's /dev/null the container's
 * own, as no checkpoint could name the other. What else is there stays as it is.
 */
export function useInherited(build: Build, steps: Steps, { uid, gid }: User): void {
  const { scratch } = build;
  for (let fd = 0; fd < 3; fd++) {
    steps.builtin("checkType", fd, S_IF.CHR, DEV_NULL).tolerate(ERRNO.ENXIO, 4).tag(TAG.DEVICE);
    // Whatever else a container has in its place is not for us to open.
    addOpenNull(build, steps, O.RDWR).tolerate(ERRNO.ENOENT, 3).tag(TAG.DEVICE);
    steps.builtin("checkType", scratch, S_IF.CHR, DEV_NULL).tolerate(ERRNO.ENXIO, 1).tag(TAG.DEVICE);
    steps.sys("dup3", scratch, fd, 0);
    steps.sys("close", scratch);
  }
  if (uid === 0 && gid === 0) return;
  for (let fd = 0; fd < 3; fd++) {
    steps.builtin("checkType", fd, S_IF.FIFO, 0).tolerate(ERRNO.ENXIO, 1).ignore();
    steps.sys("fchown", fd, uid, gid).ignore();
  }
}

/**
 * Opens the container's own /dev/null. An image's volume or the container may
 * have put anything there: a link to a descriptor of ours that leads to the
 * host, a file that only our privileges open, or a pipe that is waited for.
 */
function openNull(build: Build, steps: Steps): void {
  addOpenNull(build, steps, O.RDONLY).tag(TAG.DEVICE);
  steps.builtin("checkType", build.scratch, S_IF.CHR, DEV_NULL).tag(TAG.DEVICE);
}

/** Into `scratch`. */
function addOpenNull({ plan, scratch }: Build, steps: Steps, access: number): Steps {
  const how = new Uint32Array(new ArrayBuffer(24));
  how[0] = access | O.NONBLOCK | O.NOCTTY | O.CLOEXEC;
  how[4] = RESOLVE.NO_MAGICLINKS;
  return steps.sys("openat2", AT.FDCWD, "/dev/null", plan.bytes(new Uint8Array(how.buffer)), 24).into(scratch);
}

/** For whom a terminal is made. */
interface PtyOptions {
  readonly user: User;
  readonly size: { readonly rows: number; readonly columns: number };
  /** A connected socket that gets the master instead of the monitor. */
  readonly socket?: Reg | undefined;
}

/**
 * Makes a pty of the container's own devpts, sends its master away
 * and leaves its slave in the register that is returned.
 *
 * The slave is opened through the master (TIOCGPTPEER), not by a name: what
 * lies at /dev/pts/0 may be the image's doing (CVE-2025-52565).
 */
export function openPty(build: Build, steps: Steps, { user, size, socket }: PtyOptions): Reg {
  const { plan, root } = build;
  const [master, slave] = [plan.register(), plan.register()];
  const how = new Uint32Array(new ArrayBuffer(24));
  how[0] = O.RDWR | O.NOCTTY | O.CLOEXEC;
  how[4] = RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS;
  steps
    .sys("openat2", root, "/dev/pts/ptmx", plan.bytes(new Uint8Array(how.buffer)), 24)
    .into(master)
    .tag(TAG.PTY);
  steps.builtin("checkFs", master, FS_MAGIC.DEVPTS).tag(TAG.PTY);
  steps.sys("ioctl", master, TIOC.SPTLCK, plan.space(4)).tag(TAG.PTY);
  steps
    .sys("ioctl", master, TIOC.GPTPEER, O.RDWR | O.NOCTTY | O.CLOEXEC)
    .into(slave)
    .tag(TAG.PTY);
  if (size.rows > 0 && size.columns > 0) {
    const window = new Uint16Array(new ArrayBuffer(8));
    window.set([size.rows, size.columns]);
    steps.sys("ioctl", slave, TIOC.SWINSZ, plan.bytes(new Uint8Array(window.buffer))).tag(TAG.PTY);
  }
  if (user.uid !== 0) steps.sys("fchown", slave, user.uid, -1).tolerate(ERRNO.EPERM);
  if (socket === undefined) steps.builtin("sendFd", master).tag(TAG.PTY);
  else passMaster(steps, socket, master);
  steps.sys("close", master);
  return slave;
}

/** As runc does: whoever listens learns what it is by the message's text. */
function passMaster(steps: Steps, socket: Reg, master: Reg): void {
  const name = "/dev/ptmx";
  steps.builtin("passFd", socket, master, name, name.length).tag(TAG.PTY);
  steps.sys("close", socket);
}

/** Puts the slave at 0, 1 and 2. */
export function usePty(steps: Steps, slave: Reg): void {
  for (let fd = 0; fd < 3; fd++) steps.sys("dup3", slave, fd, 0);
}

/** A session of its own, whose terminal is what stands at 0. */
export function takeTerminal(steps: Steps, tty: boolean): void {
  steps.sys("setsid");
  if (tty) steps.sys("ioctl", 0, TIOC.SCTTY, 0).tag(TAG.PTY);
}
