import { readControl, type Write } from "../file.ts";
import { parseCount, parseKeyed, parseLimit } from "../keyed.ts";
import type { MemoryResources } from "../resources.ts";
import type { MemoryStats } from "../stats.ts";

export const SWAP_FILE = "memory.swap.max";

/**
 * The writes that limit memory. v2 counts swap apart, so what Docker and OCI count together is split here.
 *
 * @param known The memory limit that `swap` includes.
 */
export function limitMemory(dir: string, { limit, swap, reservation }: MemoryResources, known = limit): Write[] {
  const writes: Write[] = [];
  if (limit) writes.push({ path: `${dir}/memory.max`, value: bytes(limit) });
  if (swap)
    writes.push({ path: `${dir}/${SWAP_FILE}`, value: swap === -1 ? "max" : String(Math.max(0, swap - (known ?? 0))) });
  if (reservation) writes.push({ path: `${dir}/memory.low`, value: bytes(reservation) });
  return writes;
}

export function readMemory(dir: string): MemoryStats | undefined {
  const usageBytes = parseCount(readControl(`${dir}/memory.current`));
  if (usageBytes === undefined) return undefined;
  const stat = parseKeyed(readControl(`${dir}/memory.stat`) ?? "");
  return {
    usageBytes,
    limitBytes: parseLimit(readControl(`${dir}/memory.max`)),
    reclaimableBytes: Math.min(usageBytes, stat.get("inactive_file") ?? 0),
    swapBytes: parseCount(readControl(`${dir}/memory.swap.current`)) ?? 0,
  };
}

function bytes(limit: number): string {
  return limit === -1 ? "max" : String(limit);
}
