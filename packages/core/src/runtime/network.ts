import { AT, CLONE, ERRNO, O, type Reg, type Steps } from "@bantubox/ffi";
import { type MovePlan, planLoopback, planMoves, QUIET_SYSCTLS, type VethPlan } from "@bantubox/net";
import type { Build } from "./build.ts";
import type { Spec } from "./spec.ts";
import { TAG } from "./tags.ts";

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | O.CLOEXEC;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;

/** The number that the container's network namespace has in the child while the batch of `planVeth` is sent. */
export const NETNS_FD = 100;

/** What a container's network namespace is given. */
export type NetworkSetup =
  /** A namespace with nothing but its loopback. */
  | { readonly kind: "loopback"; readonly batch: Uint8Array }
  /** A pair of which one end hangs on a bridge of the host. */
  | { readonly kind: "veth"; readonly veth: VethPlan }
  /** Another process's namespace, by its path. */
  | { readonly kind: "join"; readonly path: string }
  /** Another process's namespace, by a descriptor's number. */
  | { readonly kind: "enter"; readonly fd: number }
  | { readonly kind: "host" };

/** What a config.json asks for: a namespace of its own, another's, or the host's. Devices are its engine's business. */
export function networkOf({ linux: { namespaces } }: Spec): NetworkSetup {
  const namespace = namespaces.find(({ type }) => type === "network");
  if (namespace === undefined) return { kind: "host" };
  if (namespace.path !== undefined) return { kind: "join", path: namespace.path };
  return { kind: "loopback", batch: planLoopback() };
}

/**
 * In PREPARE: a socket of the host's namespace, with which the child makes its
 * pair. The peer is born inside: moving a device costs tens of milliseconds.
 */
export function openHostSocket(build: Build, setup: NetworkSetup, links?: MovePlan): Reg | undefined {
  if (setup.kind !== "veth" && links === undefined) return undefined;
  const socket = build.plan.register();
  addSocket(build, build.plan.prepare, socket);
  return socket;
}

/** In a new namespace, before its link is born. */
export function quietLinks(steps: Steps): void {
  for (const [path, value] of QUIET_SYSCTLS) {
    steps
      .builtin("writeFile", AT.FDCWD, path, value, value.length, O.WRONLY, 0)
      .tolerate(ERRNO.ENOENT)
      .tag(TAG.NETWORK);
  }
}

export function setUpNetwork(build: Build, setup: NetworkSetup, hostSocket: Reg | undefined): void {
  const { child: steps, plan, scratch } = build;
  if (setup.kind === "join") {
    steps
      .sys("openat", AT.FDCWD, setup.path, O.RDONLY | O.CLOEXEC)
      .into(scratch)
      .tag(TAG.JOIN);
    steps.sys("setns", scratch, CLONE.NEWNET).tag(TAG.JOIN);
    steps.sys("close", scratch);
    return;
  }
  if (setup.kind === "enter") {
    steps.sys("setns", setup.fd, CLONE.NEWNET).tag(TAG.JOIN);
    steps.sys("close", setup.fd);
    plan.parent.sys("close", setup.fd);
    return;
  }
  if (setup.kind === "host") return;
  if (setup.kind === "veth" && hostSocket !== undefined) {
    sendFromHost(build, hostSocket, setup.veth.host);
    steps.sys("close", hostSocket);
  }
  setUpLinks(build, setup.kind === "veth" ? setup.veth.inside : setup.batch);
}

/** Sends a batch to the network namespace that this process is in. */
export function setUpLinks(build: Build, batch: Uint8Array): void {
  const { child: steps, plan, scratch } = build;
  addSocket(build, steps, scratch);
  steps.builtin("netlink", scratch, plan.bytes(batch), batch.length, countMessages(batch)).tag(TAG.NETWORK);
  steps.sys("close", scratch);
}

/** In PARENT: lets a pair carry packets whose host's end was made to wait. */
export function raiseHostEnd({ plan, scratch }: Build, { raise }: VethPlan): void {
  if (raise === undefined) return;
  const steps = plan.parent;
  addSocket({ plan }, steps, scratch);
  steps.builtin("netlink", scratch, plan.bytes(raise), raise.length, countMessages(raise)).tag(TAG.NETWORK);
  steps.sys("close", scratch);
}

/** Takes links of the host over, in the process that is in the namespace that they shall be in. */
export function takeLinks(build: Build, { host, inside }: MovePlan, hostSocket: Reg): void {
  const { child: steps, plan, scratch } = build;
  sendFromHost(build, hostSocket, host);
  steps.sys("close", hostSocket);
  addSocket(build, steps, scratch);
  steps.builtin("netlink", scratch, plan.bytes(inside), inside.length, countMessages(inside)).tag(TAG.NETWORK);
  steps.sys("close", scratch);
}

/** Sends a batch that is about this process's namespace to the host's. */
function sendFromHost({ child: steps, plan, scratch }: Build, socket: Reg, batch: Uint8Array): void {
  steps
    .sys("openat", AT.FDCWD, "/proc/self/ns/net", O.RDONLY | O.CLOEXEC)
    .into(scratch)
    .tag(TAG.NETWORK);
  // The message names the namespace by a number that was fixed when it was built.
  steps.sys("dup3", scratch, NETNS_FD, O.CLOEXEC).tag(TAG.NETWORK);
  steps.builtin("netlink", socket, plan.bytes(batch), batch.length, countMessages(batch)).tag(TAG.NETWORK);
  steps.sys("close", NETNS_FD);
  steps.sys("close", scratch);
}

/** What is to be done about the links of `linux.netDevices`; nothing where there are none. @throws {BoxError} `no-such-link` */
export function linksOf({ linux: { netDevices = {} } }: Spec): MovePlan | undefined {
  const links = Object.entries(netDevices).map(([name, { name: newName = name }]) => ({ name, newName }));
  return links.length === 0 ? undefined : planMoves(links, NETNS_FD);
}

/** Each message begins with its length, padded to four bytes, and asks for an acknowledgement. */
function countMessages(batch: Uint8Array): number {
  const view = new DataView(batch.buffer, batch.byteOffset, batch.length);
  let count = 0;
  for (let at = 0; at < batch.length; at += (view.getUint32(at, true) + 3) & ~3) count++;
  return count;
}

function addSocket({ plan }: Pick<Build, "plan">, steps: Steps, into: Reg): void {
  const one = new Uint32Array(new ArrayBuffer(4));
  one[0] = 1;
  steps.sys("socket", AF_NETLINK, SOCK_RAW_CLOEXEC, 0).into(into).tag(TAG.NETWORK);
  steps
    .sys("setsockopt", into, SOL_NETLINK, NETLINK_CAP_ACK, plan.bytes(new Uint8Array(one.buffer)), 4)
    .tag(TAG.NETWORK);
}
