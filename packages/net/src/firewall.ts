/**
 * Our nftables table, `ip bantubox`. Rules are made once and never change; a network is a few elements of sets:
 *
 * ```
 * table ip bantubox {
 *   set bridges   { type ifname }                    # "bb0"
 *   set inside    { type ifname . ifname }           # "bb0" . "bb0"
 *   set subnets   { type ipv4_addr; flags interval } # 10.88.0.0/16
 *   chain forward { type filter hook forward priority filter; policy accept;
 *     oifname != @bridges accept
 *     ct state established,related accept
 *     ct status dnat accept                          # published ports
 *     iifname . oifname @inside accept               # bridged frames come by here where br_netfilter is loaded
 *     drop                                           # other networks and other hosts that route to a container
 *   }
 *   chain postrouting { type nat hook postrouting priority srcnat; policy accept;
 *     ip saddr @subnets oifname != @bridges masquerade
 *   }
 * }
 * ```
 *
 * `accept` ends our chain only: a rule of the administrator in another table still drops what it drops,
 * at any priority. The same holds for Docker's `FORWARD` policy of DROP, which we leave alone as all that is foreign.
 *
 * A change of the rules' layout needs another name for `bridges`, by which a missing or older table is noticed.
 */
import { BoxError, ERRNO } from "@bantubox/ffi";
import type { Subnet } from "./cidr.ts";
import { encodeBatch, type Request, readBe32 } from "./netlink/message.ts";
import { type Answer, NETLINK, NetlinkSocket, refusal } from "./netlink/socket.ts";
import {
  addElements,
  addressKey,
  deleteElements,
  deleteTable,
  type Element,
  getElements,
  getGeneration,
  HOOKS,
  KEY,
  listElements,
  masquerade,
  matchConntrack,
  matchInterfacePair,
  matchOutput,
  matchSource,
  nameKey,
  newChain,
  newRule,
  newSet,
  newTable,
  parseElements,
  parseGeneration,
  SET_INTERVAL,
  transaction,
  verdict,
} from "./nft.ts";

const TABLE = "bantubox";
const BRIDGES = "bridges";
const INSIDE = "inside";
const SUBNETS = "subnets";
/** Above it an interval needs no end. */
const LAST_ADDRESS = 0xffffffff;

/** A bridge and the range of addresses behind it. */
export interface Zone {
  readonly bridge: string;
  readonly subnet: Subnet;
}

/**
 * Has packets of `zone` leave with the host's address, and nobody outside reach into it. Idempotent; any number
 * of processes may do this at once, for a table is made by one transaction, and only when there is none.
 *
 * @throws {BoxError} `no-nftables`, or the errno's name.
 */
export function ensureZone(zone: Zone): void {
  using socket = new NetlinkSocket(NETLINK.NETFILTER);
  if (hasZone(socket, zone)) return;

  const created = socket.attempt(transaction([...baseRules(), ...zoneElements(zone)]));
  if (created.errno === 0) return;
  if (created.errno !== ERRNO.EEXIST) throw firewallError(zone, created);

  // There is a table, perhaps since a moment ago.
  const added = socket.attempt(transaction(zoneElements(zone)));
  if (added.errno === 0) return;
  if (added.errno !== ERRNO.EEXIST && added.errno !== ERRNO.ENOTEMPTY) throw firewallError(zone, added);
  const stale = staleSubnets(socket, zone.subnet);
  const replaced = socket.attempt(transaction([deleteElements(TABLE, SUBNETS, stale), ...zoneElements(zone)]));
  if (replaced.errno !== 0) throw firewallError(zone, replaced);
}

/** Takes back what `ensureZone` did, and the table with its last zone. What is gone already is no failure. */
export function removeZone(zone: Zone): void {
  using socket = new NetlinkSocket(NETLINK.NETFILTER);
  // One transaction each: whoever removed one of them by hand has not removed the others.
  for (const request of zoneRemoval(zone)) {
    const answer = socket.attempt(transaction([request]));
    if (answer.errno !== 0 && answer.errno !== ERRNO.ENOENT) throw firewallError(zone, answer);
  }
  const generation = parseGeneration(socket.call("ask for the ruleset's generation", encodeBatch([getGeneration()])));
  const rest = socket.attempt(encodeBatch([listElements(TABLE, BRIDGES)]));
  if (rest.errno !== 0 || rest.messages.some((message) => parseElements(message).length > 0)) return;
  // Refused when the ruleset has changed since it was looked at: another process adds its network. It keeps the table.
  socket.attempt(transaction([deleteTable(TABLE)], generation));
}

/** Reads only, for this is asked whenever a container starts. */
function hasZone(socket: NetlinkSocket, zone: Zone): boolean {
  return socket.attempt(questionsOf(zone)).errno === 0;
}

/** Messages that the kernel refuses when what they ask for is not there. */
export function questionsOf({ bridge, subnet }: Zone): Uint8Array<ArrayBuffer> {
  return encodeBatch([
    getElements(TABLE, BRIDGES, [{ key: nameKey(bridge) }]),
    getElements(TABLE, SUBNETS, [{ key: addressKey(subnet.base) }, { key: addressKey(subnet.broadcast) }]),
  ]);
}

/** Creating the table comes first and fails when it exists, so rules are never there twice. */
function baseRules(): Request[] {
  const rule = (chain: string, ...expressions: Parameters<typeof newRule>[2]) => newRule(TABLE, chain, expressions);
  return [
    newTable(TABLE, { exclusive: true }),
    newSet(TABLE, BRIDGES, { key: KEY.ifname, id: 1 }),
    newSet(TABLE, INSIDE, { key: KEY.ifnamePair, id: 2 }),
    newSet(TABLE, SUBNETS, { key: KEY.ipv4, flags: SET_INTERVAL, id: 3 }),
    newChain(TABLE, "forward", HOOKS.forward),
    rule("forward", matchOutput(BRIDGES, { inverted: true }), verdict("accept")),
    rule("forward", matchConntrack("established"), verdict("accept")),
    rule("forward", matchConntrack("dnat"), verdict("accept")),
    rule("forward", matchInterfacePair(INSIDE), verdict("accept")),
    rule("forward", verdict("drop")),
    newChain(TABLE, "postrouting", HOOKS.postrouting),
    rule("postrouting", matchSource(SUBNETS), matchOutput(BRIDGES, { inverted: true }), masquerade()),
  ];
}

function zoneElements({ bridge, subnet }: Zone): Request[] {
  return [
    addElements(TABLE, BRIDGES, [{ key: nameKey(bridge) }]),
    addElements(TABLE, INSIDE, [{ key: pairKey(bridge) }]),
    addElements(TABLE, SUBNETS, interval(subnet.base, subnet.broadcast + 1)),
  ];
}

/** What is looked for by `hasZone` goes first, so that a removal which is cut short is noticed. */
function zoneRemoval({ bridge, subnet }: Zone): Request[] {
  return [
    deleteElements(TABLE, BRIDGES, [{ key: nameKey(bridge) }]),
    deleteElements(TABLE, INSIDE, [{ key: pairKey(bridge) }]),
    deleteElements(TABLE, SUBNETS, interval(subnet.base, subnet.broadcast + 1)),
  ];
}

/** From `start` up to, and without, `end`. */
function interval(start: number, end: number): Element[] {
  const first = { key: addressKey(start) };
  return end > LAST_ADDRESS ? [first] : [first, { key: addressKey(end), isEnd: true }];
}

function pairKey(bridge: string): Uint8Array {
  const name = nameKey(bridge);
  return Buffer.concat([name, name]);
}

/**
 * Ranges that overlap `subnet`, left over from a bridge that somebody deleted by hand: two networks that stand never overlap.
 */
function staleSubnets(socket: NetlinkSocket, subnet: Subnet): Element[] {
  const bounds = socket
    .call("list our masqueraded subnets", encodeBatch([listElements(TABLE, SUBNETS)]))
    .flatMap(parseElements)
    .map(({ key, isEnd }) => ({ at: readBe32(key), isEnd: isEnd === true }))
    .sort((a, b) => a.at - b.at || Number(b.isEnd) - Number(a.isEnd));
  const stale: Element[] = [];
  for (const [i, { at, isEnd }] of bounds.entries()) {
    if (isEnd) continue;
    const end = bounds[i + 1]?.at ?? LAST_ADDRESS + 1;
    if (at <= subnet.broadcast && end > subnet.base) stale.push(...interval(at, end));
  }
  return stale;
}

function firewallError({ bridge }: Zone, answer: Answer): BoxError {
  const cause = refusal(`set up NAT for bridge ${JSON.stringify(bridge)}`, answer);
  if (answer.errno === ERRNO.ENOENT) {
    return new BoxError("nat-table-foreign", `${cause.message}: the table "ip ${TABLE}" is not as we make it`, {
      cause,
      hint: `Delete it with "nft delete table ip ${TABLE}"; the next container makes it anew`,
    });
  }
  if (answer.errno === ERRNO.EOPNOTSUPP || answer.errno === EPROTONOSUPPORT) {
    return new BoxError("no-nftables", cause.message, {
      cause,
      hint: "This kernel has no nftables (modules nf_tables, nft_masq, nft_ct): load it, or use --network none or host",
    });
  }
  return cause;
}

const EPROTONOSUPPORT = 93;
