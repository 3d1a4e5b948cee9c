import { ADDRESS_BYTES, fillPlaces, HOLE, type Own, type Place } from "@bantubox/ffi/line";
import {
  formatIpv4,
  macFromAddress,
  ONLY_DIGITS,
  onlyVethName,
  parseIpv4,
  planVeth,
  type VethOptions,
  withPrefix,
} from "@bantubox/net";
import { type LeaseRange, leaseName } from "@bantubox/net/leases";
import type { Bridged, NetworkStart } from "../create/network.ts";
import { padAddress } from "../create/pad-address.ts";

/** Offsets in a start's plan of what its container on the bridge has of its own, each as long as any other's. */
export interface BridgePlaces {
  readonly host: number;
  readonly inside: number;
  /** In its /etc/hosts. */
  readonly address: number;
  /** Wherever the path of its lease ends. */
  readonly lease: readonly number[];
}

/** Where a plan has what is of its network's own. @returns Undefined for no bridge, or when it cannot be told from the rest. */
export function findBridgePlaces(plan: Uint8Array, { setup, files, bridged }: NetworkStart): BridgePlaces | undefined {
  if (setup.kind !== "veth" || bridged === undefined) return undefined;
  const bytes = Buffer.from(plan.buffer, plan.byteOffset, plan.length);
  const hosts = Buffer.from(files.find(([name]) => name === "hosts")?.[1] ?? "");
  const own = `${padAddress(bridged.address)}\t`;
  const places = {
    host: bytes.indexOf(setup.veth.host),
    inside: bytes.indexOf(setup.veth.inside),
    address: hosts.includes(own) ? bytes.indexOf(hosts) : -1,
  };
  const lease = offsetsOf(bytes, Buffer.from(bridged.lease)).map(
    (at) => at + bridged.lease.length - ADDRESS_BYTES.digits,
  );
  if (Object.values(places).includes(-1) || lease.length === 0) return undefined;
  return { ...places, address: places.address + hosts.indexOf(own), lease };
}

/** Gives a plan another container's address and link. */
export function fillBridge(plan: Uint8Array, places: BridgePlaces, { setup, bridged }: NetworkStart): void {
  if (setup.kind !== "veth" || bridged === undefined) throw new TypeError("The kept container has no bridge");
  plan.set(setup.veth.host, places.host);
  plan.set(setup.veth.inside, places.inside);
  plan.set(Buffer.from(padAddress(bridged.address)), places.address);
  for (const at of places.lease) plan.set(Buffer.from(leaseName(parseIpv4(bridged.address))), at);
}

/**
 * The same for the executable's front, which plans no links: where in the plan of the container `id` every byte stands
 * that is its address's, its link's or its name's.
 *
 * @returns Undefined when filling these is not the same as planning another link.
 */
export function bridgePlacesFor(
  id: string,
  plan: Uint8Array,
  places: BridgePlaces,
  bridged: Bridged,
  range: LeaseRange,
): Place[] | undefined {
  const { veth } = bridged;
  const at = { host: places.host, inside: places.inside };
  const batches = planVeth(veth);
  const found = [
    ...linkPlaces(id, batches.host, veth).map((place) => ({ ...place, offset: at.host + place.offset })),
    ...linkPlaces(id, batches.inside, veth).map((place) => ({ ...place, offset: at.inside + place.offset })),
  ];
  const other = otherOf(bridged, range);
  const filled = fillPlaces(plan, found, [], other.own);
  const expected = planVeth(other.veth);
  const isRight = (["host", "inside"] as const).every((name) =>
    Buffer.from(expected[name]).equals(filled.subarray(at[name], at[name] + expected[name].length)),
  );
  if (!isRight) return undefined;
  return [
    ...found,
    { offset: places.address, hole: HOLE.address, bytes: ADDRESS_BYTES.text },
    ...places.lease.map((offset) => ({ offset, hole: HOLE.address, bytes: ADDRESS_BYTES.digits })),
  ];
}

/** Where a batch of `planVeth` has what is the container's own. */
function linkPlaces(id: string, batch: Uint8Array, { hostName, hostIndex, mac, address }: VethOptions): Place[] {
  const bytes = Buffer.from(batch);
  const number = Buffer.alloc(4);
  const places: Place[] = [];
  const name = Buffer.from(hostName);
  if (hostName === onlyVethName(id))
    for (const at of offsetsOf(bytes, name))
      places.push({ offset: at + name.length - ONLY_DIGITS, hole: HOLE.fresh, bytes: ONLY_DIGITS });
  number.writeUInt32LE(hostIndex);
  for (const offset of offsetsOf(bytes, number)) places.push({ offset, hole: HOLE.link, bytes: number.length });
  // A MAC address ends with the address.
  const own = Buffer.from(mac.replaceAll(":", ""), "hex").subarray(-ADDRESS_BYTES.binary);
  if (own.equals(binaryOf(address)))
    for (const offset of offsetsOf(bytes, own))
      places.push({ offset, hole: HOLE.address, bytes: ADDRESS_BYTES.binary });
  return places;
}

function binaryOf(address: string): Buffer {
  const bytes = Buffer.alloc(ADDRESS_BYTES.binary);
  bytes.writeUInt32BE(parseIpv4(address.slice(0, address.indexOf("/"))));
  return bytes;
}

/** Another container of the same network: the further its address, the more would be seen to be wrong. */
function otherOf({ network, address, veth }: Bridged, { first, count }: LeaseRange): { own: Own; veth: VethOptions } {
  const number = first + ((parseIpv4(address) - first + Math.ceil(count / 2)) % count);
  const text = formatIpv4(number);
  const own = { id: "5a".repeat(32), address: number, link: (veth.hostIndex ^ 0x2a55aa55) >>> 0 };
  const other: VethOptions = {
    ...veth,
    hostName: onlyVethName(own.id),
    hostIndex: own.link,
    mac: macFromAddress(text),
    address: withPrefix(text, network.subnet),
  };
  return { own, veth: other };
}

function offsetsOf(bytes: Buffer, wanted: Buffer): number[] {
  const offsets: number[] = [];
  for (let at = bytes.indexOf(wanted); at !== -1; at = bytes.indexOf(wanted, at + 1)) offsets.push(at);
  return offsets;
}
