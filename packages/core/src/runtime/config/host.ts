import { existsSync, readLinesWith } from "@bantubox/ffi";
import { isAppArmorEnabled } from "../apparmor.ts";
import { parseCapabilityMask } from "../capabilities.ts";
import type { HostFacts } from "./check.ts";

/** Asks this host, once a command. */
export function hostFacts(): HostFacts {
  // The line alone: what else stands there is another each time, and what is read here is compared by who keeps plans.
  const status = readLinesWith("/proc/self/status", "CapBnd:");
  const at = "CapBnd:\t".length;
  return {
    bounding: parseCapabilityMask(status.slice(at, at + 16)),
    hasSelinux: existsSync("/sys/fs/selinux/enforce"),
    hasAppArmor: isAppArmorEnabled(),
  };
}
