import { BoxError, existsSync } from "@bantubox/ffi";
import { type DeviceRule, parseDevices } from "./devices.ts";
import { readControl, type Write } from "./file.ts";
import { type CgroupHost, type ControllerPlace, words } from "./hierarchy.ts";
import { parseCount, parseLimit } from "./keyed.ts";
import { groupDirs, pathParts } from "./path.ts";
import { limitPids } from "./pids.ts";
import {
  type BlockIoResources,
  type CpuResources,
  checkResources,
  type HugepageLimit,
  type LinuxResources,
  type MemoryResources,
  type NetworkResources,
  parseList,
  type RdmaLimit,
} from "./resources.ts";
import { oomEventsFile } from "./stats.ts";
import { limitBlockIo as limitBlockIoV1 } from "./v1/blkio.ts";
import { limitCpu as limitCpuV1 } from "./v1/cpu.ts";
import { fillCpuset, limitCpuset } from "./v1/cpuset.ts";
import { limitDevices } from "./v1/devices.ts";
import { limitMemory as limitMemoryV1, readSwapLimit, SWAP_FILE as SWAP_FILE_V1 } from "./v1/memory.ts";
import { limitCpu as limitCpuV2 } from "./v2/cpu.ts";
import { compileDevices } from "./v2/devices.ts";
import { limitBlockIo as limitBlockIoV2 } from "./v2/io.ts";
import { limitMemory as limitMemoryV2, SWAP_FILE as SWAP_FILE_V2 } from "./v2/memory.ts";

/**
 * Everything that has to be done for a group, as data: whoever carries it out decides nothing.
 *
 * Order: `directories`, `writes`, the device program, then the process joins
 * (or is born in `intoDirectory`, which replaces v2's join).
 */
export interface CgroupPlan {
  readonly path: string;
  /** To be made in this order; one that exists already is fine. */
  readonly directories: readonly string[];
  /** To be written in this order, each in one write(2). */
  readonly writes: readonly Write[];
  /** Files into which a process that has one thread writes `0` to move itself: one for each hierarchy. */
  readonly joins: readonly string[];
  /** v2's directory, for CLONE_INTO_CGROUP. */
  readonly intoDirectory: string | undefined;
  /** eBPF instructions to load as BPF_PROG_TYPE_CGROUP_DEVICE and to attach to `intoDirectory`. */
  readonly deviceProgram: Uint8Array<ArrayBuffer> | undefined;
  /** To be removed in this order when nobody is inside any more. Parents are shared, and stay. */
  readonly remove: readonly string[];
  /** The file that holds the line `oom_kill N`. */
  readonly oomEvents: string | undefined;
}

/** v2 controllers that statistics and OOM reports need, enabled also without a limit where they can be. */
const COUNTING = ["memory", "pids", "io"];

/** What the steps of one plan share. */
interface Draft {
  readonly host: CgroupHost;
  readonly path: string;
  readonly writes: Write[];
  /** v2 controllers that limits need, with a limit that needs it. */
  readonly needed: Map<string, string>;
}

/** Of a group that exists. */
interface Update {
  /** v1's memory and swap together, as they are limited now. */
  readonly swapLimit: number | undefined;
}

/**
 * Decides how to make the group `path` and hold it to `resources`. Makes nothing yet.
 *
 * @param options.isGiven Somebody else makes v2's directory, hands its controllers down, and removes it: systemd.
 * @param options.isWhole v2's group gets all controllers that it can have, not only those that it is held to: who makes
 * groups of its own inside may want them.
 * @param path Relative, such as `bantubox/<id>`: where the caller's own group is does not matter.
 * @throws {BoxError} `cgroup-unavailable` for a limit that this host cannot give, `invalid-resources` for
 * one that no host could, `invalid-cgroup-path`.
 */
export function planCgroup(
  host: CgroupHost,
  path: string,
  resources: LinuxResources,
  { isGiven = false, isWhole = false }: { readonly isGiven?: boolean; readonly isWhole?: boolean } = {},
): CgroupPlan {
  const parts = pathParts(path);
  const draft: Draft = { host, path, writes: [], needed: new Map() };
  const cpuset = host.controllers.get("cpuset");
  addLimits(draft, resources);
  if (cpuset?.version === 1) draft.writes.unshift(...fillCpuset(cpuset.mount, parts, resources.cpu ?? {}));
  const deviceProgram = addDevices(draft, resources.devices ?? []);
  // A controller's files appear when its parent hands it down: first of all, then.
  if (!isGiven)
    draft.writes.unshift(...enableControllers(draft, parts), ...(isWhole ? wishControllers(draft, parts) : []));

  const directories: string[] = [];
  const ours = isGiven ? host.hierarchies.filter(({ version }) => version === 1) : host.hierarchies;
  for (const { mount } of ours) for (const part of parts) directories.push(`${mount}/${part}`);
  const groups = groupDirs(host, path);
  // v2 first: killing the group there reaches whoever is anywhere.
  const joined = host.unified === undefined ? groups : [`${host.unified}/${path}`, ...groups];
  return {
    path,
    directories,
    writes: draft.writes,
    joins: [...new Set(joined)].map((dir) => joinFile(host, dir)),
    intoDirectory: host.unified && `${host.unified}/${path}`,
    deviceProgram,
    remove: isGiven ? ours.map(({ mount }) => `${mount}/${path}`) : groups,
    oomEvents: oomEventsFile(host, path),
  };
}

/**
 * The file of a group that a process with one thread writes `0` into, to move itself.
 *
 * v1 has `tasks` beside `cgroup.procs`: a single thread that moves itself is all that needs no lock
 * over every fork and exit of the machine, which costs up to 20 ms when nobody had it lately.
 */
function joinFile({ unified }: CgroupHost, dir: string): string {
  return unified !== undefined && dir.startsWith(`${unified}/`) ? `${dir}/cgroup.procs` : `${dir}/tasks`;
}

/**
 * The writes that change the limits of a group that exists; what `resources` does not name stays.
 *
 * @throws {BoxError} As `planCgroup`.
 */
export function planUpdate(host: CgroupHost, path: string, resources: Omit<LinuxResources, "devices">): Write[] {
  const draft: Draft = { host, path, writes: [], needed: new Map() };
  const parts = pathParts(path);
  const cpuset = host.controllers.get("cpuset");
  const memory = host.controllers.get("memory");
  const swapLimit = memory?.version === 1 ? readSwapLimit(`${memory.mount}/${path}`) : undefined;
  addLimits(draft, resources, { swapLimit });
  if (cpuset?.version === 1) draft.writes.push(...limitCpuset(`${cpuset.mount}/${path}`, resources.cpu ?? {}));
  return [...enableControllers(draft, parts), ...draft.writes];
}

/** Whether a memory limit can include swap here: only then does Docker limit both to twice the memory. */
export function hasSwapLimit(host: CgroupHost): boolean {
  const place = host.controllers.get("memory");
  if (place === undefined) return false;
  if (place.version === 1) return existsSync(`${place.mount}/${SWAP_FILE_V1}`);
  // v2's topmost group has no limits to look at; a kernel without swap has neither this nor those.
  return existsSync("/proc/swaps");
}

function addLimits(draft: Draft, resources: LinuxResources, update?: Update): void {
  checkResources(resources, update !== undefined);
  const { writes } = draft;
  const { memory, cpu, pids, blockIO, hugepageLimits, network, rdma, unified } = resources;
  if (memory !== undefined) addMemory(draft, memory, update);
  if (cpu !== undefined) addCpu(draft, cpu, update !== undefined);
  if (pids?.limit) writes.push(limitPids(`${need(draft, "pids", "processes").mount}/${draft.path}`, pids.limit));
  if (blockIO !== undefined && Object.values(blockIO).some(isSet)) addBlockIo(draft, blockIO);
  for (const limit of hugepageLimits ?? []) addHugepages(draft, limit);
  if (network !== undefined) addNetwork(draft, network);
  for (const device in rdma) addRdma(draft, device, rdma[device] ?? {});
  for (const file in unified) addUnified(draft, file, unified[file] ?? "");
}

function isSet(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : Boolean(value);
}

function addMemory(draft: Draft, memory: MemoryResources, update: Update | undefined): void {
  const { host, path, writes } = draft;
  const { limit, swap, reservation, kernelTCP, swappiness, disableOOMKiller } = memory;
  const only1 = kernelTCP || swappiness !== undefined || disableOOMKiller;
  if (!limit && !swap && !reservation && !only1) return;
  const { version, mount } = need(draft, "memory", "memory");
  const dir = `${mount}/${path}`;
  if (swap && !hasSwapLimit(host)) {
    const file = version === 1 ? SWAP_FILE_V1 : SWAP_FILE_V2;
    throw unavailable("swap", path, `this kernel does not count swap: the cgroup controller "memory" has no "${file}"`);
  }
  if (version === 2) {
    if (only1) {
      const what = kernelTCP ? "kernelTCP" : disableOOMKiller ? "disableOOMKiller" : "swappiness";
      throw unavailable(`memory.${what}`, path, "v2 of cgroups has nothing like it");
    }
    if (update !== undefined && memory.checkBeforeUpdate) checkUsage(dir, limit);
    const known = limit || (update === undefined ? undefined : parseLimit(readControl(`${dir}/memory.max`)));
    // Both together have no limit without one of memory, as v1 has it; v2 would keep the one of swap, where it counts it.
    const frees = update !== undefined && limit === -1 && !swap && existsSync(`${dir}/${SWAP_FILE_V2}`);
    writes.push(...limitMemoryV2(dir, frees ? { ...memory, swap: -1 } : memory, known || undefined));
    return;
  }
  writes.push(...limitMemoryV1(dir, memory, update?.swapLimit));
  // Before Linux 5.11 a v1 group below ours would not count here unless asked for.
  if (readControl(`${mount}/memory.use_hierarchy`) === "0") {
    writes.unshift({ path: `${dir}/memory.use_hierarchy`, value: "1" });
  }
}

/** v1 refuses a limit below what is in use; v2 would kill for it. */
function checkUsage(dir: string, limit: number | undefined): void {
  const usage = parseCount(readControl(`${dir}/memory.current`)) ?? 0;
  if (!limit || limit === -1 || limit >= usage) return;
  throw new BoxError("cgroup-busy", `Cannot limit memory to ${limit} bytes: ${usage} are in use`);
}

function addCpu(draft: Draft, cpu: CpuResources, isUpdate: boolean): void {
  const { path, writes } = draft;
  const { shares, quota, period, burst, idle, realtimePeriod, realtimeRuntime } = cpu;
  const hasTime = quota || period || burst;
  const hasRealTime = realtimePeriod || realtimeRuntime;
  // A new group has these; one that is there may have others.
  const resets = isUpdate && (burst === 0 || idle === 0);
  if (shares || hasTime || idle || hasRealTime || resets) {
    const { version, mount } = need(draft, "cpu", hasTime || hasRealTime ? "CPU time" : "CPU shares");
    if (version === 1 && hasTime && !existsSync(`${mount}/cpu.cfs_quota_us`)) {
      throw unavailable("CPU time", path, 'the cgroup controller "cpu" of this kernel has no quotas');
    }
    if (hasRealTime && (version === 2 || !existsSync(`${mount}/cpu.rt_runtime_us`))) {
      throw unavailable("real-time CPU", path, 'the cgroup controller "cpu" has no such limit here');
    }
    writes.push(...(version === 1 ? limitCpuV1 : limitCpuV2)(`${mount}/${path}`, cpu));
  }
  if (cpu.cpus) addCpuset(draft, "cpus", cpu.cpus);
  if (cpu.mems) addCpuset(draft, "mems", cpu.mems);
}

/** v1's own writes are made where its empty cpusets are filled; here a list is checked, and v2's written. */
function addCpuset(draft: Draft, what: "cpus" | "mems", list: string): void {
  const { version, mount } = need(draft, "cpuset", what === "cpus" ? "CPUs" : "memory nodes");
  const existing = readControl(`${mount}/cpuset.${what}${version === 1 ? "" : ".effective"}`);
  if (existing) {
    // v2 would accept any list, and use all when none of it exists.
    const available = parseList(`cpuset.${what}`, existing);
    for (const number of parseList(`cpu.${what}`, list)) {
      if (available.has(number)) continue;
      const state = `this host has ${JSON.stringify(existing)} for the cgroup controller "cpuset"`;
      throw unavailable(`${what === "cpus" ? "CPUs" : "memory nodes"} to ${JSON.stringify(list)}`, draft.path, state);
    }
  }
  if (version === 2) draft.writes.push({ path: `${mount}/${draft.path}/cpuset.${what}`, value: list });
}

function addBlockIo(draft: Draft, blockIO: BlockIoResources): void {
  const isV1 = draft.host.controllers.has("blkio");
  const { mount } = need(draft, isV1 ? "blkio" : "io", "block I/O");
  const writes = (isV1 ? limitBlockIoV1 : limitBlockIoV2)(mount, `${mount}/${draft.path}`, blockIO);
  if (writes === undefined) {
    const state = `the cgroup controller "${isV1 ? "blkio" : "io"}" of this kernel has no such weights`;
    throw unavailable("block I/O", draft.path, state);
  }
  draft.writes.push(...writes);
}

function addHugepages(draft: Draft, { pageSize, limit }: HugepageLimit): void {
  const { version, mount } = need(draft, "hugetlb", "huge pages");
  const factor = { KB: 1, MB: 1024, GB: 1024 * 1024 }[pageSize.slice(-2)] ?? 1;
  if (!existsSync(`/sys/kernel/mm/hugepages/hugepages-${Number.parseInt(pageSize, 10) * factor}kB`)) {
    throw unavailable(`huge pages of ${pageSize}`, draft.path, "this host has no pages of that size");
  }
  const file = `${mount}/${draft.path}/hugetlb.${pageSize}`;
  const end = version === 1 ? "limit_in_bytes" : "max";
  const value = limit === -1 && version === 2 ? "max" : String(limit);
  // Where reservations are counted too, one is refused before a page is missed (Linux 5.7).
  draft.writes.push({ path: `${file}.${end}`, value }, { path: `${file}.rsvd.${end}`, value, isOptional: true });
}

function addNetwork(draft: Draft, { classID, priorities = [] }: NetworkResources): void {
  if (classID) {
    const { mount } = need(draft, "net_cls", "the class of network packets");
    draft.writes.push({ path: `${mount}/${draft.path}/net_cls.classid`, value: String(classID) });
  }
  for (const { name, priority } of priorities) {
    const { mount } = need(draft, "net_prio", "the priority of network packets");
    draft.writes.push({ path: `${mount}/${draft.path}/net_prio.ifpriomap`, value: `${name} ${priority}` });
  }
}

function addRdma(draft: Draft, device: string, { hcaHandles, hcaObjects }: RdmaLimit): void {
  const { mount } = need(draft, "rdma", "RDMA");
  const handles = hcaHandles === undefined ? "" : ` hca_handle=${hcaHandles}`;
  const objects = hcaObjects === undefined ? "" : ` hca_object=${hcaObjects}`;
  draft.writes.push({ path: `${mount}/${draft.path}/rdma.max`, value: `${device}${handles}${objects}` });
}

function addUnified(draft: Draft, file: string, value: string): void {
  const controller = file.slice(0, file.indexOf("."));
  const { unified } = draft.host;
  const place = controller === "cgroup" && unified ? { version: 2, mount: unified } : need(draft, controller, file);
  const { version, mount } = place;
  if (version === 1) {
    throw unavailable(
      file,
      draft.path,
      `invalid configuration: the cgroup controller "${controller}" is a v1 one on this host`,
    );
  }
  for (const line of value.split("\n")) {
    if (line !== "") draft.writes.push({ path: `${mount}/${draft.path}/${file}`, value: line });
  }
}

function addDevices(draft: Draft, list: readonly DeviceRule[]): CgroupPlan["deviceProgram"] {
  const { host, path, writes } = draft;
  if (list.length === 0) return undefined;
  const policy = parseDevices(list);
  const place = host.controllers.get("devices");
  if (place !== undefined) {
    const inV1 = limitDevices(`${place.mount}/${path}`, policy);
    if (inV1 !== undefined) {
      writes.push(...inV1);
      return undefined;
    }
  }
  const program = compileDevices(policy);
  if (program === undefined || host.unified !== undefined) return program;
  if (place === undefined)
    throw unavailable("devices", path, 'this host has no cgroup controller "devices", and no v2');
  throw unavailable(
    "devices",
    path,
    'the cgroup controller "devices" of v1 cannot except a device from an allowed range',
  );
}

/** Where `controller` is. @param limit What it is needed for, in words that follow "Cannot limit". */
function need({ host, path, needed }: Draft, controller: string, limit: string): ControllerPlace {
  const place = host.controllers.get(controller);
  if (place === undefined) {
    const hint =
      controller === "memory"
        ? "Boot the kernel with cgroup_enable=memory, or run without this limit"
        : "Mount or delegate the controller, or run without this limit";
    throw unavailable(limit, path, `this host has no cgroup controller "${controller}"`, hint);
  }
  if (place.version === 2 && !needed.has(controller)) needed.set(controller, limit);
  return place;
}

/** The writes that hand v2 controllers down to the parent of `path`, but for those it has already. */
function enableControllers({ host, path, needed }: Draft, parts: readonly string[]): Write[] {
  const { unified } = host;
  if (unified === undefined) return [];
  let wanted = [...needed.keys()];
  for (const controller of COUNTING) {
    if (!needed.has(controller) && host.controllers.get(controller)?.version === 2) wanted.push(controller);
  }
  if (wanted.length === 0) return [];

  const writes: Write[] = [];
  for (const dir of aboveGroup(unified, parts)) {
    const file = `${dir}/cgroup.subtree_control`;
    const enabled = words(readControl(file) ?? "");
    let missing = wanted.filter((controller) => !enabled.includes(controller));
    if (missing.length === 0) continue;
    if (isOccupied(dir)) {
      const [controller, limit] = [...needed].find(([name]) => !enabled.includes(name)) ?? [];
      if (limit !== undefined) {
        const state = `the cgroup controller "${controller}" cannot be handed down from ${JSON.stringify(dir)}, which holds processes`;
        throw unavailable(limit, path, state, "Move these processes into a cgroup below it");
      }
      // Nothing but statistics would be lost.
      wanted = wanted.filter((name) => enabled.includes(name));
      missing = [];
    }
    if (missing.length > 0) writes.push({ path: file, value: missing.map((name) => `+${name}`).join(" ") });
  }
  return writes;
}

/**
 * The writes that hand down the other v2 controllers as far as they can be: each alone, as one may be refused. Only where
 * v2 is all there is: what hands a controller down cannot hold processes, and on hybrid hosts somebody's group may.
 */
function wishControllers({ host, needed }: Draft, parts: readonly string[]): Write[] {
  const { unified, mode } = host;
  if (unified === undefined || mode !== "v2") return [];
  const others = [...host.controllers].filter(
    ([name, { version }]) => version === 2 && !needed.has(name) && !COUNTING.includes(name),
  );
  return aboveGroup(unified, parts).flatMap((dir) => {
    const file = `${dir}/cgroup.subtree_control`;
    const enabled = words(readControl(file) ?? "");
    return others
      .filter(([name]) => !enabled.includes(name))
      .map(([name]) => ({ path: file, value: `+${name}`, isWish: true }));
  });
}

/** v2's directories that hand controllers down to a group, the topmost first. */
function aboveGroup(unified: string, parts: readonly string[]): string[] {
  return [unified, ...parts.slice(0, -1).map((part) => `${unified}/${part}`)];
}

/** Whether `dir` may not hand down controllers: it holds processes, and is not the real top, which alone has no type. */
function isOccupied(dir: string): boolean {
  return existsSync(`${dir}/cgroup.type`) && Boolean(readControl(`${dir}/cgroup.procs`));
}

function unavailable(limit: string, path: string, state: string, hint?: string): BoxError {
  return new BoxError("cgroup-unavailable", `Cannot limit ${limit} of cgroup "${path}": ${state}`, { hint });
}
