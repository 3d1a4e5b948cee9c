import { readControl, type Write } from "../file.ts";
import { parseCount, parseKeyed, parseLimit } from "../keyed.ts";
import type { MemoryResources } from "../resources.ts";
import type { MemoryStats } from "../stats.ts";

/** Its presence at the top says whether this kernel counts swap. */
export const SWAP_FILE = "memory.memsw.limit_in_bytes";

/**
 * The writes that limit memory.
 *
 * memsw must never be below the limit, not even between two writes: so the one that
 * grows goes first. A new cgroup has no limits, and there it is the memory limit.
 *
 * @param current memsw as it is now; undefined when it is unlimited.
 */
export function limitMemory(dir: string, memory: MemoryResources, current?: number): Write[] {
  const { limit, reservation, kernelTCP, swappiness, disableOOMKiller } = memory;
  // Memory without a limit is more than any limit of both together.
  const swap = memory.swap ?? (limit === -1 && current !== undefined ? -1 : undefined);
  const writes: Write[] = [];
  if (limit) writes.push({ path: `${dir}/memory.limit_in_bytes`, value: String(limit) });
  if (swap) {
    const write = { path: `${dir}/${SWAP_FILE}`, value: String(swap) };
    if (current !== undefined && (swap === -1 || swap > current)) writes.unshift(write);
    else writes.push(write);
  }
  if (reservation) writes.push({ path: `${dir}/memory.soft_limit_in_bytes`, value: String(reservation) });
  if (kernelTCP) writes.push({ path: `${dir}/memory.kmem.tcp.limit_in_bytes`, value: String(kernelTCP) });
  if (swappiness !== undefined) writes.push({ path: `${dir}/memory.swappiness`, value: String(swappiness) });
  if (disableOOMKiller) writes.push({ path: `${dir}/memory.oom_control`, value: "1" });
  return writes;
}

/** Memory and swap together that `dir` may use; undefined when unlimited or not counted. */
export function readSwapLimit(dir: string): number | undefined {
  return parseLimit(readControl(`${dir}/${SWAP_FILE}`));
}

export function readMemory(dir: string): MemoryStats | undefined {
  const usageBytes = parseCount(readControl(`${dir}/memory.usage_in_bytes`));
  if (usageBytes === undefined) return undefined;
  const stat = parseKeyed(readControl(`${dir}/memory.stat`) ?? "");
  return {
    usageBytes,
    limitBytes: parseLimit(readControl(`${dir}/memory.limit_in_bytes`)),
    reclaimableBytes: Math.min(usageBytes, stat.get("total_inactive_file") ?? 0),
    swapBytes: stat.get("total_swap") ?? 0,
  };
}
