/** What of /proc and /sys a container must not read, or not write, unless it is privileged. */
import { existsSync, nodeFs } from "@bantubox/ffi";

/** Hidden: each tells about the host, or lets one harm it. A path that the host has not is no error. */
export const MASKED_PATHS: readonly string[] = [
  "/proc/acpi",
  "/proc/asound",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/proc/timer_list",
  "/proc/timer_stats",
  // Power readings tell which code runs (CVE-2020-8694).
  "/sys/devices/virtual/powercap",
  "/sys/firmware",
  "/sys/fs/selinux",
];

/** Hidden besides in the strict profile. */
export const STRICT_MASKED_PATHS: readonly string[] = [
  "/proc/config.gz",
  "/proc/kallsyms",
  "/sys/fs/bpf",
  "/sys/kernel/debug",
  "/sys/kernel/tracing",
];

export const READONLY_PATHS: readonly string[] = [
  "/proc/bus",
  "/proc/fs",
  "/proc/irq",
  "/proc/sys",
  "/proc/sysrq-trigger",
];

const CPU_DIR = "/sys/devices/system/cpu";

/**
 * Lists the thermal throttling counters of this host's CPUs, to be masked with the rest.
 *
 * They are there on x86 hardware only; virtual machines mostly have none, which
 * the first CPU tells: the others are looked at only if it has them.
 */
export function thermalThrottlePaths(cpuDir = CPU_DIR): string[] {
  if (!existsSync(`${cpuDir}/cpu0/thermal_throttle`)) return [];
  return nodeFs()
    .readdirSync(cpuDir)
    .filter((name) => /^cpu\d+$/.test(name))
    .map((name) => `${cpuDir}/${name}/thermal_throttle`)
    .filter((path) => existsSync(path));
}
