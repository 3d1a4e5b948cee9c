import { ERRNO } from "@bantubox/ffi";
import { addAddress } from "./address.ts";
import { parseInterfaceAddress, parseIpv4 } from "./cidr.ts";
import { createVeth, setUp } from "./link.ts";
import { encodeBatch } from "./netlink/message.ts";
import { addDefaultRoute } from "./route.ts";

/** The loopback has it in every namespace. */
const LOOPBACK = 1;

/**
 * Index of a container's first interface. A fresh namespace may hold tunnels besides the loopback
 * (where the host has loaded sit, ipip and the like), so it is not always 2; nothing takes this one.
 */
const CONTAINER_INDEX = 100;

/** How much of an ID `onlyVethName` shows. */
export const ONLY_DIGITS = 9;

export interface VethOptions {
  readonly bridgeIndex: number;
  /** Of `vethName` or `onlyVethName`. */
  readonly hostName: string;
  /** Of `vethIndex`. */
  readonly hostIndex: number;
  /** The interface's name in the container: `eth0`. */
  readonly containerName: string;
  /** Number that a descriptor of the container's network namespace has where the host's batch is sent. */
  readonly netnsFd: number;
  /** Of `macFromAddress`. */
  readonly mac: string;
  /** With the prefix of its network: `10.88.0.2/16`. */
  readonly address: string;
  readonly gateway: string;
  /** The host's end stays down until `raise` is sent: nothing reaches the container before. */
  readonly isHeld?: boolean;
}

/** Batches in which every message asks for an acknowledgement and has its number, from 1. */
export interface VethPlan {
  /**
   * One message, for a NETLINK_ROUTE socket of the host's namespace. EEXIST and EBUSY: the random name or
   * index is taken; plan again with another `hostName`.
   */
  readonly host: Uint8Array<ArrayBuffer>;
  /** Four messages, for a NETLINK_ROUTE socket opened in the container's namespace, after `host`. */
  readonly inside: Uint8Array<ArrayBuffer>;
  /** With `isHeld`, one message for the host's namespace: sets its end up. */
  readonly raise?: Uint8Array<ArrayBuffer>;
}

/**
 * Plans a container's link to a bridge.
 *
 * Equivalent to:
 * ```
 * ip link add HOSTNAME master BRIDGE up type veth peer name eth0 address MAC netns FD
 * ip -n FD link set lo up; ip -n FD address add ADDRESS dev eth0
 * ip -n FD link set eth0 up; ip -n FD route add default via GATEWAY
 * ```
 *
 * Nothing has to be undone: both ends go with the container's namespace. Have `QUIET_SYSCTLS` written in it before.
 *
 * @throws {BoxError} `bad-address`, `bad-interface-name`
 */
export function planVeth(options: VethOptions): VethPlan {
  const { address, prefix } = parseInterfaceAddress(options.address);
  const index = CONTAINER_INDEX;
  return {
    host: encodeBatch([
      createVeth({
        index: options.hostIndex,
        name: options.hostName,
        master: options.bridgeIndex,
        isUp: options.isHeld !== true,
        peer: { index, name: options.containerName, mac: options.mac, netnsFd: options.netnsFd },
      }),
    ]),
    inside: encodeBatch([
      setUp(LOOPBACK),
      addAddress({ index, address, prefix }),
      setUp(index),
      addDefaultRoute(parseIpv4(options.gateway), index),
    ]),
    ...(options.isHeld === true && { raise: encodeBatch([setUp(options.hostIndex)]) }),
  };
}

/** What to do when the kernel refuses a plan's `host` batch with this error number. */
export function vethHint(errno: number): string | undefined {
  const EXFULL = 54;
  if (errno === EXFULL) return "A bridge has 1024 ports: remove containers, or use another network";
  if (errno === ERRNO.EOPNOTSUPP)
    return "This kernel has no veth (module veth): load it, or use --network none or host";
  if (errno === ERRNO.EPERM) return "Run this as root, with CAP_NET_ADMIN";
  return undefined;
}

/**
 * What to write in the new namespace before its link is born (the loopback keeps ::1): a network that hands out no
 * IPv6 address has none, and nobody's router advertisement makes one. A file that does not exist is fine: no IPv6 here.
 */
export const QUIET_SYSCTLS: readonly (readonly [path: string, value: string])[] = [
  ["/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"],
  ["/proc/sys/net/ipv6/conf/default/accept_ra", "0"],
];

/** The one message that a container without a network needs. Equivalent to: `ip link set lo up` */
export function planLoopback(): Uint8Array<ArrayBuffer> {
  return encodeBatch([setUp(LOOPBACK)]);
}

/**
 * A name for the host's end, 15 characters at most. Never the same twice for one container, whose
 * former link may linger for a moment after its namespace. The prefix `veth` keeps NetworkManager and dhcpcd away.
 */
export function vethName(containerId: string): string {
  const random = Math.floor(Math.random() * 36 ** 5);
  return `vethbb${containerId.slice(0, 4)}${random.toString(36).padStart(5, "0")}`;
}

/** Locally administered and one for each address, so that neighbours' ARP caches stay right when an address gets a new owner. */
export function macFromAddress(ipv4: string): string {
  const hex = parseIpv4(ipv4).toString(16).padStart(8, "0");
  return `02:bb:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4, 6)}:${hex.slice(6)}`;
}

/** Of a container that starts only once: its ID alone tells it, by as much of that as there is room for. */
export function onlyVethName(containerId: string): string {
  return `vethbb${containerId.slice(0, ONLY_DIGITS)}`;
}

/**
 * An index for the host's end, far above what the kernel counts up to, so it collides with other containers' alone:
 * once in 2^30. Fewer than that, so that an executable's front draws them by a mask (ffi/c/lease.c).
 */
export function vethIndex(random = Math.floor(Math.random() * 2 ** 30)): number {
  return 2 ** 30 + random;
}
