import { existsSync, readFileSync, statfsSync } from "node:fs";
import { release } from "node:os";
import { detectCgroups, hasSwapLimit } from "@bantubox/cgroup";
import { allocate, attempt, cstr, ERRNO, Fd } from "@bantubox/ffi";
import { ensureAppArmorProfile } from "../../runtime/apparmor.ts";
import { parseCapabilityMask } from "../../runtime/capabilities.ts";
import type { Engine } from "../state/engine.ts";

/** One thing that containers need or like of a host. */
export interface Check {
  readonly name: string;
  /** `fail`: no container starts; `warn`: something is missing. */
  readonly status: "ok" | "warn" | "fail";
  readonly detail: string;
  readonly hint?: string;
}

const LEAST_KERNEL = [5, 12] as const;
const LEAST_FREE_BYTES = 1 << 30;

/** Looks at the host, and says plainly what it lacks. Changes nothing, but that our AppArmor profile is loaded where it was not. */
export function doctor(engine: Engine): { checks: Check[] } {
  return {
    checks: [
      checkKernel(),
      checkCapabilities(),
      checkNamespaces(),
      checkOverlay(),
      checkSeccomp(),
      ...checkCgroups(),
      checkAppArmor(),
      checkForwarding(),
      checkDisk(engine),
      checkMemfd(),
    ],
  };
}

function checkKernel(): Check {
  const [major = 0, minor = 0] = release()
    .split(".")
    .map((part) => Number.parseInt(part, 10));
  const isNew = major > LEAST_KERNEL[0] || (major === LEAST_KERNEL[0] && minor >= LEAST_KERNEL[1]);
  return isNew
    ? { name: "kernel", status: "ok", detail: release() }
    : {
        name: "kernel",
        status: "fail",
        detail: release(),
        hint: "Linux 5.12 or newer is needed (mount_setattr, openat2)",
      };
}

function checkCapabilities(): Check {
  const status = readFileSync("/proc/self/status", "latin1");
  const { lo } = parseCapabilityMask(status.slice(status.indexOf("CapEff:\t") + 8).slice(0, 16));
  const has = (bit: number): boolean => ((lo >>> bit) & 1) === 1;
  if (!has(21)) {
    return {
      name: "capabilities",
      status: "fail",
      detail: "CAP_SYS_ADMIN is missing",
      hint: "Run as root, and in a container only if that is privileged",
    };
  }
  if (!has(12)) return { name: "capabilities", status: "warn", detail: "CAP_NET_ADMIN is missing: no bridge network" };
  if (!has(24)) {
    return {
      name: "capabilities",
      status: "warn",
      detail: "CAP_SYS_RESOURCE is missing: limits cannot be raised above this process's own",
    };
  }
  return { name: "capabilities", status: "ok", detail: "all that is needed" };
}

function checkNamespaces(): Check {
  const missing = ["mnt", "pid", "uts", "ipc", "net", "cgroup"].filter((name) => !existsSync(`/proc/self/ns/${name}`));
  if (missing.length > 0) {
    return {
      name: "namespaces",
      status: "fail",
      detail: `the kernel lacks ${missing.join(", ")}`,
      hint: "Use a kernel with CONFIG_NAMESPACES",
    };
  }
  const time = existsSync("/proc/self/ns/time") ? "" : "; no time namespace";
  return { name: "namespaces", status: "ok", detail: `mnt pid uts ipc net cgroup${time}` };
}

function checkOverlay(): Check {
  const fd = attempt("fsopen", cstr("overlay"), 1);
  if (fd >= 0) {
    new Fd(fd).close();
    return { name: "overlay", status: "ok", detail: "the kernel has it" };
  }
  return {
    name: "overlay",
    status: "fail",
    detail: "the kernel has no overlay file system",
    hint: 'Load it: "modprobe overlay"',
  };
}

function checkSeccomp(): Check {
  // seccomp(SECCOMP_GET_ACTION_AVAIL, 0, SECCOMP_RET_ERRNO)
  const action = allocate(4);
  new DataView(action.buffer).setUint32(0, 0x00050000, true);
  const isThere = attempt("seccomp", 2, 0, action) !== -ERRNO.ENOSYS;
  return isThere
    ? { name: "seccomp", status: "ok", detail: "filters are supported" }
    : {
        name: "seccomp",
        status: "fail",
        detail: "the kernel has no seccomp filters",
        hint: 'Only "--security-opt seccomp=unconfined" works',
      };
}

function checkCgroups(): Check[] {
  const host = detectCgroups();
  const missing = ["memory", "cpu", "pids", "cpuset"].filter((name) => !host.controllers.has(name));
  const mode: Check = {
    name: "cgroups",
    status: missing.length === 0 ? "ok" : "warn",
    detail: missing.length === 0 ? `${host.mode}, with all controllers` : `${host.mode}, without ${missing.join(", ")}`,
    ...(missing.length === 0 ? {} : { hint: "Limits that need them are refused; mount or delegate the controllers" }),
  };
  if (!host.controllers.has("memory")) return [mode];
  const swap: Check = hasSwapLimit(host)
    ? { name: "swap accounting", status: "ok", detail: "on" }
    : {
        name: "swap accounting",
        status: "warn",
        detail: "off: --memory limits memory alone",
        hint: "Boot with swapaccount=1",
      };
  return [mode, swap];
}

function checkAppArmor(): Check {
  const { profile, note } = ensureAppArmorProfile();
  if (profile !== undefined) return { name: "apparmor", status: "ok", detail: `profile ${profile} is loaded` };
  return { name: "apparmor", status: note.includes("without AppArmor") ? "ok" : "warn", detail: note };
}

function checkForwarding(): Check {
  const rules = read("/proc/net/ip_tables_names");
  if (rules?.includes("filter")) {
    return {
      name: "forwarding",
      status: "warn",
      detail: "iptables rules of others may drop what containers send to the outside",
      hint: 'See "iptables -S FORWARD": Docker sets its policy to DROP',
    };
  }
  return {
    name: "forwarding",
    status: "ok",
    detail: read("/proc/sys/net/ipv4/ip_forward")?.trim() === "1" ? "on" : "off; the first bridge turns it on",
  };
}

function checkDisk({ root }: Engine): Check {
  const path = existsSync(root) ? root : "/";
  const { bavail, bsize } = statfsSync(path);
  const free = bavail * bsize;
  const detail = `${(free / 1e9).toFixed(1)} GB free at ${path}`;
  return free < LEAST_FREE_BYTES
    ? { name: "disk", status: "warn", detail, hint: 'Remove images and containers: "bb rmi", "bb rm"' }
    : { name: "disk", status: "ok", detail };
}

function checkMemfd(): Check {
  const setting = read("/proc/sys/vm/memfd_noexec")?.trim();
  if (setting === "2") {
    return {
      name: "memfd",
      status: "fail",
      detail: "vm.memfd_noexec=2 forbids programs in memory",
      hint: 'Set it lower: "sysctl vm.memfd_noexec=1"',
    };
  }
  return { name: "memfd", status: "ok", detail: "programs in memory are allowed" };
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
