import type { DeviceRule } from "@bantubox/cgroup";
import { DEFAULT_DEVICE_RULES } from "../../runtime/device-rules.ts";
import type { Mount, NamespaceType } from "../../runtime/spec.ts";

/** What every container gets unless it is asked otherwise: Docker's answers, so that images run unchanged. */
export const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
export const DEFAULT_PIDS_LIMIT = 2048;
export const DEFAULT_SHM_BYTES = 64 << 20;
export const DEFAULT_STOP_TIMEOUT_SEC = 10;
export const DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q";
/** Log files of a container: 10 MB each, three of them. */
export const LOG = { bytes: 10_000_000, files: 3 } as const;
/** Open files: a huge soft limit makes old daemons close a billion descriptors. */
export const NOFILE = { soft: 1024, hard: 524_288 } as const;
/** CPU time is handed out in periods of this length. */
export const CPU_PERIOD_US = 100_000;

export const NAMESPACES: readonly NamespaceType[] = ["mount", "pid", "uts", "ipc", "cgroup"];

export function defaultMounts(shmBytes: number, isPrivileged: boolean): Mount[] {
  const access = isPrivileged ? "rw" : "ro";
  return [
    { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
    {
      destination: "/dev",
      type: "tmpfs",
      source: "tmpfs",
      options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
      destination: "/dev/pts",
      type: "devpts",
      source: "devpts",
      options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", access] },
    {
      destination: "/sys/fs/cgroup",
      type: "cgroup",
      source: "cgroup",
      options: [access, "nosuid", "noexec", "nodev", "relatime"],
    },
    { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] },
    {
      destination: "/dev/shm",
      type: "tmpfs",
      source: "shm",
      options: ["nosuid", "noexec", "nodev", "mode=1777", `size=${shmBytes}`],
    },
  ];
}

/** Nodes may be made, but only these opened; the FUSE device not at all. Later rules win. */
export const DEVICE_RULES: readonly DeviceRule[] = [
  { allow: false, access: "rwm" },
  { allow: false, type: "c", major: 10, minor: 229, access: "rwm" },
  ...DEFAULT_DEVICE_RULES,
];
