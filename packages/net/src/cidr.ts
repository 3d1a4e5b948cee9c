import { BoxError } from "@bantubox/ffi";

/** A range of IPv4 addresses; addresses are numbers in 0..2^32-1. */
export interface Subnet {
  readonly base: number;
  readonly prefix: number;
  /** The last address, for which nobody listens alone. */
  readonly broadcast: number;
}

/**
 * Reads `10.88.0.2`: four decimal numbers and nothing else. No octal, no short forms: what one
 * program reads as 10.0.0.8 and the next as 10.0.0.10 is an error here.
 *
 * @throws {BoxError} `bad-address`
 */
export function parseIpv4(text: string): number {
  const value = readIpv4(text);
  if (value === undefined) {
    throw new BoxError("bad-address", `Cannot use ${JSON.stringify(text)} as an address: it is no IPv4 address`);
  }
  return value;
}

export function formatIpv4(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/**
 * Reads `10.88.0.0/16`.
 *
 * @throws {BoxError} `bad-subnet` also when bits behind the prefix are set, or a container and the gateway would not fit.
 */
export function parseSubnet(text: string): Subnet {
  const [base, prefix] = readPrefixed(text);
  if (base === undefined || prefix === undefined) throw badSubnet(text, "it is no IPv4 range");
  if (prefix < 1 || prefix > 30) throw badSubnet(text, "its prefix is not in 1 to 30", "Take a prefix such as /24");
  const mask = maskOf(prefix);
  const start = (base & mask) >>> 0;
  if (start !== base) {
    throw badSubnet(text, "bits behind its prefix are set", `Write it as ${formatIpv4(start)}/${prefix}`);
  }
  return { base, prefix, broadcast: (base | ~mask) >>> 0 };
}

/** Reads an address with the prefix of its network: `10.88.0.2/16`. @throws {BoxError} `bad-address` */
export function parseInterfaceAddress(text: string): { address: number; prefix: number } {
  const [address, prefix] = readPrefixed(text);
  if (address === undefined || prefix === undefined || prefix > 32) {
    throw new BoxError("bad-address", `Cannot use ${JSON.stringify(text)} as an address: it is no ADDRESS/PREFIX`);
  }
  return { address, prefix };
}

export function formatSubnet({ base, prefix }: Subnet): string {
  return `${formatIpv4(base)}/${prefix}`;
}

/** `address` as its network's members write it: `10.88.0.2/16`. */
export function withPrefix(address: string, subnet: string): string {
  return `${address}/${parseSubnet(subnet).prefix}`;
}

/** Whether a host may have the address: it is in the subnet, neither its first nor its last. */
export function isHostOf({ base, broadcast }: Subnet, address: number): boolean {
  return address > base && address < broadcast;
}

/** The range that an address with a prefix lies in. */
export function subnetOf(address: number, prefix: number): Subnet {
  const mask = maskOf(prefix);
  return { base: (address & mask) >>> 0, prefix, broadcast: (address | ~mask) >>> 0 };
}

export function overlaps(a: Subnet, b: Subnet): boolean {
  return a.base <= b.broadcast && b.base <= a.broadcast;
}

/** Whether `text` is an IPv4 address in its one proper form. */
export function isIpv4(text: string): boolean {
  return readIpv4(text) !== undefined;
}

/** By hand: a regular expression takes longer the first time than all the rest of a container's link. */
function readIpv4(text: string): number | undefined {
  let value = 0;
  let at = 0;
  for (let part = 0; part < 4; part++) {
    const dot = part < 3 ? text.indexOf(".", at) : text.length;
    const number = dot < 0 ? undefined : readDecimal(text, at, dot);
    if (number === undefined || number > 255) return undefined;
    value = value * 256 + number;
    at = dot + 1;
  }
  return value;
}

/** One to three digits without a leading zero. */
function readDecimal(text: string, from: number, to: number): number | undefined {
  if (to <= from || to - from > 3 || (to - from > 1 && text[from] === "0")) return undefined;
  let value = 0;
  for (let i = from; i < to; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return undefined;
    value = value * 10 + digit;
  }
  return value;
}

function readPrefixed(text: string): [number | undefined, number | undefined] {
  const slash = text.indexOf("/");
  if (slash < 0) return [undefined, undefined];
  return [readIpv4(text.slice(0, slash)), readDecimal(text, slash + 1, text.length)];
}

/** JavaScript shifts by the count modulo 32, so a shift by 32 would do nothing. */
function maskOf(prefix: number): number {
  return prefix === 0 ? 0 : -1 << (32 - prefix);
}

function badSubnet(text: string, state: string, hint?: string): BoxError {
  return new BoxError("bad-subnet", `Cannot use ${JSON.stringify(text)} as a subnet: ${state}`, { hint });
}
