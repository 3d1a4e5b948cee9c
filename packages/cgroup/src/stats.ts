import { readControl } from "./file.ts";
import type { CgroupHost } from "./hierarchy.ts";
import { parseKeyed } from "./keyed.ts";
import { groupDir } from "./path.ts";
import { readPids } from "./pids.ts";
import { readIo as readIoV1 } from "./v1/blkio.ts";
import { readCpu as readCpuV1 } from "./v1/cpu.ts";
import { readMemory as readMemoryV1 } from "./v1/memory.ts";
import { readCpu as readCpuV2 } from "./v2/cpu.ts";
import { readIo as readIoV2 } from "./v2/io.ts";
import { readMemory as readMemoryV2 } from "./v2/memory.ts";

export interface MemoryStats {
  /** With the page cache. */
  readonly usageBytes: number;
  /** undefined: unlimited. */
  readonly limitBytes: number | undefined;
  /** Inactive page cache, counted in `usageBytes`: `docker stats` shows usage without it. */
  readonly reclaimableBytes: number;
  readonly swapBytes: number;
}

export interface CpuStats {
  readonly usageNs: number;
  readonly userNs: number;
  readonly systemNs: number;
  /** Of the quota's periods: those that passed, those in which the group had to wait, and how long it did. */
  readonly periods: number;
  readonly throttledPeriods: number;
  readonly throttledNs: number;
}

export interface PidsStats {
  readonly current: number;
  readonly limit: number | undefined;
}

export interface IoStats {
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly readOperations: number;
  readonly writeOperations: number;
}

/** A part is undefined where its controller is missing, or the group is gone. */
export interface CgroupStats {
  readonly memory: MemoryStats | undefined;
  readonly cpu: CpuStats | undefined;
  readonly pids: PidsStats | undefined;
  readonly io: IoStats | undefined;
}

/** What the group and all below it have used so far, and use now. */
export function readStats(host: CgroupHost, path: string): CgroupStats {
  const memory = groupDir(host, "memory", path);
  const accounting = groupDir(host, "cpuacct", path);
  const pids = groupDir(host, "pids", path);
  return {
    memory: memory === undefined ? undefined : isV2(host, "memory") ? readMemoryV2(memory) : readMemoryV1(memory),
    cpu:
      accounting === undefined && host.unified !== undefined
        ? readCpuV2(`${host.unified}/${path}`)
        : readCpuV1(groupDir(host, "cpu", path), accounting),
    pids: pids === undefined ? undefined : readPids(pids),
    io: readIo(host, path),
  };
}

function readIo(host: CgroupHost, path: string): IoStats | undefined {
  const v2 = groupDir(host, "io", path);
  if (v2 !== undefined) return readIoV2(v2);
  const v1 = groupDir(host, "blkio", path);
  return v1 === undefined ? undefined : readIoV1(v1);
}

/** How many processes of the group the kernel has killed for want of memory; undefined when it does not say. */
export function readOomKills(host: CgroupHost, path: string): number | undefined {
  const file = oomEventsFile(host, path);
  return file === undefined ? undefined : parseKeyed(readControl(file) ?? "").get("oom_kill");
}

/** The file that holds the line `oom_kill N`. */
export function oomEventsFile(host: CgroupHost, path: string): string | undefined {
  const dir = groupDir(host, "memory", path);
  if (dir === undefined) return undefined;
  return `${dir}/${isV2(host, "memory") ? "memory.events" : "memory.oom_control"}`;
}

function isV2(host: CgroupHost, controller: string): boolean {
  return host.controllers.get(controller)?.version === 2;
}
