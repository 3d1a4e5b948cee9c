/** Links of the host that become a container's, with the addresses that they have. */
import { BoxError, ERRNO } from "@bantubox/ffi";
import { getLink, parseLink, setUp } from "./link.ts";
import {
  type Attribute,
  encodeBatch,
  listAttributes,
  type Message,
  NLM,
  type Request,
  readU32,
  text,
  u32,
} from "./netlink/message.ts";
import { NETLINK, NetlinkSocket, refusal } from "./netlink/socket.ts";

const RTM = { NEWLINK: 16, NEWADDR: 20, GETADDR: 22 } as const;
const IFLA = { IFNAME: 3, NET_NS_FD: 28, NEW_IFINDEX: 49 } as const;
const IFA = { ADDRESS: 1, LOCAL: 2, BROADCAST: 4, FLAGS: 8 } as const;
const IFA_F_PERMANENT = 0x80;
const RT_SCOPE_UNIVERSE = 0;
/** sizeof(struct ifinfomsg), sizeof(struct ifaddrmsg) */
const INFO_BYTES = 16;
const ADDRESS_BYTES = 8;

/** A link by its name here, and the one that it gets there: `eth%d` lets the kernel choose a number. */
export interface MovedLink {
  readonly name: string;
  readonly newName: string;
}

/** What is sent to the kernel from either side; the first names the other namespace by a descriptor's number. */
export interface MovePlan {
  readonly host: Uint8Array<ArrayBuffer>;
  readonly inside: Uint8Array<ArrayBuffer>;
}

/**
 * Plans the moves of `links` out of this process's network namespace, with their permanent global addresses.
 *
 * Equivalent to: `ip link set NAME netns FD name NEW; ip -n FD address add … dev NEW; ip -n FD link set NEW up`
 *
 * A link keeps its index, which must be free in the other namespace.
 *
 * @throws {BoxError} `no-such-link`
 */
export function planMoves(links: readonly MovedLink[], netnsFd: number): MovePlan {
  using socket = new NetlinkSocket(NETLINK.ROUTE);
  const addresses = listAll(socket);
  const host: Request[] = [];
  const inside: Request[] = [];
  for (const { name, newName } of links) {
    const index = indexOf(socket, name);
    host.push(moveLink(index, newName, netnsFd));
    for (const message of addresses) {
      const request = sameAddress(message, index);
      if (request !== undefined) inside.push(request);
    }
    inside.push(setUp(index));
  }
  return { host: encodeBatch(host), inside: encodeBatch(inside) };
}

function indexOf(socket: NetlinkSocket, name: string): number {
  const answer = socket.attempt(encodeBatch([getLink(name)]));
  if (answer.errno === ERRNO.ENODEV) {
    throw new BoxError("no-such-link", `Cannot move the network device "${name}": there is none of that name`);
  }
  const [message] = answer.messages;
  if (answer.errno !== 0 || message === undefined) throw refusal(`find the network device "${name}"`, answer);
  return parseLink(message).index;
}

function moveLink(index: number, newName: string, netnsFd: number): Request {
  const body = new Uint8Array(new ArrayBuffer(INFO_BYTES));
  new DataView(body.buffer).setInt32(4, index, true);
  const attributes = [u32(IFLA.NET_NS_FD, netnsFd), text(IFLA.IFNAME, newName), u32(IFLA.NEW_IFINDEX, index)];
  return { type: RTM.NEWLINK, flags: NLM.ACK, body, attributes };
}

/** Equivalent to: `ip address show` */
function listAll(socket: NetlinkSocket): readonly Message[] {
  const body = new Uint8Array(new ArrayBuffer(ADDRESS_BYTES));
  return socket.call("list addresses", encodeBatch([{ type: RTM.GETADDR, flags: NLM.DUMP, body, attributes: [] }]));
}

/** The request that makes an address again; undefined for one of another link, or that nobody has set for good. */
function sameAddress({ payload }: Message, index: number): Request | undefined {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  if (payload.length < ADDRESS_BYTES || view.getUint32(4, true) !== index) return undefined;
  const all = listAttributes(payload, ADDRESS_BYTES);
  const long = all.find(([type]) => type === IFA.FLAGS);
  const flags = long === undefined ? view.getUint8(2) : readU32(long[1]);
  if ((flags & IFA_F_PERMANENT) === 0 || view.getUint8(3) !== RT_SCOPE_UNIVERSE) return undefined;
  const kept: readonly number[] = [IFA.ADDRESS, IFA.LOCAL, IFA.BROADCAST];
  const attributes: Attribute[] = all
    .filter(([type]) => kept.includes(type))
    .map(([type, value]) => [type, value.slice()]);
  return {
    type: RTM.NEWADDR,
    flags: NLM.ACK | NLM.CREATE | NLM.EXCL,
    body: payload.slice(0, ADDRESS_BYTES),
    attributes,
  };
}
