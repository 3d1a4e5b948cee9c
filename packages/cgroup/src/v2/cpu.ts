import { readControl, type Write } from "../file.ts";
import { parseKeyed } from "../keyed.ts";
import type { CpuResources } from "../resources.ts";
import type { CpuStats } from "../stats.ts";

/** The writes that limit CPU time. A quota without a period keeps the kernel's 100 ms. */
export function limitCpu(dir: string, { shares, quota, period, burst, idle }: CpuResources): Write[] {
  const writes: Write[] = [];
  if (idle !== undefined) writes.push({ path: `${dir}/cpu.idle`, value: String(idle), isOptional: idle === 0 });
  // An idle group has no weight to choose.
  if (shares && !idle) writes.push({ path: `${dir}/cpu.weight`, value: String(weightOfShares(shares)) });
  if (quota || period) {
    const allowance = quota && quota !== -1 ? String(quota) : "max";
    writes.push({ path: `${dir}/cpu.max`, value: period ? `${allowance} ${period}` : allowance });
  }
  if (burst !== undefined) writes.push({ path: `${dir}/cpu.max.burst`, value: String(burst), isOptional: burst === 0 });
  return writes;
}

/**
 * v1's shares (2 to 262144, 1024 by default) as v2's weight (1 to 10000, 100 by default).
 *
 * The curve goes through all three points of both scales; runc 1.3.2 and crun 1.23 changed to it.
 *
 * @see https://github.com/opencontainers/runc/issues/4896
 */
export function weightOfShares(shares: number): number {
  const doublings = Math.log2(shares);
  const exponent = (doublings * doublings + 125 * doublings) / 612 - 7 / 34;
  // The three points are exact numbers; a rounding error must not lift them to the next one.
  return Math.min(10_000, Math.max(1, Math.ceil(10 ** exponent - 1e-9)));
}

/** Works without the cpu controller too: every v2 cgroup counts its time. */
export function readCpu(dir: string): CpuStats | undefined {
  const text = readControl(`${dir}/cpu.stat`);
  if (text === undefined) return undefined;
  const stat = parseKeyed(text);
  const ns = (key: string) => (stat.get(key) ?? 0) * 1000;
  return {
    usageNs: ns("usage_usec"),
    userNs: ns("user_usec"),
    systemNs: ns("system_usec"),
    periods: stat.get("nr_periods") ?? 0,
    throttledPeriods: stat.get("nr_throttled") ?? 0,
    throttledNs: ns("throttled_usec"),
  };
}
