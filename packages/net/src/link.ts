import { allocate, BoxError } from "@bantubox/ffi";
import {
  type Attribute,
  encodeAttributes,
  findAttribute,
  type Message,
  NLM,
  nested,
  type Request,
  readText,
  text,
  u32,
} from "./netlink/message.ts";

const RTM = { NEWLINK: 16, DELLINK: 17, GETLINK: 18 } as const;
const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  MASTER: 10,
  LINKINFO: 18,
  NET_NS_FD: 28,
  EXT_MASK: 29,
  NUM_TX_QUEUES: 31,
  NUM_RX_QUEUES: 32,
} as const;
const ONE_QUEUE = [u32(IFLA.NUM_TX_QUEUES, 1), u32(IFLA.NUM_RX_QUEUES, 1)];
const IFLA_INFO = { KIND: 1, DATA: 2 } as const;
const VETH_INFO_PEER = 1;
const IFF_UP = 1;
const SKIP_STATS = 8;
/** sizeof(struct ifinfomsg) */
const INFO_BYTES = 16;

export interface Link {
  readonly index: number;
  readonly up: boolean;
  /** As `macFromAddress` writes it; empty where there is none. */
  readonly mac: string;
  /** `bridge`, `veth` and so on; undefined for hardware and the loopback. */
  readonly kind: string | undefined;
}

export interface Veth {
  /** Chosen by us: the kernel takes the peer's index only from a pair whose both indices are given. */
  readonly index: number;
  readonly name: string;
  /** Index of the bridge that the host's end is a port of. */
  readonly master: number;
  readonly isUp: boolean;
  readonly peer: {
    readonly index: number;
    readonly name: string;
    readonly mac: string;
    /** Number of a descriptor, in the process that sends this, of the namespace where the peer is born. */
    readonly netnsFd: number;
  };
}

/** Equivalent to: `ip link show dev NAME` */
export function getLink(name: string): Request {
  return request(RTM.GETLINK, NLM.ACK, info(0), [linkName(name), u32(IFLA.EXT_MASK, SKIP_STATS)]);
}

/**
 * Equivalent to: `ip link add name NAME address MAC type bridge`
 *
 * The address is given because a bridge without one takes its lowest port's,
 * and changes it under its neighbours when that port goes.
 */
export function createBridge(name: string, mac: string): Request {
  return request(RTM.NEWLINK, NLM.ACK | NLM.CREATE | NLM.EXCL, info(0), [
    linkName(name),
    [IFLA.ADDRESS, macBytes(mac)],
    nested(IFLA.LINKINFO, [text(IFLA_INFO.KIND, "bridge")]),
  ]);
}

/**
 * Equivalent to: `ip link add NAME index N numtxqueues 1 numrxqueues 1 master BRIDGE up type veth peer name PEER
 * index M numtxqueues 1 numrxqueues 1 address MAC netns FD`
 *
 * The peer is born where it belongs. Moving it there afterwards takes 11 to 55 ms of waiting for the kernel.
 *
 * One queue is what a pair uses anyway. Unasked, the kernel makes one for each processor, takes all but one out of
 * use, and waits for each end until no processor can be in them: 3 ms instead of 0.5.
 */
export function createVeth({ index, name, master, isUp, peer }: Veth): Request {
  const peerAttributes = encodeAttributes([
    linkName(peer.name),
    [IFLA.ADDRESS, macBytes(peer.mac)],
    u32(IFLA.NET_NS_FD, peer.netnsFd),
    ...ONE_QUEUE,
  ]);
  const peerInfo = info(peer.index);
  const peerValue = allocate(peerInfo.length + peerAttributes.length);
  peerValue.set(peerInfo);
  peerValue.set(peerAttributes, peerInfo.length);
  return request(RTM.NEWLINK, NLM.ACK | NLM.CREATE | NLM.EXCL, info(index, isUp), [
    linkName(name),
    ...ONE_QUEUE,
    u32(IFLA.MASTER, master),
    nested(IFLA.LINKINFO, [text(IFLA_INFO.KIND, "veth"), nested(IFLA_INFO.DATA, [[VETH_INFO_PEER, peerValue]])]),
  ]);
}

/** Equivalent to: `ip link set dev INDEX up` */
export function setUp(index: number): Request {
  return request(RTM.NEWLINK, NLM.ACK, info(index, true), []);
}

/** Equivalent to: `ip link delete dev INDEX`. Never for a veth, which takes 13 to 44 ms: it goes with its namespace. */
export function deleteLink(index: number): Request {
  return request(RTM.DELLINK, NLM.ACK, info(index), []);
}

/** @throws {BoxError} `netlink-malformed` */
export function parseLink({ payload }: Message): Link {
  if (payload.length < INFO_BYTES) throw new BoxError("netlink-malformed", "Cannot read a link: it is cut short");
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const mac = findAttribute(payload, IFLA.ADDRESS, INFO_BYTES) ?? new Uint8Array();
  const linkInfo = findAttribute(payload, IFLA.LINKINFO, INFO_BYTES);
  const kind = linkInfo === undefined ? undefined : findAttribute(linkInfo, IFLA_INFO.KIND);
  return {
    index: view.getInt32(4, true),
    up: (view.getUint32(8, true) & IFF_UP) !== 0,
    mac: formatMac(mac),
    kind: kind === undefined ? undefined : readText(kind),
  };
}

/**
 * Refuses what the kernel, a sysctl's path or a shell line would take for something else.
 *
 * @throws {BoxError} `bad-interface-name`
 */
export function checkLinkName(name: string): void {
  if (isLinkName(name)) return;
  throw new BoxError("bad-interface-name", `Cannot use ${JSON.stringify(name)} as an interface: it is no valid name`, {
    hint: "Take 1 to 15 letters, digits, dashes, dots and underscores",
  });
}

function isLinkName(name: string): boolean {
  if (name.length < 1 || name.length > 15 || name[0] === "." || name[0] === "-") return false;
  // Under these two, the sysctls of interfaces are those of the whole host.
  if (name === "all" || name === "default") return false;
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    const isLetter = (code >= 97 && code <= 122) || (code >= 65 && code <= 90);
    const isDigit = code >= 48 && code <= 57;
    if (!isLetter && !isDigit && code !== 95 && code !== 45 && code !== 46) return false;
  }
  return true;
}

/**
 * Six bytes of `02:bb:0a:58:00:02`. A loop, as below: a regular expression or `Uint8Array.from` takes up to
 * 0.3 ms the first time, which is the only time in the life of most processes that come here.
 *
 * @throws {RangeError} For anything else.
 */
function macBytes(mac: string): Uint8Array {
  const bytes = allocate(6);
  for (let i = 0; i < 6; i++) {
    const pair = mac.slice(i * 3, i * 3 + 2);
    const value = Number(`0x${pair}`);
    const separator = mac[i * 3 + 2];
    if (pair.length !== 2 || Number.isNaN(value) || separator !== (i < 5 ? ":" : undefined)) {
      throw new RangeError(`${JSON.stringify(mac)} is no MAC address`);
    }
    bytes[i] = value;
  }
  return bytes;
}

function formatMac(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += `${text === "" ? "" : ":"}${byte < 16 ? "0" : ""}${byte.toString(16)}`;
  return text;
}

function linkName(name: string): Attribute {
  checkLinkName(name);
  return text(IFLA.IFNAME, name);
}

/** struct ifinfomsg, <linux/rtnetlink.h>; by hand, for it is on the way of every container. */
function info(index: number, up = false): Uint8Array {
  const bytes = allocate(INFO_BYTES);
  const view = new DataView(bytes.buffer);
  view.setInt32(4, index, true);
  view.setUint32(8, up ? IFF_UP : 0, true);
  view.setUint32(12, up ? IFF_UP : 0, true);
  return bytes;
}

function request(type: number, flags: number, body: Uint8Array, attributes: readonly Attribute[]): Request {
  return { type, flags, body, attributes };
}
