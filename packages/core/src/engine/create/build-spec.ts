import { type CgroupHost, hasSwapLimit, type LinuxResources } from "@bantubox/cgroup";
import { allocate, BoxError, call, existsSync, nodeFs, RLIMIT } from "@bantubox/ffi";
import type { RunConfig } from "@bantubox/image";
import { ensureAppArmorProfile, requireAppArmorProfile } from "../../runtime/apparmor.ts";
import { MASKED_PATHS, READONLY_PATHS, thermalThrottlePaths } from "../../runtime/masks.ts";
import type { Device, Mount, Rlimit, Spec } from "../../runtime/spec.ts";
import {
  CPU_PERIOD_US,
  DEFAULT_PATH,
  DEFAULT_PIDS_LIMIT,
  DEFAULT_SHM_BYTES,
  DEVICE_RULES,
  defaultMounts,
  NAMESPACES,
  NOFILE,
} from "./defaults.ts";
import { hostHostname } from "./hostname.ts";
import type { ContainerOptions, ResourceOptions, UlimitOption } from "./options.ts";
import { parseSecurityOptions, processCapabilities, readSeccompProfile, SECCOMP_ANNOTATION } from "./security.ts";
import type { Identity } from "./users.ts";

/** What the engine has settled before config.json can be written. */
export interface SpecParts {
  readonly id: string;
  readonly options: ContainerOptions;
  readonly config: RunConfig;
  readonly identity: Identity;
  readonly hostname: string;
  /** `none`, `host`, `bridge` or `container:<id>`. */
  readonly network: string;
  /** Binds, volumes and tmpfs of the user, and the files that the engine writes. */
  readonly mounts: readonly Mount[];
  readonly cgroupHost: CgroupHost;
  readonly cgroupsPath: string;
  readonly maskedPaths: readonly string[];
}

/** Writes the config.json of a container: Docker's defaults, the image's wishes, the user's options. */
export async function buildSpec(parts: SpecParts): Promise<Spec> {
  const { options, config, identity } = parts;
  const security = parseSecurityOptions(options);
  const capabilities = processCapabilities(options, identity.user);
  const isPrivileged = options.privileged === true;
  const seccomp =
    typeof security.seccomp === "object" ? await readSeccompProfile(security.seccomp.file, capabilities) : undefined;
  const apparmor = appArmor(security.apparmor);
  const network = parts.network;
  return {
    ociVersion: "1.2.0",
    process: {
      terminal: options.tty === true,
      user: identity.user,
      args: commandOf(options, config),
      env: environmentOf(parts),
      cwd: workdirOf(options, config),
      capabilities,
      rlimits: rlimitsOf(options.ulimits ?? []),
      noNewPrivileges: security.noNewPrivileges,
      oomScoreAdj: 0,
      ...(apparmor === undefined ? {} : { apparmorProfile: apparmor }),
    },
    root: { path: "rootfs", readonly: options.readOnly === true },
    hostname: parts.hostname,
    mounts: [...defaultMounts(options.shmSizeBytes ?? DEFAULT_SHM_BYTES, isPrivileged), ...parts.mounts],
    annotations: security.seccomp === "default" ? { [SECCOMP_ANNOTATION]: "default" } : {},
    linux: {
      namespaces: namespacesOf(network),
      cgroupsPath: parts.cgroupsPath,
      resources: resourcesOf(options.resources ?? {}, isPrivileged, parts.cgroupHost),
      ...(seccomp === undefined ? {} : { seccomp }),
      ...(isPrivileged ? { devices: hostDevices() } : {}),
      maskedPaths: isPrivileged ? [] : [...MASKED_PATHS, ...thermalThrottlePaths(), ...parts.maskedPaths],
      readonlyPaths: isPrivileged ? [] : READONLY_PATHS,
      sysctl:
        network === "host" || network.startsWith("container:")
          ? {}
          : { "net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647" },
    },
  };
}

/** Entrypoint and command as Docker chooses them: an entrypoint of the user's drops the image's Cmd. */
export function entrypointAndCommand(
  options: ContainerOptions,
  config: RunConfig,
): { entrypoint: readonly string[]; command: readonly string[] } {
  const isOwn = options.command.length > 0 || options.entrypoint !== undefined;
  return { entrypoint: options.entrypoint ?? config.entrypoint, command: isOwn ? options.command : config.cmd };
}

function commandOf(options: ContainerOptions, config: RunConfig): string[] {
  const { entrypoint, command } = entrypointAndCommand(options, config);
  const args = [...entrypoint, ...command];
  if (args.length > 0) return args;
  throw new BoxError("no-command", `Cannot run "${options.image}": it has no command of its own, and none was given`, {
    hint: `Name one after it: bb run ${options.image} COMMAND`,
  });
}

/** Without a HOME: what has none gets its user's, as the container has it when the process starts. */
function environmentOf({ options, config, hostname }: SpecParts): string[] {
  const values = new Map<string, string>();
  values.set("PATH", DEFAULT_PATH);
  values.set("HOSTNAME", hostname);
  if (options.tty) values.set("TERM", "xterm");
  for (const entry of [...config.env, ...(options.env ?? [])]) {
    const separator = entry.indexOf("=");
    if (separator < 1)
      throw new BoxError("bad-env", `Cannot set the variable ${JSON.stringify(entry)}: it is not NAME=value`);
    values.set(entry.slice(0, separator), entry.slice(separator + 1));
  }
  return Array.from(values, ([name, value]) => `${name}=${value}`);
}

function workdirOf(options: ContainerOptions, config: RunConfig): string {
  const path = options.workdir ?? (config.workdir === "" ? "/" : config.workdir);
  // An image's relative WorkingDir counts from the root; a user's is a mistake.
  if (path.startsWith("/")) return path;
  if (options.workdir === undefined) return `/${path}`;
  throw new BoxError(
    "bad-workdir",
    `Cannot use the working directory ${JSON.stringify(path)}: it is not an absolute path`,
  );
}

function namespacesOf(network: string): Spec["linux"]["namespaces"] {
  const types = [...NAMESPACES];
  if (network !== "host") types.push("network");
  if (hasTimeNamespace()) types.push("time");
  return types.map((type) => ({ type }));
}

function hasTimeNamespace(): boolean {
  return existsSync("/proc/self/ns/time");
}

/** The profile's name, or undefined where the process is not confined by one. */
function appArmor(asked: string | undefined): string | undefined {
  if (asked === undefined) return ensureAppArmorProfile().profile;
  requireAppArmorProfile(asked);
  return asked === "unconfined" ? undefined : asked;
}

/** Limits of a process. What this process may not raise itself, a default does not ask for. */
function rlimitsOf(ulimits: readonly UlimitOption[]): Rlimit[] {
  const limits: Rlimit[] = [];
  if (!ulimits.some(({ name }) => name === "nofile")) {
    const hard = Math.min(NOFILE.hard, hostHardLimit(RLIMIT.NOFILE));
    limits.push({ type: "RLIMIT_NOFILE", soft: Math.min(NOFILE.soft, hard), hard });
  }
  // Of one that is given twice the last counts: config.json may have it only once.
  const last = new Map(ulimits.map((limit) => [limit.name, limit]));
  for (const { name, soft, hard } of last.values()) limits.push({ type: `RLIMIT_${name.toUpperCase()}`, soft, hard });
  return limits;
}

function hostHardLimit(resource: number): number {
  const limit = allocate(16);
  call("prlimit64", undefined, 0, resource, null, limit);
  const value = new DataView(limit.buffer).getBigUint64(8, true);
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value);
}

function resourcesOf(options: ResourceOptions, isPrivileged: boolean, host: CgroupHost): LinuxResources {
  const { memoryBytes, memorySwapBytes, memoryReservationBytes, cpus } = options;
  // Docker's rule: memory alone limits memory and swap together to twice as much, where swap is counted.
  const swap = memorySwapBytes ?? (memoryBytes !== undefined && hasSwapLimit(host) ? memoryBytes * 2 : undefined);
  return {
    devices: isPrivileged ? [{ allow: true, access: "rwm" }] : DEVICE_RULES,
    pids: { limit: options.pidsLimit ?? DEFAULT_PIDS_LIMIT },
    ...(memoryBytes === undefined && memoryReservationBytes === undefined
      ? {}
      : { memory: { limit: memoryBytes, swap, reservation: memoryReservationBytes } }),
    ...(cpus === undefined &&
    options.cpuShares === undefined &&
    options.cpusetCpus === undefined &&
    options.cpusetMems === undefined
      ? {}
      : {
          cpu: {
            shares: options.cpuShares,
            quota: cpus === undefined ? undefined : Math.round(cpus * CPU_PERIOD_US),
            period: cpus === undefined ? undefined : CPU_PERIOD_US,
            cpus: options.cpusetCpus,
            mems: options.cpusetMems,
          },
        }),
  };
}

/** --privileged: the host's own devices, but for its terminals and what every container has anyway. */
function hostDevices(): Device[] {
  const { readdirSync, statSync } = nodeFs();
  const devices: Device[] = [];
  const directories = ["/dev"];
  // By hand: Bun's recursive walk follows links, and those of /dev/fd lead everywhere.
  for (const directory of directories) {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = `${directory}/${entry.name}`;
      if (/^\/dev\/(pts|shm|mqueue|console|ptmx|tty)$/.test(path)) continue;
      if (entry.isDirectory()) directories.push(path);
      if (!entry.isCharacterDevice() && !entry.isBlockDevice()) continue;
      const stat = statSync(path, { throwIfNoEntry: false });
      if (stat === undefined) continue;
      const major = (stat.rdev >>> 8) & 0xfff;
      const minor = (stat.rdev & 0xff) | ((stat.rdev >>> 12) & 0xfff00);
      const type = entry.isBlockDevice() ? "b" : "c";
      devices.push({ type, path, major, minor, fileMode: stat.mode & 0o777, uid: stat.uid, gid: stat.gid });
    }
  }
  return devices;
}

/** What a container is called on its network: the host's name where they share one. */
export function hostnameOf({ hostname, network }: ContainerOptions, id: string): string {
  if (hostname !== undefined) {
    // What the kernel takes, but for what would not be a word of /etc/hosts.
    if (/^[a-zA-Z0-9_.-]{1,64}$/.test(hostname)) return hostname;
    throw new BoxError("bad-hostname", `Cannot use the hostname ${JSON.stringify(hostname)}: it is not a valid one`, {
      hint: "Use at most 64 letters, digits, '_', '-' and '.'",
    });
  }
  return network === "host" ? hostHostname() : id.slice(0, 12);
}
