import { cgroupHost } from "./cgroup-host.ts";
import { SPEC_VERSION } from "./version.ts";

const CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
const NO_EXEC = ["nosuid", "noexec", "nodev"];

/** A config.json to begin with: a shell in a root that cannot be written to, which nobody but its own processes can see. */
export function defaultConfig(): object {
  return config({
    ptsOptions: ["gid=5"],
    sys: { destination: "/sys", type: "sysfs", source: "sysfs", options: [...NO_EXEC, "ro"] },
    linux: {
      resources: { devices: [{ allow: false, access: "rwm" }] },
      namespaces: namespaces(["pid", "network", "ipc", "uts", "mount"]),
    },
  });
}

/** The same for a user who is root of nothing but a namespace. A network of their own they could not connect. */
export function rootlessConfig(uid: number, gid: number): object {
  return config({
    ptsOptions: [],
    sys: { destination: "/sys", type: "none", source: "/sys", options: ["rbind", ...NO_EXEC, "ro"] },
    linux: {
      uidMappings: [{ containerID: 0, hostID: uid, size: 1 }],
      gidMappings: [{ containerID: 0, hostID: gid, size: 1 }],
      namespaces: namespaces(["pid", "ipc", "uts", "mount", "user"]),
    },
  });
}

/** On v2 the container's own groups begin at its own. */
function namespaces(types: readonly string[]): object[] {
  return [...types, ...(cgroupHost().mode === "v2" ? ["cgroup"] : [])].map((type) => ({ type }));
}

function config({ ptsOptions, sys, linux }: { ptsOptions: readonly string[]; sys: object; linux: object }): object {
  return {
    ociVersion: SPEC_VERSION,
    process: {
      terminal: true,
      user: { uid: 0, gid: 0 },
      args: ["sh"],
      env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
      cwd: "/",
      capabilities: { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES },
      rlimits: [{ type: "RLIMIT_NOFILE", hard: 1024, soft: 1024 }],
      noNewPrivileges: true,
    },
    root: { path: "rootfs", readonly: true },
    hostname: "bb-oci",
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
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
        options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", ...ptsOptions],
      },
      {
        destination: "/dev/shm",
        type: "tmpfs",
        source: "shm",
        options: [...NO_EXEC, "mode=1777", "size=65536k"],
      },
      { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: NO_EXEC },
      sys,
      { destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: [...NO_EXEC, "relatime", "ro"] },
    ],
    linux: {
      ...linux,
      maskedPaths: [
        "/proc/acpi",
        "/proc/asound",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/sys/firmware",
        "/proc/scsi",
      ],
      readonlyPaths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    },
  };
}
