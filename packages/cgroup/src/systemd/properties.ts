import { BoxError } from "@bantubox/ffi";
import { ACCESS, type DeviceMatch, parseDevices } from "../devices.ts";
import { type CpuResources, type LinuxResources, type MemoryResources, parseList } from "../resources.ts";
import { weightOfShares } from "../v2/cpu.ts";

/** A property of a unit: `values` in the order of its D-Bus `signature`, an array's length before its items. */
export interface UnitProperty {
  readonly name: string;
  readonly signature: string;
  readonly values: readonly (string | number)[];
}

/** systemd's word for no limit: the largest number of 64 bits. */
const INFINITY = "18446744073709551615";
const DEFAULT_PERIOD_US = 100_000;
/** systemd keeps CPU time in hundredths of a CPU. */
const CPU_STEP_US = 10_000;

/**
 * What systemd has to know of a group's limits. It writes its own idea of them whenever it is reloaded, so what
 * it is not told of would then be gone.
 *
 * @param resources Checked ones. What systemd has no property for is left out, and is the group's files' alone.
 * @see https://www.freedesktop.org/software/systemd/man/latest/systemd.resource-control.html
 */
export function limitProperties({ memory, cpu, pids, unified }: LinuxResources): UnitProperty[] {
  const properties = [...memoryProperties(memory ?? {}), ...cpuProperties(cpu ?? {})];
  if (pids?.limit) properties.push(number("TasksMax", pids.limit < 0 ? INFINITY : pids.limit));
  for (const [file, value] of Object.entries(unified ?? {})) properties.push(...unifiedProperties(file, value));
  return properties;
}

/**
 * The devices of a group. Our own program in the kernel decides exactly; systemd's stands beside it, and a device
 * must pass both: so it allows what any rule allows.
 *
 * @param devices /proc/devices: systemd knows a whole major number by the name that it has there.
 */
export function deviceProperties(rules: LinuxResources["devices"], devices: string): UnitProperty[] {
  const policy = parseDevices(rules ?? []);
  if (rules === undefined || rules.length === 0 || policy.allowed) return [];
  const allowed = policy.rules.filter(({ allow }) => allow).flatMap((rule) => deviceEntry(rule, devices));
  return [
    text("DevicePolicy", "strict"),
    { name: "DeviceAllow", signature: "a(ss)", values: [allowed.length, ...allowed.flat()] },
  ];
}

const PROPERTY_PREFIX = "org.systemd.property.";

/**
 * Properties that a container's annotations ask for: `org.systemd.property.NAME`, in GVariant's text. Times in
 * seconds (`…Sec`) become the µs that D-Bus has (`…USec`).
 *
 * @throws {BoxError} `invalid-property`
 */
export function annotatedProperties(annotations: Readonly<Record<string, string>> = {}): UnitProperty[] {
  return Object.entries(annotations)
    .filter(([key]) => key.startsWith(PROPERTY_PREFIX))
    .map(([key, value]) => annotated(key, value));
}

export function text(name: string, value: string): UnitProperty {
  return { name, signature: "s", values: [value] };
}

export function flag(name: string, value: boolean): UnitProperty {
  return { name, signature: "b", values: [String(value)] };
}

function number(name: string, value: number | string): UnitProperty {
  return { name, signature: "t", values: [value] };
}

function memoryProperties({ limit, swap, reservation }: MemoryResources): UnitProperty[] {
  const properties: UnitProperty[] = [];
  if (limit) properties.push(number("MemoryMax", bytes(limit)));
  // systemd counts swap apart, as v2 does.
  if (swap) properties.push(number("MemorySwapMax", swap === -1 ? INFINITY : Math.max(0, swap - (limit ?? 0))));
  if (reservation) properties.push(number("MemoryLow", bytes(reservation)));
  return properties;
}

function bytes(limit: number): number | string {
  return limit === -1 ? INFINITY : limit;
}

function cpuProperties({ shares, quota, period, cpus, mems }: CpuResources): UnitProperty[] {
  const properties: UnitProperty[] = [];
  if (shares) properties.push(number("CPUWeight", weightOfShares(shares)));
  if (period) properties.push(number("CPUQuotaPeriodUSec", period));
  if (quota) properties.push(number("CPUQuotaPerSecUSec", quota === -1 ? INFINITY : perSecond(quota, period)));
  if (cpus) properties.push(mask("AllowedCPUs", cpus));
  if (mems) properties.push(mask("AllowedMemoryNodes", mems));
  return properties;
}

/** µs of CPU time a second, rounded up: less than was asked for would be too little. */
function perSecond(quota: number, period = DEFAULT_PERIOD_US): number {
  return Math.ceil((quota * 1_000_000) / period / CPU_STEP_US) * CPU_STEP_US;
}

/** A list of numbers as a bit mask, its lowest byte first. */
function mask(name: string, list: string): UnitProperty {
  const numbers = [...parseList(name, list)];
  const octets = new Uint8Array(Math.floor(Math.max(...numbers) / 8) + 1);
  for (const bit of numbers) octets[bit >> 3] = (octets[bit >> 3] ?? 0) | (1 << (bit & 7));
  return { name, signature: "ay", values: [octets.length, ...octets] };
}

const BYTES_OF_FILE: Readonly<Record<string, string>> = {
  "memory.max": "MemoryMax",
  "memory.high": "MemoryHigh",
  "memory.low": "MemoryLow",
  "memory.min": "MemoryMin",
  "memory.swap.max": "MemorySwapMax",
  "pids.max": "TasksMax",
};

/** Files of v2 that systemd has a property for. */
function unifiedProperties(file: string, value: string): UnitProperty[] {
  const [first = "", second] = value.trim().split(/\s+/);
  const name = BYTES_OF_FILE[file];
  if (name !== undefined) return /^(max|\d+)$/.test(first) ? [number(name, first === "max" ? INFINITY : first)] : [];
  if (file === "cpu.weight") return [number("CPUWeight", first)];
  if (file === "cpu.max") {
    const quota = first === "max" ? -1 : Number(first);
    return cpuProperties({ quota, period: second === undefined ? undefined : Number(second) });
  }
  if (file === "cpuset.cpus") return [mask("AllowedCPUs", value.trim())];
  if (file === "cpuset.mems") return [mask("AllowedMemoryNodes", value.trim())];
  return [];
}

/** `path`, `rights`: one item of DeviceAllow, or none when nobody has registered that major number. */
function deviceEntry({ type, major, minor, access }: DeviceMatch, devices: string): [string, string][] {
  const kind = type === "b" ? "block" : "char";
  const rights = `${access & ACCESS.read ? "r" : ""}${access & ACCESS.write ? "w" : ""}${access & ACCESS.mknod ? "m" : ""}`;
  if (major === -1) return [[`${kind}-*`, rights]];
  if (minor !== -1) return [[`/dev/${kind}/${major}:${minor}`, rights]];
  const [characters = "", blocks = ""] = devices.split("Block devices:");
  const section = type === "b" ? blocks : characters;
  const names = section.matchAll(/^ *(\d+) (.+)$/gm).filter(([, found]) => Number(found) === major);
  return [...names].map(([, , name = ""]) => [`${kind}-${name}`, rights]);
}

/** GVariant's numbers, by the word before them; without one it is an int32. */
const NUMBER_TYPES: Readonly<Record<string, string>> = { int32: "i", uint32: "u", int64: "x", uint64: "t" };

function annotated(key: string, value: string): UnitProperty {
  const name = key.slice(PROPERTY_PREFIX.length);
  const refuse = (why: string): BoxError =>
    new BoxError("invalid-property", `Cannot set systemd's property of annotation ${JSON.stringify(key)}: ${why}`);
  if (!/^[A-Z][A-Za-z]+$/.test(name)) throw refuse("it is no property's name");
  const [, type = "int32", digits] = /^(?:(u?int(?:32|64)) )?(-?\d+)$/.exec(value) ?? [];
  const seconds = /^(.+[a-z])Sec$/.exec(name)?.[1];
  if (digits !== undefined && seconds !== undefined) {
    return number(`${seconds}USec`, String(BigInt(digits) * 1_000_000n));
  }
  if (digits !== undefined) return { name, signature: NUMBER_TYPES[type] ?? "i", values: [digits] };
  if (value === "true" || value === "false") return flag(name, value === "true");
  const quoted = /^(["'])([^"'\\]*)\1$/.exec(value)?.[2];
  if (quoted !== undefined) return text(name, quoted);
  throw refuse(`${JSON.stringify(value)} is no number, text or boolean of GVariant`);
}
