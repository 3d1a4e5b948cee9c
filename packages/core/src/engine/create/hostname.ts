import { readTextSync } from "@bantubox/ffi";

/** What this host is called. */
export function hostHostname(): string {
  return readTextSync("/proc/sys/kernel/hostname").trimEnd();
}
