import { BoxError } from "@bantubox/ffi";
import type { DeviceRule } from "./devices.ts";

/**
 * What a group may use: a subset of the OCI runtime-spec's `linux.resources`.
 *
 * What is not set is left to the kernel; so is a 0 where 0 would make no sense as a limit, as in runc.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#control-groups
 */
export interface LinuxResources {
  readonly memory?: MemoryResources | undefined;
  readonly cpu?: CpuResources | undefined;
  /** 0 and negative: unlimited. */
  readonly pids?: { readonly limit?: number | undefined } | undefined;
  /** In order, the last rule that fits decides; what no rule fits is denied. Empty: no restriction. */
  readonly devices?: readonly DeviceRule[] | undefined;
  /** 10 to 1000. */
  readonly blockIO?: { readonly weight?: number | undefined } | undefined;
  /** `pageSize` as in `2MB`, `limit` in bytes. */
  readonly hugepageLimits?: readonly HugepageLimit[] | undefined;
  /** Files of cgroup v2 and what to write into them, a line at a time. */
  readonly unified?: Readonly<Record<string, string>> | undefined;
}

/** All in bytes; -1 is unlimited. */
export interface MemoryResources {
  readonly limit?: number | undefined;
  /** Memory and swap together, as in Docker: never less than `limit`, and not without it. */
  readonly swap?: number | undefined;
  readonly reservation?: number | undefined;
}

export interface CpuResources {
  /** Relative weight, 2 to 262144; 1024 is everybody's default. */
  readonly shares?: number | undefined;
  /** µs of CPU time in each period, at least 1000; -1 is unlimited. */
  readonly quota?: number | undefined;
  /** µs, 1000 to 1000000; 100000 is the kernel's default. */
  readonly period?: number | undefined;
  /** CPUs as a list: `0-2,5`. */
  readonly cpus?: string | undefined;
  /** Memory nodes as a list. */
  readonly mems?: string | undefined;
}

export interface HugepageLimit {
  readonly pageSize: string;
  readonly limit: number;
}

// Past this, no machine's list of CPUs or nodes goes; it bounds what a range may expand to.
const MAX_LISTED = 65_535;

/** @throws {BoxError} `invalid-resources` for a value that no kernel would take, whatever the host has. */
export function checkResources({ memory, cpu, pids, blockIO, hugepageLimits, unified }: LinuxResources): void {
  if (memory !== undefined) checkMemory(memory);
  if (cpu !== undefined) {
    checkRange("cpu.shares", cpu.shares, 2, 262_144);
    checkRange("cpu.period", cpu.period, 1000, 1_000_000);
    if (cpu.quota !== -1) checkRange("cpu.quota", cpu.quota, 1000, Number.MAX_SAFE_INTEGER);
    if (cpu.cpus !== undefined) parseList("cpu.cpus", cpu.cpus);
    if (cpu.mems !== undefined) parseList("cpu.mems", cpu.mems);
  }
  if (pids?.limit !== undefined && !Number.isSafeInteger(pids.limit)) {
    throw invalid("pids.limit", pids.limit, "it must be an integer");
  }
  checkRange("blockIO.weight", blockIO?.weight, 10, 1000);
  for (const { pageSize, limit } of hugepageLimits ?? []) {
    if (!/^[1-9]\d{0,5}(KB|MB|GB)$/.test(pageSize)) {
      throw invalid("hugepageLimits.pageSize", pageSize, 'it must look like "2MB"');
    }
    if (!Number.isSafeInteger(limit) || limit < 0) {
      throw invalid(`hugepageLimits ${pageSize}`, limit, "it must be a number of bytes");
    }
  }
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

function checkMemory({ limit, swap, reservation }: MemoryResources): void {
  if (limit !== -1) checkRange("memory.limit", limit, 1, Number.MAX_SAFE_INTEGER);
  if (swap !== -1) checkRange("memory.swap", swap, 1, Number.MAX_SAFE_INTEGER);
  if (reservation !== -1) checkRange("memory.reservation", reservation, 1, Number.MAX_SAFE_INTEGER);
  if (swap === undefined || swap === 0 || swap === -1) return;
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

/** `cgroup.*` moves processes and changes the tree: no limits, and not the config's business. */
function checkUnified(file: string, value: unknown): void {
  if (!/^[a-z][a-z0-9]*\.[A-Za-z0-9._]+$/.test(file) || file.startsWith("cgroup.")) {
    throw invalid(`unified.${file}`, value, "it is no limit's file of cgroup v2");
  }
  if (typeof value !== "string") throw invalid(`unified.${file}`, value, "it must be a string");
}
