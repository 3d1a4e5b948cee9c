import { BoxError } from "@bantubox/ffi";
import type { DeviceRule } from "./devices.ts";

/**
 * What a group may use: the OCI runtime-spec's `linux.resources`.
 *
 * What is not set is left to the kernel; so is a 0 where 0 would make no sense as a limit, as in runc.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#control-groups
 */
export interface LinuxResources {
  readonly memory?: MemoryResources | undefined;
  readonly cpu?: CpuResources | undefined;
  /** Negative: unlimited. */
  readonly pids?: { readonly limit?: number | undefined } | undefined;
  /** In order, the last rule that fits decides; what no rule fits is denied. Empty: no restriction. */
  readonly devices?: readonly DeviceRule[] | undefined;
  readonly blockIO?: BlockIoResources | undefined;
  /** `pageSize` as in `2MB`, `limit` in bytes. */
  readonly hugepageLimits?: readonly HugepageLimit[] | undefined;
  /** v1's alone. */
  readonly network?: NetworkResources | undefined;
  /** By device. */
  readonly rdma?: Readonly<Record<string, RdmaLimit>> | undefined;
  /** Files of cgroup v2 and what to write into them, a line at a time. */
  readonly unified?: Readonly<Record<string, string>> | undefined;
}

/** All in bytes; -1 is unlimited. */
export interface MemoryResources {
  readonly limit?: number | undefined;
  /** Memory and swap together, as in Docker: never less than `limit`, and not without it. */
  readonly swap?: number | undefined;
  readonly reservation?: number | undefined;
  /** No kernel has limited it by itself since 5.16: what it asks for, `limit` does. */
  readonly kernel?: number | undefined;
  /** v1's alone, as are the next two. */
  readonly kernelTCP?: number | undefined;
  /** 0 to 100. */
  readonly swappiness?: number | undefined;
  readonly disableOOMKiller?: boolean | undefined;
  readonly useHierarchy?: boolean | undefined;
  /** v2: a limit below what is in use is refused, as v1 always does it. */
  readonly checkBeforeUpdate?: boolean | undefined;
}

export interface CpuResources {
  /** Relative weight, 2 to 262144; 1024 is everybody's default. */
  readonly shares?: number | undefined;
  /** µs of CPU time in each period, at least 1000; -1 is unlimited. */
  readonly quota?: number | undefined;
  /** µs, 1000 to 1000000; 100000 is the kernel's default. */
  readonly period?: number | undefined;
  /** µs that may be saved up from periods before; no more than `quota`. */
  readonly burst?: number | undefined;
  /** µs for real-time processes; v1's alone. */
  readonly realtimeRuntime?: number | undefined;
  readonly realtimePeriod?: number | undefined;
  /** 1: the group runs when nobody else wants to. */
  readonly idle?: number | undefined;
  /** CPUs as a list: `0-2,5`. */
  readonly cpus?: string | undefined;
  /** Memory nodes as a list. */
  readonly mems?: string | undefined;
}

/** Weights are from 10 to 1000. */
export interface BlockIoResources {
  readonly weight?: number | undefined;
  /** Against the group's own children: v1's CFQ alone, which Linux 5.0 removed. */
  readonly leafWeight?: number | undefined;
  readonly weightDevice?: readonly WeightDevice[] | undefined;
  /** Bytes and operations a second. */
  readonly throttleReadBpsDevice?: readonly ThrottleDevice[] | undefined;
  readonly throttleWriteBpsDevice?: readonly ThrottleDevice[] | undefined;
  readonly throttleReadIOPSDevice?: readonly ThrottleDevice[] | undefined;
  readonly throttleWriteIOPSDevice?: readonly ThrottleDevice[] | undefined;
}

interface WeightDevice {
  readonly major: number;
  readonly minor: number;
  readonly weight?: number | undefined;
  readonly leafWeight?: number | undefined;
}

interface ThrottleDevice {
  readonly major: number;
  readonly minor: number;
  readonly rate: number;
}

export interface NetworkResources {
  readonly classID?: number | undefined;
  readonly priorities?: readonly { readonly name: string; readonly priority: number }[] | undefined;
}

export interface RdmaLimit {
  readonly hcaHandles?: number | undefined;
  readonly hcaObjects?: number | undefined;
}

export interface HugepageLimit {
  readonly pageSize: string;
  readonly limit: number;
}

// Past this, no machine's list of CPUs or nodes goes; it bounds what a range may expand to.
const MAX_LISTED = 65_535;

/** @throws {BoxError} `invalid-resources` for a value that no kernel would take, whatever the host has. */
export function checkResources(resources: LinuxResources, isUpdate = false): void {
  const { memory, cpu, pids, blockIO, hugepageLimits, network, rdma, unified } = resources;
  if (memory !== undefined) checkMemory(memory, isUpdate);
  if (cpu !== undefined) {
    checkRange("cpu.shares", cpu.shares, 2, 262_144);
    checkRange("cpu.period", cpu.period, 1000, 1_000_000);
    if (cpu.quota !== -1) checkRange("cpu.quota", cpu.quota, 1000, Number.MAX_SAFE_INTEGER);
    checkCpuExtras(cpu);
    if (cpu.cpus !== undefined) parseList("cpu.cpus", cpu.cpus);
    if (cpu.mems !== undefined) parseList("cpu.mems", cpu.mems);
  }
  if (pids?.limit !== undefined && !Number.isSafeInteger(pids.limit)) {
    throw invalid("pids.limit", pids.limit, "it must be an integer");
  }
  if (blockIO !== undefined) checkBlockIo(blockIO);
  for (const { pageSize, limit } of hugepageLimits ?? []) {
    if (!/^[1-9]\d{0,5}(KB|MB|GB)$/.test(pageSize)) {
      throw invalid("hugepageLimits.pageSize", pageSize, 'it must look like "2MB"');
    }
    if (!Number.isSafeInteger(limit) || limit < -1) {
      throw invalid(`hugepageLimits ${pageSize}`, limit, "it must be a number of bytes");
    }
  }
  for (const { name } of network?.priorities ?? []) {
    if (!/^[^/\s]{1,15}$/.test(name)) throw invalid("network.priorities", name, "it is no network interface's name");
  }
  for (const device in rdma) checkRdma(device, rdma[device] ?? {});
  for (const file in unified) checkUnified(file, unified[file]);
}

/** The numbers in a list such as `0-2,5`. @throws {BoxError} `invalid-resources` when it is none. */
export function parseList(name: string, list: string): Set<number> {
  const numbers = new Set<number>();
  for (const part of list.split(",")) {
    const [, first, last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part) ?? [];
    const low = Number(first);
    const high = Number(last);
    if (first === undefined || high < low || high > MAX_LISTED) {
      throw invalid(name, list, 'it must be a list such as "0-2,5"');
    }
    for (let number = low; number <= high; number++) numbers.add(number);
  }
  return numbers;
}

export function invalid(name: string, value: unknown, state: string): BoxError {
  return new BoxError("invalid-resources", `Cannot set "${name}" to ${JSON.stringify(value)}: ${state}`);
}

function checkCpuExtras({ quota, burst, realtimeRuntime, realtimePeriod, idle }: CpuResources): void {
  checkRange("cpu.burst", burst, 1, Number.MAX_SAFE_INTEGER);
  if (burst && quota && quota > 0 && burst > quota) throw invalid("cpu.burst", burst, "it must not exceed the quota");
  if (realtimeRuntime !== -1) checkRange("cpu.realtimeRuntime", realtimeRuntime, 1, 2 ** 32);
  checkRange("cpu.realtimePeriod", realtimePeriod, 1, 2 ** 32);
  checkRange("cpu.idle", idle, 1, 1);
}

function checkBlockIo(blockIO: BlockIoResources): void {
  checkRange("blockIO.weight", blockIO.weight, 10, 1000);
  checkRange("blockIO.leafWeight", blockIO.leafWeight, 10, 1000);
  for (const { major, minor, weight, leafWeight } of blockIO.weightDevice ?? []) {
    checkNumbers("blockIO.weightDevice", major, minor);
    if (!weight && !leafWeight) throw invalid("blockIO.weightDevice", weight ?? 0, "it needs a weight");
    checkRange("blockIO.weightDevice", weight, 10, 1000);
    checkRange("blockIO.weightDevice", leafWeight, 10, 1000);
  }
  const { throttleReadBpsDevice, throttleWriteBpsDevice, throttleReadIOPSDevice, throttleWriteIOPSDevice } = blockIO;
  const all = { throttleReadBpsDevice, throttleWriteBpsDevice, throttleReadIOPSDevice, throttleWriteIOPSDevice };
  for (const [name, devices] of Object.entries(all)) {
    for (const { major, minor, rate } of devices ?? []) {
      checkNumbers(`blockIO.${name}`, major, minor);
      if (!Number.isSafeInteger(rate) || rate < 0)
        throw invalid(`blockIO.${name}`, rate, "it must be a rate per second");
    }
  }
}

function checkNumbers(name: string, major: number, minor: number): void {
  if (Number.isSafeInteger(major) && Number.isSafeInteger(minor) && major >= 0 && minor >= 0) return;
  throw invalid(name, `${major}:${minor}`, "it is no device's number");
}

function checkRdma(device: string, { hcaHandles, hcaObjects }: RdmaLimit): void {
  if (!/^[^/\s]+$/.test(device)) throw invalid("rdma", device, "it is no device's name");
  if (hcaHandles === undefined && hcaObjects === undefined) {
    throw invalid(`rdma.${device}`, {}, "it limits neither handles nor objects");
  }
  for (const value of [hcaHandles, hcaObjects]) {
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 0)) {
      throw invalid(`rdma.${device}`, value, "it must be a number of handles or objects");
    }
  }
}

function checkMemory({ limit, swap, reservation, kernelTCP, swappiness }: MemoryResources, isUpdate: boolean): void {
  if (kernelTCP !== -1) checkRange("memory.kernelTCP", kernelTCP, 1, Number.MAX_SAFE_INTEGER);
  checkRange("memory.swappiness", swappiness, 1, 100);
  if (limit !== -1) checkRange("memory.limit", limit, 1, Number.MAX_SAFE_INTEGER);
  if (swap !== -1) checkRange("memory.swap", swap, 1, Number.MAX_SAFE_INTEGER);
  if (reservation !== -1) checkRange("memory.reservation", reservation, 1, Number.MAX_SAFE_INTEGER);
  if (swap === undefined || swap === 0 || swap === -1) return;
  // What exists may have a limit already: then the kernel compares them.
  if (isUpdate && !limit) return;
  if (limit === undefined || limit === 0 || limit === -1) {
    throw invalid("memory.swap", swap, "it counts memory and swap together, so a memory limit must be set too");
  }
  if (swap < limit) throw invalid("memory.swap", swap, `it includes memory, so it must be at least ${limit}`);
}

function checkRange(name: string, value: number | undefined, low: number, high: number): void {
  if (value === undefined || value === 0) return;
  if (!Number.isSafeInteger(value) || value < low || value > high) {
    throw invalid(name, value, `it must be an integer from ${low} to ${high}`);
  }
}

/** `cgroup.*` moves processes and changes the tree, but for what limits it: not the config's business. */
function checkUnified(file: string, value: unknown): void {
  const isTree = file.startsWith("cgroup.") && file !== "cgroup.max.depth" && file !== "cgroup.max.descendants";
  if (!/^[a-z][a-z0-9_]*\.[A-Za-z0-9._]+$/.test(file) || isTree) {
    throw invalid(`unified.${file}`, value, "it is no limit's file of cgroup v2");
  }
  if (typeof value !== "string") throw invalid(`unified.${file}`, value, "it must be a string");
}
