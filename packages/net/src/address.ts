import { allocate, BoxError } from "@bantubox/ffi";
import { subnetOf } from "./cidr.ts";
import { be32, findAttribute, type Message, NLM, type Request, readBe32 } from "./netlink/message.ts";

const RTM = { NEWADDR: 20, GETADDR: 22 } as const;
const IFA = { ADDRESS: 1, LOCAL: 2, BROADCAST: 4 } as const;
const AF_INET = 2;
/** sizeof(struct ifaddrmsg) */
const HEADER_BYTES = 8;

export interface InterfaceAddress {
  /** Index of the link that has it. */
  readonly index: number;
  readonly address: number;
  readonly prefix: number;
}

/** Equivalent to: `ip address add ADDRESS/PREFIX broadcast + dev INDEX` */
export function addAddress({ index, address, prefix }: InterfaceAddress): Request {
  return {
    type: RTM.NEWADDR,
    flags: NLM.ACK | NLM.CREATE | NLM.EXCL,
    body: header(index, prefix),
    attributes: [
      be32(IFA.LOCAL, address),
      be32(IFA.ADDRESS, address),
      be32(IFA.BROADCAST, subnetOf(address, prefix).broadcast),
    ],
  };
}

/** Equivalent to: `ip -4 address show dev INDEX`; index 0 is every link. Kernels before 4.20 list every link anyway. */
export function listAddresses(index: number): Request {
  return { type: RTM.GETADDR, flags: NLM.DUMP, body: header(index, 0), attributes: [] };
}

/** @throws {BoxError} `netlink-malformed` */
export function parseAddress({ payload }: Message): InterfaceAddress | undefined {
  if (payload.length < HEADER_BYTES) {
    throw new BoxError("netlink-malformed", "Cannot read an address: it is cut short");
  }
  if (payload[0] !== AF_INET) return undefined;
  // Of a point-to-point link ADDRESS is the other side.
  const address = findAttribute(payload, IFA.LOCAL, HEADER_BYTES) ?? findAttribute(payload, IFA.ADDRESS, HEADER_BYTES);
  if (address === undefined) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  return { index: view.getUint32(4, true), address: readBe32(address), prefix: view.getUint8(1) };
}

/** struct ifaddrmsg, <linux/if_addr.h> */
function header(index: number, prefix: number): Uint8Array {
  const bytes = allocate(HEADER_BYTES);
  bytes[0] = AF_INET;
  bytes[1] = prefix;
  new DataView(bytes.buffer).setUint32(4, index, true);
  return bytes;
}
