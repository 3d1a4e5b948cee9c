import type { ContainerOptions, MountOption, ResourceOptions } from "@bantubox/core";
import type { Flags, ParsedFlags } from "./command.ts";
import { processFlags, resourceFlags } from "./flags.ts";
import { invalid, usageError } from "./usage.ts";
import { environmentOf, labelsOf, parseLabel } from "./values/env.ts";
import { parseMount, parseTmpfs, parseVolume } from "./values/mount.ts";
import { parseSize } from "./values/size.ts";
import { parseTimeout } from "./values/time.ts";
import { parseUlimit } from "./values/ulimit.ts";

/** What `run` and `create` have in common. */
export const containerFlags = {
  name: { type: "string", value: "NAME", description: "Name of the container" },
  hostname: { type: "string", short: "h", value: "NAME", description: "Host name inside (default: the short ID)" },
  interactive: processFlags.interactive,
  tty: processFlags.tty,
  rm: { type: "boolean", description: "Remove the container when it ends" },
  env: processFlags.env,
  "env-file": processFlags["env-file"],
  workdir: processFlags.workdir,
  user: processFlags.user,
  entrypoint: {
    type: "string",
    value: "COMMAND",
    mayBeEmpty: true,
    description: 'Run this instead of the image\'s entrypoint; "" for none',
  },
  init: { type: "boolean", description: "Run a tiny init as PID 1, which forwards signals and reaps" },
  volume: {
    type: "list",
    short: "v",
    value: "SOURCE:TARGET[:ro]",
    parse: parseVolume,
    description: "Mount a directory of the host or a volume",
  },
  mount: {
    type: "list",
    value: "type=TYPE,…",
    parse: parseMount,
    description: "Mount a bind, volume or tmpfs, field by field",
  },
  tmpfs: { type: "list", value: "DIR[:OPTIONS]", parse: parseTmpfs, description: "Mount a tmpfs" },
  "read-only": { type: "boolean", description: "Make the root read-only" },
  "rootfs-rw": {
    type: "boolean",
    description: "Write through to a root directory (./dir) instead of a layer above it",
  },
  "storage-opt": {
    type: "list",
    value: "size=BYTES",
    parse: parseStorageOption,
    description: "By how much its root can grow, where the storage driver can limit it",
  },
  "shm-size": { type: "string", value: "BYTES", parse: parseSize, description: "Size of /dev/shm (default: 64m)" },
  network: {
    type: "string",
    aliases: ["net"],
    value: "NETWORK",
    description: "bridge (default), none, host or container:ID",
  },
  ...resourceFlags,
  ulimit: {
    type: "list",
    value: "NAME=SOFT[:HARD]",
    parse: parseUlimit,
    description: "Resource limit, such as nofile=1024:2048",
  },
  "cap-add": { type: "list", value: "CAPABILITY", description: "Add a capability, or ALL" },
  "cap-drop": { type: "list", value: "CAPABILITY", description: "Drop a capability, or ALL" },
  "security-opt": {
    type: "list",
    value: "OPTION",
    description: "no-new-privileges, seccomp=FILE|unconfined, apparmor=NAME",
  },
  privileged: processFlags.privileged,
  label: { type: "list", short: "l", value: "NAME=VALUE", parse: parseLabel, description: "Set a label" },
  "label-file": { type: "list", value: "FILE", description: "Set the labels that a file lists" },
  pull: {
    type: "string",
    value: "missing|always|never",
    parse: parsePull,
    description: "When to pull the image (default: missing)",
  },
  platform: { type: "string", value: "OS/ARCH", description: "Platform to pull, such as linux/arm64" },
  "stop-signal": { type: "string", value: "SIGNAL", description: "Signal that stops the container" },
  "stop-timeout": {
    type: "string",
    value: "SECONDS",
    parse: parseTimeout,
    description: "How long stop waits before it kills",
  },
  cidfile: { type: "string", value: "FILE", mayBeEmpty: true, description: "Write the ID to a new file" },
  quiet: { type: "boolean", short: "q", description: "Show no progress of a pull" },
} as const satisfies Flags;

type Filled<T> = { -readonly [K in keyof T]: T[K] };

/** What the engine wants to know, from what was parsed. */
export function containerOptions(
  flags: ParsedFlags<typeof containerFlags>,
  [image = "", ...command]: readonly string[],
): ContainerOptions {
  if (image === "") throw usageError("Cannot run an image: its name is empty");
  const options: Filled<ContainerOptions> = { image, command };
  if (flags.name !== undefined) options.name = flags.name;
  if (flags.hostname !== undefined) options.hostname = flags.hostname;
  if (flags.interactive) options.interactive = true;
  if (flags.tty) options.tty = true;
  if (flags.rm) options.autoRemove = true;
  if (flags.env || flags["env-file"]) options.env = environmentOf(flags["env-file"], flags.env);
  if (flags.workdir !== undefined) options.workdir = flags.workdir;
  if (flags.user !== undefined) options.user = flags.user;
  if (flags.entrypoint !== undefined) options.entrypoint = flags.entrypoint === "" ? [] : [flags.entrypoint];
  if (flags.init) options.init = true;
  const mounts = [...(flags.volume ?? []), ...(flags.mount ?? []), ...(flags.tmpfs ?? [])];
  if (mounts.length > 0) options.mounts = checkMounts(mounts);
  if (flags["read-only"]) options.readOnly = true;
  if (flags["rootfs-rw"]) options.rootfsRw = true;
  for (const size of flags["storage-opt"] ?? []) options.storageSizeBytes = size;
  if (flags["shm-size"]) options.shmSizeBytes = flags["shm-size"];
  if (flags.network !== undefined) options.network = flags.network;
  const resources = resourceOptions(flags);
  if (resources !== undefined) options.resources = resources;
  if (flags.ulimit) options.ulimits = flags.ulimit;
  if (flags["cap-add"]) options.capAdd = flags["cap-add"];
  if (flags["cap-drop"]) options.capDrop = flags["cap-drop"];
  if (flags["security-opt"]) options.securityOpt = flags["security-opt"];
  if (flags.privileged) options.privileged = true;
  if (flags.label || flags["label-file"]) options.labels = labelsOf(flags["label-file"], flags.label);
  if (flags.pull !== undefined) options.pull = flags.pull;
  if (flags.platform !== undefined) options.platform = flags.platform;
  if (flags["stop-signal"] !== undefined) options.stopSignal = flags["stop-signal"];
  if (flags["stop-timeout"] !== undefined) options.stopTimeoutSec = flags["stop-timeout"];
  if (flags.cidfile !== undefined) options.cidfile = cidfile(flags.cidfile);
  return options;
}

function resourceOptions(flags: ParsedFlags<typeof resourceFlags>): ResourceOptions | undefined {
  const memoryBytes = flags.memory || undefined;
  const swap = flags["memory-swap"] || undefined;
  if (swap !== undefined && memoryBytes === undefined) {
    throw usageError("Cannot limit swap: --memory-swap needs --memory", "It is the limit of memory and swap together");
  }
  if (swap !== undefined && swap !== -1 && memoryBytes !== undefined && swap < memoryBytes) {
    throw usageError(
      "Cannot limit swap: --memory-swap is below --memory",
      "It is the limit of memory and swap together",
    );
  }
  const resources: Filled<ResourceOptions> = {};
  if (memoryBytes !== undefined) resources.memoryBytes = memoryBytes;
  if (swap !== undefined) resources.memorySwapBytes = swap;
  if (flags["memory-reservation"]) resources.memoryReservationBytes = flags["memory-reservation"];
  if (flags.cpus) resources.cpus = flags.cpus;
  if (flags["cpu-shares"] !== undefined) resources.cpuShares = flags["cpu-shares"];
  if (flags["cpuset-cpus"] !== undefined) resources.cpusetCpus = flags["cpuset-cpus"];
  if (flags["cpuset-mems"] !== undefined) resources.cpusetMems = flags["cpuset-mems"];
  if (flags["pids-limit"] !== undefined) resources.pidsLimit = flags["pids-limit"];
  for (const _ in resources) return resources;
  return undefined;
}

function checkMounts(mounts: readonly MountOption[]): readonly MountOption[] {
  const targets = new Set<string>();
  for (const { target } of mounts) {
    const clean = target.replace(/\/+/g, "/").replace(/(?<=.)\/$/, "");
    if (targets.has(clean)) throw usageError(`Cannot mount on ${JSON.stringify(clean)}: two mounts go there`);
    targets.add(clean);
  }
  return mounts;
}

function parseStorageOption(text: string, label: string): number {
  const [, size] = /^size=(.*)$/.exec(text) ?? [];
  if (size === undefined) throw invalid(text, label, 'it is not "size=" and a size', 'Write "--storage-opt size=1g"');
  const bytes = parseSize(size, label);
  if (bytes === 0) throw invalid(text, label, "nothing fits into no bytes");
  return bytes;
}

function parsePull(text: string, label: string): "missing" | "always" | "never" {
  if (text === "") return "missing";
  if (text === "missing" || text === "always" || text === "never") return text;
  throw invalid(text, label, "it is neither missing, always nor never");
}

function cidfile(path: string): string {
  if (path === "") throw usageError("Cannot write the container's ID: the name of --cidfile is empty");
  return path.startsWith("/") ? path : `${process.cwd()}/${path}`;
}
