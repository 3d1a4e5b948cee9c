import { BoxError } from "@bantubox/ffi";
import { invalid } from "./resources.ts";

/** One entry of the OCI list. No `type` or `a`: block and character devices; no number or -1: all of them. */
export interface DeviceRule {
  readonly allow: boolean;
  readonly type?: string | undefined;
  readonly major?: number | undefined;
  readonly minor?: number | undefined;
  /** Some of `r`, `w` and `m` (mknod); all of them when not set. */
  readonly access?: string | undefined;
}

/** A rule as the kernel sees it. */
export interface DeviceMatch {
  readonly allow: boolean;
  readonly type: "b" | "c";
  /** -1 is any. */
  readonly major: number;
  readonly minor: number;
  /** Bits of ACCESS. */
  readonly access: number;
}

/** Rules in order, the last that fits decides; what none fits is `allowed` or not. */
export interface DevicePolicy {
  readonly allowed: boolean;
  readonly rules: readonly DeviceMatch[];
}

/** BPF_DEVCG_ACC_*, <linux/bpf.h>. */
export const ACCESS = { mknod: 1, read: 2, write: 4, all: 7 } as const;

// A device number has 12 bits of major and 20 bits of minor.
const MAX_MAJOR = 0xfff;
const MAX_MINOR = 0xfffff;
/** Kernels before 5.2 take 4096 instructions, and a rule needs up to 8. */
const MAX_RULES = 480;

/**
 * What an OCI list means on either version of cgroups.
 *
 * Each right (read, write, mknod) is decided by itself, by the last rule that
 * covers it. A list starts from "nothing is allowed".
 *
 * @throws {BoxError} `invalid-resources`
 */
export function parseDevices(list: readonly DeviceRule[]): DevicePolicy {
  let allowed = false;
  let rules: DeviceMatch[] = [];
  for (const rule of list) {
    const { allow, type = "a" } = rule;
    const major = number(rule, "major", MAX_MAJOR);
    const minor = number(rule, "minor", MAX_MINOR);
    const access = parseAccess(rule);
    if (type === "a" && major === -1 && minor === -1 && access === ACCESS.all) {
      allowed = allow;
      rules = [];
    } else if (type === "a") {
      rules.push({ allow, type: "c", major, minor, access }, { allow, type: "b", major, minor, access });
    } else if (type === "b" || type === "c" || type === "u") {
      // "u" is mknod's name for an unbuffered character device.
      rules.push({ allow, type: type === "b" ? "b" : "c", major, minor, access });
    } else {
      throw invalid("devices.type", type, 'it must be "a", "b" or "c"');
    }
  }
  if (rules.length > MAX_RULES) {
    throw new BoxError("invalid-resources", `Cannot set "devices": more than ${MAX_RULES} rules`);
  }
  return { allowed, rules };
}

function number(rule: DeviceRule, name: "major" | "minor", max: number): number {
  const value = rule[name] ?? -1;
  if (!Number.isInteger(value) || value < -1 || value > max) {
    throw invalid(`devices.${name}`, value, `it must be from 0 to ${max}, or -1 for all`);
  }
  return value;
}

function parseAccess({ access = "rwm" }: DeviceRule): number {
  let bits = 0;
  for (const letter of access) {
    if (letter === "r") bits |= ACCESS.read;
    else if (letter === "w") bits |= ACCESS.write;
    else if (letter === "m") bits |= ACCESS.mknod;
    // "a" is no access but a type, and runc lets it pass here.
    else if (letter !== "a") throw invalid("devices.access", access, 'it must be made of "r", "w" and "m"');
  }
  if (bits === 0) throw invalid("devices.access", access, 'it must be made of "r", "w" and "m"');
  return bits;
}
