/** Capabilities by name, and the sets that containers get. */
import { BoxError } from "@bantubox/ffi";
import type { Capabilities } from "./spec.ts";

/** In the order of their bits, from CAP_CHOWN = 0; <linux/capability.h>. */
export const CAPABILITIES = [
  ...["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID"],
  ...["CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST"],
  ...["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO"],
  ...["CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE"],
  ...["CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE"],
  ...["CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM"],
  ...["CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"],
];

/** A set as the kernel's two 32-bit words: `lo` has the capabilities 0 to 31, `hi` those from 32. */
export interface CapabilitySet {
  readonly lo: number;
  readonly hi: number;
}

export const NO_CAPABILITIES: CapabilitySet = { lo: 0, hi: 0 };

/** All 41 that we know. */
export const ALL_CAPABILITIES: CapabilitySet = { lo: 0xffff_ffff, hi: 0x1ff };

/**
 * Docker's 14: AUDIT_WRITE, CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, MKNOD,
 * NET_BIND_SERVICE, NET_RAW, SETFCAP, SETGID, SETPCAP, SETUID, SYS_CHROOT.
 */
export const DEFAULT_CAPABILITIES: CapabilitySet = { lo: 0xa804_25fb, hi: 0 };

export interface CapabilityRequest {
  /** Names as on the command line: any case, `CAP_` or not, or `ALL`. */
  readonly add?: readonly string[];
  readonly drop?: readonly string[];
  readonly privileged?: boolean;
  /** The bounding set of the engine: nothing outside it can be given. */
  readonly available: CapabilitySet;
}

export interface ResolvedCapabilities extends CapabilitySet {
  /** Those that `add` named one by one. A user other than root gets these as ambient capabilities too, as in Docker. */
  readonly named: CapabilitySet;
}

/**
 * Decides which capabilities a container gets.
 *
 * A name given by itself beats `ALL`, and where both sides are as specific,
 * dropping wins. `ALL`, `privileged` and the default set mean what of it is
 * available; a capability asked for by name must be.
 *
 * @throws {BoxError} `capability-unknown`; `capability-unavailable` if the host's bounding set has not one that was named.
 */
export function resolveCapabilities({
  add = [],
  drop = [],
  privileged = false,
  available,
}: CapabilityRequest): ResolvedCapabilities {
  const added = parseRequest("add", add);
  const dropped = parseRequest("drop", drop);
  const named = without(added.named, dropped.named);
  const missing = without(named, available);
  if (missing.lo !== 0 || missing.hi !== 0) {
    const [name] = capabilityNames(missing);
    throw new BoxError(
      "capability-unavailable",
      `Cannot add capability "${name}": this host does not have it to give`,
      {
        hint: "Run the engine with that capability in its bounding set, or leave it out",
      },
    );
  }
  let base = privileged || added.isAll ? ALL_CAPABILITIES : DEFAULT_CAPABILITIES;
  if (dropped.isAll) base = NO_CAPABILITIES;
  const kept = intersect(without(base, dropped.named), available);
  return { lo: (kept.lo | named.lo) >>> 0, hi: (kept.hi | named.hi) >>> 0, named };
}

/** @throws {BoxError} `capability-unknown` */
export function capabilitySet(names: readonly string[]): CapabilitySet {
  let lo = 0;
  let hi = 0;
  for (const name of names) {
    const bit = capabilityBit(name);
    if (bit < 0) throw unknownCapability("use", name);
    if (bit < 32) lo |= 1 << bit;
    else hi |= 1 << (bit - 32);
  }
  return { lo: lo >>> 0, hi };
}

/** The five sets of a process, as they can be had. */
export interface SettledCapabilities {
  readonly capabilities: Capabilities;
  /** Names that the kernel's headers have not, and those that cannot be granted; each once. */
  readonly unknown: readonly string[];
  readonly denied: readonly string[];
}

/**
 * Takes out of the five sets what cannot be: names that do not exist, what is outside of `bounding`, and, since
 * the kernel refuses to raise them, inheritable capabilities outside of the process's own bounding set, effective
 * ones that are not permitted, and ambient ones that are not both permitted and inheritable.
 *
 * @param bounding What there is to give; undefined: everything.
 */
export function settleCapabilities(
  asked: Capabilities,
  bounding: CapabilitySet | undefined = ALL_CAPABILITIES,
): SettledCapabilities {
  const unknown = new Set<string>();
  const denied = new Set<string>();
  const keep = (names: readonly string[], allowed: CapabilitySet): string[] => {
    const kept: string[] = [];
    for (const name of names) {
      const bit = capabilityBit(name);
      if (bit < 0) unknown.add(name);
      else if (!hasBit(bounding, bit)) denied.add(name);
      // What another set would need to have too goes without a word: runc's own default configuration has it so.
      else if (hasBit(allowed, bit)) kept.push(name);
    }
    return kept;
  };
  const bound = keep(asked.bounding, bounding);
  const permitted = keep(asked.permitted, bounding);
  const inheritable = keep(asked.inheritable, capabilitySet(bound));
  const ambient = intersect(capabilitySet(permitted), capabilitySet(inheritable));
  const capabilities = {
    bounding: bound,
    permitted,
    inheritable,
    effective: keep(asked.effective, capabilitySet(permitted)),
    ambient: keep(asked.ambient, ambient),
  };
  return { capabilities, unknown: [...unknown], denied: [...denied] };
}

/** The names in `set`, with `CAP_`, in the order of their bits; bits without a name are left out. */
export function capabilityNames(set: CapabilitySet): string[] {
  return CAPABILITIES.filter((_, bit) => hasBit(set, bit));
}

/** @param name With `CAP_`. */
export function hasCapability(set: CapabilitySet, name: string): boolean {
  const bit = CAPABILITIES.indexOf(name);
  return bit >= 0 && hasBit(set, bit);
}

/** Reads a set as /proc/PID/status prints it: 16 hexadecimal digits. */
export function parseCapabilityMask(hex: string): CapabilitySet {
  if (!/^[0-9a-f]{16}$/.test(hex)) throw new TypeError(`not a capability mask: ${hex}`);
  return { lo: Number.parseInt(hex.slice(8), 16), hi: Number.parseInt(hex.slice(0, 8), 16) };
}

function parseRequest(verb: string, names: readonly string[]): { isAll: boolean; named: CapabilitySet } {
  // Most containers ask for nothing: no work then.
  if (names.length === 0) return { isAll: false, named: NO_CAPABILITIES };
  const single = names.filter((name) => !isAll(name));
  const unknown = single.find((name) => capabilityBit(name) < 0);
  if (unknown !== undefined) throw unknownCapability(verb, unknown);
  return { isAll: single.length < names.length, named: capabilitySet(single) };
}

function isAll(name: string): boolean {
  const upper = name.toUpperCase();
  return upper === "ALL" || upper === "CAP_ALL";
}

function capabilityBit(name: string): number {
  const upper = name.toUpperCase();
  return CAPABILITIES.indexOf(upper.startsWith("CAP_") ? upper : `CAP_${upper}`);
}

function hasBit({ lo, hi }: CapabilitySet, bit: number): boolean {
  return ((bit < 32 ? lo >>> bit : hi >>> (bit - 32)) & 1) === 1;
}

function intersect(a: CapabilitySet, b: CapabilitySet): CapabilitySet {
  return { lo: (a.lo & b.lo) >>> 0, hi: (a.hi & b.hi) >>> 0 };
}

function without(a: CapabilitySet, b: CapabilitySet): CapabilitySet {
  return { lo: (a.lo & ~b.lo) >>> 0, hi: (a.hi & ~b.hi) >>> 0 };
}

function unknownCapability(verb: string, name: string): BoxError {
  return new BoxError(
    "capability-unknown",
    `Cannot ${verb} capability ${JSON.stringify(name)}: there is none of that name`,
    {
      hint: 'Names are those of capabilities(7), as "NET_ADMIN", or "ALL"',
    },
  );
}
