/**
 * A restore as steps of a plan: CHILD becomes a stage that prepares what CRIU finds outside of its images (the root, the
 * network, descriptors), INNER becomes CRIU's service, and what CRIU restores becomes the monitor's child.
 */
import { detectCgroups, REMOUNT, recallMountOptions } from "@bantubox/cgroup";
import {
  AT,
  CLONE,
  MNT_DETACH,
  MOUNT_ATTR,
  MOVE_MOUNT,
  MS,
  O,
  OPEN_TREE,
  PR,
  type Reg,
  S_IF,
  SECTION,
  SIGNALS,
  type Steps,
} from "@bantubox/ffi";
import { planLoopback } from "@bantubox/net";
import { addBind, isBind } from "../binds.ts";
import { type Build, isolateMounts, mountAttributes } from "../build.ts";
import { joinV1 } from "../cgroups.ts";
import type { ChildContext } from "../child.ts";
import { parseMountOptions } from "../mount-options.ts";
import { isNew } from "../namespaces.ts";
import { quietLinks, setUpLinks, setUpNetwork } from "../network.ts";
import { writeProc } from "../paths.ts";
import { mountRoot, openBundle, type RootFs } from "../rootfs.ts";
import type { Mount, NamespaceType, Spec } from "../spec.ts";
import { sysctlFile, sysctlNamespace } from "../sysctl.ts";
import { TAG } from "../tags.ts";
import { namespaceKey } from "./external.ts";
import { type CriuOptions, encodeRequest, REQUEST } from "./message.ts";

/** A checkpoint, and how it shall come back. */
export interface Checkpoint {
  /** CRIU's absolute path, and its environment. */
  readonly criu: { readonly path: string; readonly environment: readonly string[] };
  /** Absolute: CRIU's images, and its log. */
  readonly images: string;
  readonly work: string;
  /** [name, path of the host] of each mount that is the host's. */
  readonly mounts: readonly (readonly [string, string])[];
  /** What the first process had at 0, 1 and 2. */
  readonly descriptors: readonly string[];
  readonly options: Omit<CriuOptions, "imagesFd" | "inherited" | "root" | "mounts">;
}

/** What it is restored into. */
export interface RestoreContext
  extends Pick<ChildContext, "spec" | "root" | "cgroup" | "network" | "hostSocket" | "streams"> {
  readonly checkpoint: Checkpoint;
  /** Of v2's group. */
  readonly intoCgroup: Reg | undefined;
  /** The container's network namespace is made here; else CRIU makes an empty one. */
  readonly makesNetwork: boolean;
  /** Where CRIU prints, besides its log. */
  readonly outputFd: number | undefined;
  /** Adds steps for when the namespaces are there, and nothing in them. */
  readonly withNamespaces?: ((steps: Steps, pid: Reg) => void) | undefined;
}

/** Numbers in the stage, which CRIU opens in its /proc/PID/fd. */
const IMAGES_FD = 110;
const WORK_FD = 111;
/** Numbers in CRIU's own process: what the three standard streams were, the namespaces, its socket. */
const STREAMS_FD = 112;
const NAMESPACE_FD = { net: 115, pid: 116 } as const;
const SERVICE_FD = 117;
const LOG = "restore.log";
const SOCKET_PAIR = [1, 5 | O.CLOEXEC, 0] as const;

/** Adds CHILD and INNER. PARENT goes on with `followRestore`. */
export function compileRestored(build: Build, context: RestoreContext): void {
  const { plan } = build;
  const steps = plan.child;
  const [child, socket, server] = [plan.register(2), plan.register(), plan.register()];
  steps.sys("prctl", PR.SET_PDEATHSIG, SIGNALS.KILL, 0, 0, 0);
  steps.sys("umask", 0);
  const inherited = compileNamespaces(build, context);
  const root = prepareRoot(build, context);
  // Of this mount namespace, as CRIU mounts something there.
  openAs(steps, build, context.checkpoint.images, IMAGES_FD);
  openAs(steps, build, context.checkpoint.work, WORK_FD);
  openService(build, socket, server);
  const service = plan.register(2);
  steps
    .builtin("fork", SECTION.INNER, 0, context.intoCgroup ?? -1)
    .into(service)
    .tag(TAG.CRIU);
  steps.sys("close", server);
  const console = context.streams.kind === "pty" ? (context.streams.socket ?? -1) : -1;
  const log = `${context.checkpoint.work}/${LOG}`;
  const streams = compileService(build, context, server, inherited);
  const request = requestOf(context, root, [...streams, ...inherited.map(({ key, number }) => [key, number] as const)]);
  let talk: ReturnType<typeof plan.bytes> | null = plan.bytes(withLength(request));
  const isEmptyNetwork = !context.makesNetwork && isNew(context.spec.linux, "network");
  if (context.withNamespaces !== undefined || isEmptyNetwork) {
    steps.builtin("criu", socket, talk, service.next(), "setup-namespaces", console, log).into(child).tag(TAG.CRIU);
    talk = null;
    context.withNamespaces?.(steps, child);
    if (isEmptyNetwork) raiseLoopback(build, child);
  }
  steps.builtin("criu", socket, talk, service.next(), "post-restore", console, log).into(child).tag(TAG.CRIU);
  // Everything is restored, and stands still until it is on record.
  steps.sys("pidfd_open", child, 0).into(child.next()).tag(TAG.CRIU);
  if (isNew(context.spec.linux, "mount")) protectMounts(build, context.spec, child.next());
  steps.builtin("sendChild", child, child.next()).tag(TAG.CRIU);
  steps.builtin("meet").tag(TAG.CRIU);
  steps.builtin("criu", socket, null, service.next(), null, console, log).tag(TAG.CRIU);
  steps.builtin("meet").tag(TAG.CRIU);
  steps.sys("close", socket);
  // It clears up behind itself.
  steps.sys("wait4", service, plan.space(4), 0, null).ignore();
  steps.builtin("exit", 0);
}

/** In PREPARE, after the fork of the stage: remembers which process that is, as the restored one takes its place. */
export function rememberStage({ plan }: Build, pid: Reg): (steps: Steps) => void {
  const place = plan.space(4);
  const stage = plan.register();
  plan.prepare.builtin("store32", place, pid);
  return (steps) => {
    steps.builtin("load32", place).into(stage);
    steps.sys("wait4", stage, plan.space(4), 0, null).ignore();
  };
}

/** In PARENT, once the restored process is on record: lets it run. */
export function followRestore({ plan }: Build, reapStage: (steps: Steps) => void): void {
  plan.parent.builtin("meet").tag(TAG.CRIU);
  plan.parent.builtin("meet").tag(TAG.CRIU);
  reapStage(plan.parent);
  const context = plan.register();
  for (const steps of [plan.parent, plan.undo]) resetCgroupMount(steps, context);
}

/** As `resetMountOptions` has it: CRIU has mounted cgroup v2 without the options that are the whole host's. */
function resetCgroupMount(steps: Steps, context: Reg): void {
  const { unified } = detectCgroups();
  const { mount = "", names = [] } = unified === undefined ? {} : recallMountOptions(unified);
  if (names.length === 0) return;
  steps.sys("fspick", AT.FDCWD, mount, REMOUNT.FSPICK_CLOEXEC).into(context).ignore();
  for (const name of names) steps.sys("fsconfig", context, REMOUNT.SET_FLAG, name, null, 0).ignore();
  steps.sys("fsconfig", context, REMOUNT.RECONFIGURE, null, null, 0).ignore();
  steps.sys("close", context).ignore();
}

/**
 * CRIU writes to the root while it restores, and leaves it so; and of mounts of one file, as those that hide files are,
 * only the first keeps its flags. @param process The stage ends up in its mount namespace.
 */
function protectMounts({ plan }: Build, { root, linux }: Spec, process: Reg): void {
  const steps = plan.child;
  const { maskedPaths = [] } = linux;
  if (root.readonly !== true && maskedPaths.length === 0) return;
  steps.sys("setns", process, CLONE.NEWNS).tag(TAG.ROOTFS);
  if (root.readonly === true) {
    const attributes = mountAttributes(plan, MOUNT_ATTR.RDONLY);
    steps.sys("mount_setattr", AT.FDCWD, "/", 0, attributes, 32).tag(TAG.ROOTFS);
  }
  const attributes = mountAttributes(plan, MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NOEXEC);
  for (const path of maskedPaths) {
    // What was not there hides nothing.
    steps.sys("mount_setattr", AT.FDCWD, path, AT.SYMLINK_NOFOLLOW, attributes, 32).ignore();
  }
}

/** As the builtin has it: 32 bits before it. */
function withLength(request: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4 + request.length);
  new DataView(bytes.buffer).setUint32(0, request.length, true);
  bytes.set(request, 4);
  return bytes;
}

function openAs(steps: Steps, { scratch }: Build, path: string, number: number): void {
  steps
    .sys("openat", AT.FDCWD, path, O.RDONLY | O.DIRECTORY | O.CLOEXEC)
    .into(scratch)
    .tag(TAG.CRIU);
  steps.sys("dup3", scratch, number, O.CLOEXEC).tag(TAG.CRIU);
  steps.sys("close", scratch);
}

function openService({ plan }: Build, socket: Reg, server: Reg): void {
  const pair = plan.space(8);
  plan.child.sys("socketpair", ...SOCKET_PAIR, pair).tag(TAG.CRIU);
  plan.child.builtin("load32", pair).into(socket);
  plan.child.builtin("load32", plan.within(pair, 4)).into(server);
}

interface Inherited {
  readonly key: string;
  readonly from: Reg | number;
  readonly number: number;
}

/** Namespaces that are there before CRIU begins: those with a path, and the network, which is made and set up here. */
function compileNamespaces(build: Build, { spec, network, hostSocket, makesNetwork }: RestoreContext): Inherited[] {
  const { plan } = build;
  const steps = plan.child;
  const found: Inherited[] = [];
  const open = (type: "net" | "pid", path: string): void => {
    const from = plan.register();
    steps
      .sys("openat", AT.FDCWD, path, O.RDONLY | O.CLOEXEC)
      .into(from)
      .tag(TAG.JOIN);
    found.push({ key: namespaceKey(type), from, number: NAMESPACE_FD[type] });
  };
  const pathOf = (wanted: NamespaceType): string | undefined =>
    spec.linux.namespaces.find(({ type }) => type === wanted)?.path;
  const pid = pathOf("pid");
  if (pid !== undefined) open("pid", pid);
  if (network.kind === "join") open("net", network.path);
  else if (network.kind === "enter") {
    found.push({ key: namespaceKey("net"), from: network.fd, number: NAMESPACE_FD.net });
    plan.parent.sys("close", network.fd);
  } else if (makesNetwork && network.kind !== "host") {
    const host = plan.register();
    steps
      .sys("openat", AT.FDCWD, "/proc/self/ns/net", O.RDONLY | O.CLOEXEC)
      .into(host)
      .tag(TAG.NETWORK);
    steps.sys("unshare", CLONE.NEWNET).tag(TAG.NETWORK);
    if (network.kind === "veth") quietLinks(steps);
    setUpNetwork({ ...build, child: steps }, network, hostSocket);
    for (const [name, value] of Object.entries(spec.linux.sysctl ?? {})) {
      const file = sysctlFile(name);
      if (sysctlNamespace(file) === "network") writeProc(build, steps, `/proc/sys/${file}`, value, TAG.SYSCTL);
    }
    open("net", "/proc/self/ns/net");
    // CRIU itself works from the host's.
    steps.sys("setns", host, CLONE.NEWNET).tag(TAG.NETWORK);
    steps.sys("close", host);
  }
  return found;
}

/**
 * Mounts the root in a namespace of the stage's own, with every place that something is mounted on, and nothing mounted.
 *
 * @returns Its path.
 */
function prepareRoot(started: Build, { spec, root: rootfs }: RestoreContext): string {
  const build = { ...started, child: started.plan.child };
  const { plan, root } = build;
  const steps = plan.child;
  const path = pathOf(rootfs);
  steps.sys("unshare", CLONE.NEWNS).tag(TAG.ROOTFS);
  isolateMounts(steps, false);
  if (rootfs.kind === "bundle") openBundle(build, steps, rootfs.path, false);
  mountRoot(build, rootfs);
  const bare = plan.register();
  const flags = OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.EMPTY_PATH;
  steps.sys("open_tree", root, "", flags).into(bare).tag(TAG.ROOTFS);
  for (const mount of spec.mounts) makePlace(build, mount, spec.mounts);
  // Away with what was mounted to make places in it.
  steps.sys("chdir", "/");
  steps.sys("umount2", path, MNT_DETACH).tag(TAG.ROOTFS);
  steps.sys("move_mount", bare, "", AT.FDCWD, path, MOVE_MOUNT.F_EMPTY_PATH).tag(TAG.ROOTFS);
  steps.sys("close", bare);
  return path;
}

/** CRIU makes no directories but in file systems that it restores, which are tmpfs. */
function makePlace(build: Build, mount: Mount, mounts: readonly Mount[]): void {
  const { child, root, scratch } = build;
  const { destination, type } = mount;
  const options = parseMountOptions(mount.options ?? []);
  const isInside = mounts.some(
    (outer) => !isBind(outer) && outer !== mount && destination.startsWith(`${outer.destination.replace(/\/+$/, "")}/`),
  );
  if (options.isRemount || isInside) return;
  if (isBind(mount)) {
    addBind(build, mount, options, { propagation: MS.PRIVATE, users: undefined }, undefined);
    return;
  }
  if (type === undefined || type === "none") return;
  child.builtin("target", root, destination, S_IF.DIR, 0).into(scratch).tag(TAG.MOUNT);
  child.sys("close", scratch);
}

function pathOf(root: RootFs): string {
  return root.kind === "bundle" ? root.path : `${root.directory}/rootfs`;
}

/** INNER: CRIU, in the container's groups, where what it forks stays. @returns [what it was, number] of the streams. */
function compileService(
  { plan, scratch }: Build,
  { checkpoint, spec, cgroup, streams, outputFd }: RestoreContext,
  server: Reg,
  namespaces: readonly Inherited[],
): (readonly [string, number])[] {
  // It is not killed with the stage: what it has restored by then is its own to take back.
  const steps = plan.inner;
  joinV1(steps, cgroup);
  const ends = streams.kind === "pipes" ? streams.pipes : undefined;
  const sources = [ends?.stdin?.[0], ends?.stdout?.[0], ends?.stderr?.[0]];
  const found: (readonly [string, number])[] = [];
  checkpoint.descriptors.slice(0, 3).forEach((was, i) => {
    const from = streams.kind === "inherited" ? i : sources[i];
    if (!was.startsWith("pipe:") || from === undefined) return;
    steps.sys("dup3", from, STREAMS_FD + i, 0).tag(TAG.CRIU);
    // Two streams may have been one pipe.
    if (!found.some(([key]) => key === was)) found.push([was, STREAMS_FD + i]);
  });
  for (const { from, number } of namespaces) steps.sys("dup3", from, number, 0).tag(TAG.CRIU);
  steps.sys("dup3", server, SERVICE_FD, 0).tag(TAG.CRIU);
  steps
    .sys("openat", AT.FDCWD, "/dev/null", O.RDWR | O.CLOEXEC)
    .into(scratch)
    .tag(TAG.CRIU);
  for (let fd = 0; fd < 3; fd++)
    steps.sys("dup3", fd > 0 && outputFd !== undefined ? outputFd : scratch, fd, 0).tag(TAG.CRIU);
  // CRIU before 3.19 does not restore it, but what it forks has what it has itself.
  if (spec.process.noNewPrivileges) steps.sys("prctl", PR.SET_NO_NEW_PRIVS, 1, 0, 0, 0).tag(TAG.CRIU);
  const { path, environment } = checkpoint.criu;
  const argv = ["criu", "swrk", String(SERVICE_FD)];
  steps.builtin("exec", plan.strings([path]), plan.strings(argv), plan.strings(environment)).tag(TAG.EXEC);
  return found;
}

function requestOf(
  { checkpoint, spec }: RestoreContext,
  root: string,
  inherited: readonly (readonly [string, number])[],
): Uint8Array {
  const joined = spec.linux.namespaces.flatMap(({ type, path }) =>
    path === undefined || type === "network" || type === "pid" ? [] : [[type === "mount" ? "mnt" : type, path]],
  );
  return encodeRequest(REQUEST.RESTORE, {
    ...checkpoint.options,
    imagesFd: IMAGES_FD,
    workFd: WORK_FD,
    evasiveDevices: true,
    logLevel: 4,
    logFile: LOG,
    restoreSibling: true,
    root,
    notifyScripts: true,
    manageCgroups: true,
    orphanTerminals: true,
    mounts: checkpoint.mounts,
    inherited,
    joined,
  });
}

/** In the stage, which has nothing more to do in the host's network. */
function raiseLoopback(build: Build, pid: Reg): void {
  const { plan, scratch } = build;
  plan.child.sys("pidfd_open", pid, 0).into(scratch).tag(TAG.NETWORK);
  plan.child.sys("setns", scratch, CLONE.NEWNET).tag(TAG.NETWORK);
  plan.child.sys("close", scratch);
  setUpLinks({ ...build, child: plan.child }, planLoopback());
}
