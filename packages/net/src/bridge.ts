import { BoxError, ERRNO, isErrno, nodeFs, readTextSync } from "@bantubox/ffi";
import { addAddress, listAddresses, parseAddress } from "./address.ts";
import { formatIpv4, formatSubnet, isHostOf, overlaps, parseIpv4, parseSubnet, type Subnet } from "./cidr.ts";
import { ensureZone, questionsOf, removeZone } from "./firewall.ts";
import { checkLinkName, createBridge, deleteLink, getLink, type Link, parseLink, setUp } from "./link.ts";
import { encodeBatch } from "./netlink/message.ts";
import { NETLINK, NetlinkSocket, refusal } from "./netlink/socket.ts";
import { listRoutes, parseDestination } from "./route.ts";
import { macFromAddress } from "./veth.ts";

/** The number of netfilter's protocol, for socket(2). */
export const NETFILTER = NETLINK.NETFILTER;

export interface BridgeNetwork {
  readonly name: string;
  /** The bridge's interface: `bb0`. */
  readonly bridge: string;
  /** `10.88.0.0/16` */
  readonly subnet: string;
  /** The host's address in the subnet: `10.88.0.1`. */
  readonly gateway: string;
}

/**
 * Sees to it that the bridge stands: interface, address, NAT, forwarding. Makes what is missing, also what somebody
 * removed by hand meanwhile; any number of processes may do this at once. A bridge that somebody else made is used
 * as it is, with the gateway's address added.
 *
 * @returns The bridge's index, for `planVeth`.
 * @throws {BoxError} `bad-subnet`, `bad-address`, `bad-interface-name`, `bridge-name-taken`, `no-nftables`, or the errno's name.
 */
export function ensureBridge(network: BridgeNetwork): { index: number } {
  const { bridge } = network;
  const subnet = checkNetwork(network);
  using socket = new NetlinkSocket(NETLINK.ROUTE);
  const link = findBridge(socket, bridge) ?? makeBridge(socket, network);
  // While the bridge is down: it must not take part in IPv6 for a moment either.
  if (!link.up && isOurs(link, network)) silenceIpv6(bridge);
  ensureAddress(socket, network, link.index, subnet);
  // Rules before forwarding: the other way round strangers could route to containers meanwhile.
  ensureZone({ bridge, subnet });
  setSysctl("/proc/sys/net/ipv4/ip_forward", "1");
  if (!link.up) socket.call(`set bridge "${bridge}" up`, encodeBatch([setUp(link.index)]));
  return { index: link.index };
}

/** What `ensureBridge` asks the kernel about NAT: a batch for a socket of `NETFILTER` that is refused unless it stands. */
export function zoneQuestions({ bridge, subnet }: BridgeNetwork): Uint8Array<ArrayBuffer> {
  return questionsOf({ bridge, subnet: parseSubnet(subnet) });
}

/**
 * Removes the bridge and its NAT; containers that still hang on it lose their network. What is gone already is no
 * failure, and a bridge that stood before `ensureBridge` stays.
 */
export function removeBridge(network: BridgeNetwork): void {
  const { bridge } = network;
  const subnet = checkNetwork(network);
  using socket = new NetlinkSocket(NETLINK.ROUTE);
  removeZone({ bridge, subnet });
  const link = findBridge(socket, bridge);
  if (link === undefined || !isOurs(link, network)) return;
  const answer = socket.attempt(encodeBatch([deleteLink(link.index)]));
  if (answer.errno !== 0 && answer.errno !== ERRNO.ENODEV) throw refusal(`remove bridge "${bridge}"`, answer);
}

/**
 * Picks a private range that overlaps no address and no route of this host: 10.88.0.0/16 and up, then 172.17.0.0/16
 * and up, then 192.168.0.0/24 and up.
 *
 * @param avoid Further ranges, such as those of networks whose bridges do not stand at the moment.
 * @throws {BoxError} `no-free-subnet`
 */
export function chooseSubnet(avoid: readonly string[] = []): string {
  using socket = new NetlinkSocket(NETLINK.ROUTE);
  // Addresses need no question of their own: each has a route in table local.
  const routes = socket.call("list routes", encodeBatch([listRoutes()]));
  const taken = avoid.map(parseSubnet);
  for (const route of routes) {
    const destination = parseDestination(route);
    // The default route, and halves of it that VPNs lay over it, cover everything.
    if (destination !== undefined && destination.prefix > 1) taken.push(destination);
  }
  for (const candidate of candidates()) {
    if (!taken.some((range) => overlaps(range, candidate))) return formatSubnet(candidate);
  }
  throw new BoxError("no-free-subnet", "Cannot choose a subnet: every private range overlaps a route of this host", {
    hint: "Name one with --subnet",
  });
}

function* candidates(): Generator<Subnet> {
  for (let second = 88; second < 128; second++) yield parseSubnet(`10.${second}.0.0/16`);
  for (let second = 17; second < 32; second++) yield parseSubnet(`172.${second}.0.0/16`);
  for (let third = 0; third < 256; third++) yield parseSubnet(`192.168.${third}.0/24`);
}

function checkNetwork({ bridge, subnet: text, gateway }: BridgeNetwork): Subnet {
  checkLinkName(bridge);
  const subnet = parseSubnet(text);
  if (!isHostOf(subnet, parseIpv4(gateway))) {
    throw new BoxError(
      "bad-address",
      `Cannot use "${gateway}" as the gateway of ${text}: it is no host's address there`,
    );
  }
  return subnet;
}

/** Whether `makeBridge` made it: nobody else gives a bridge this hardware address. */
function isOurs(link: Link, { gateway }: BridgeNetwork): boolean {
  return link.mac === macFromAddress(gateway);
}

/** @throws {BoxError} `bridge-name-taken` */
function findBridge(socket: NetlinkSocket, name: string): Link | undefined {
  const answer = socket.attempt(encodeBatch([getLink(name)]));
  if (answer.errno === ERRNO.ENODEV) return undefined;
  const [message] = answer.messages;
  if (answer.errno !== 0 || message === undefined) throw refusal(`find bridge "${name}"`, answer);
  const link = parseLink(message);
  if (link.kind === "bridge") return link;
  throw new BoxError("bridge-name-taken", `Cannot use "${name}" as a bridge: this interface is something else`, {
    hint: "Take another name for the bridge",
  });
}

function makeBridge(socket: NetlinkSocket, { bridge, gateway }: BridgeNetwork): Link {
  const action = `create bridge "${bridge}"`;
  const answer = socket.attempt(encodeBatch([createBridge(bridge, macFromAddress(gateway))]));
  if (answer.errno === ERRNO.EOPNOTSUPP) {
    throw new BoxError("no-bridge", refusal(action, answer).message, {
      hint: "This kernel has no bridges (module bridge): load it, or use --network none or host",
    });
  }
  if (answer.errno !== 0 && answer.errno !== ERRNO.EEXIST) throw refusal(action, answer);
  const link = findBridge(socket, bridge);
  if (link === undefined) throw new BoxError("ENODEV", `Cannot ${action}: somebody removed it at once`);
  return link;
}

function ensureAddress(socket: NetlinkSocket, network: BridgeNetwork, index: number, { prefix }: Subnet): void {
  const address = parseIpv4(network.gateway);
  const action = `give bridge "${network.bridge}" the address ${formatIpv4(address)}/${prefix}`;
  // Reading takes no lock that creating and destroying links holds; adding would.
  const present = socket.call(action, encodeBatch([listAddresses(index)])).some((message) => {
    const found = parseAddress(message);
    return found?.index === index && found.address === address && found.prefix === prefix;
  });
  if (present) return;
  const answer = socket.attempt(encodeBatch([addAddress({ index, address, prefix })]));
  if (answer.errno !== 0 && answer.errno !== ERRNO.EEXIST) throw refusal(action, answer);
}

/** An IPv4 network has no IPv6 on the host's side, and no container makes itself the host's router by an advertisement. */
function silenceIpv6(bridge: string): void {
  for (const [name, value] of [
    ["accept_ra", "0"],
    ["disable_ipv6", "1"],
  ] as const) {
    try {
      setSysctl(`/proc/sys/net/ipv6/conf/${bridge}/${name}`, value);
    } catch (error) {
      // A kernel without IPv6 has nothing to silence.
      if (!isErrno(error, "ENOENT")) throw error;
    }
  }
}

/** Writes only what differs: /proc/sys may be read-only, and a host may be set up already. */
function setSysctl(path: string, value: string): void {
  if (readTextSync(path).trim() === value) return;
  try {
    nodeFs().writeFileSync(path, value);
  } catch (cause) {
    if (!(cause instanceof Error) || !("code" in cause)) throw cause;
    throw new BoxError(String(cause.code), `Cannot set "${path}" to ${value}: ${String(cause.code)}`, {
      cause,
      hint: "Set it on the host, or use --network none or host",
    });
  }
}
