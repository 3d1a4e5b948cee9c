import { allocate, BoxError } from "@bantubox/ffi";
import { type Subnet, subnetOf } from "./cidr.ts";
import { be32, findAttribute, type Message, NLM, type Request, readBe32, u32 } from "./netlink/message.ts";

const RTM = { NEWROUTE: 24, GETROUTE: 26 } as const;
const RTA = { DST: 1, OIF: 4, GATEWAY: 5 } as const;
const AF_INET = 2;
const TABLE_MAIN = 254;
const PROTOCOL_BOOT = 3;
const TYPE_UNICAST = 1;
/** sizeof(struct rtmsg) */
const HEADER_BYTES = 12;

/** Equivalent to: `ip route add default via GATEWAY dev INDEX` */
export function addDefaultRoute(gateway: number, index: number): Request {
  const body = allocate(HEADER_BYTES);
  body[0] = AF_INET;
  body[4] = TABLE_MAIN;
  body[5] = PROTOCOL_BOOT;
  body[7] = TYPE_UNICAST;
  return {
    type: RTM.NEWROUTE,
    flags: NLM.ACK | NLM.CREATE | NLM.EXCL,
    body,
    attributes: [be32(RTA.GATEWAY, gateway), u32(RTA.OIF, index)],
  };
}

/** Equivalent to: `ip -4 route show table all` */
export function listRoutes(): Request {
  const body = allocate(HEADER_BYTES);
  body[0] = AF_INET;
  return { type: RTM.GETROUTE, flags: NLM.DUMP, body, attributes: [] };
}

/** Where a route leads; undefined for other families. The default route leads to the /0. @throws {BoxError} `netlink-malformed` */
export function parseDestination({ payload }: Message): Subnet | undefined {
  if (payload.length < HEADER_BYTES) throw new BoxError("netlink-malformed", "Cannot read a route: it is cut short");
  const [family, prefix = 0] = payload;
  if (family !== AF_INET || prefix > 32) return undefined;
  const destination = findAttribute(payload, RTA.DST, HEADER_BYTES);
  return subnetOf(destination === undefined ? 0 : readBe32(destination), prefix);
}
