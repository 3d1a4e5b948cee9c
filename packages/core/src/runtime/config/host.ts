import { existsSync, readTextSync } from "@bantubox/ffi";
import { isAppArmorEnabled } from "../apparmor.ts";
import { parseCapabilityMask } from "../capabilities.ts";
import type { HostFacts } from "./check.ts";

/** Asks this host, once a command. */
export function hostFacts(): HostFacts {
  const status = readTextSync("/proc/self/status");
  const at = status.indexOf("CapBnd:\t") + "CapBnd:\t".length;
  return {
    bounding: parseCapabilityMask(status.slice(at, at + 16)),
    hasSelinux: existsSync("/sys/fs/selinux/enforce"),
    hasAppArmor: isAppArmorEnabled(),
  };
}
