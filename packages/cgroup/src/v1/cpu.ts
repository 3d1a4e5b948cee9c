import { readControl, type Write } from "../file.ts";
import { parseCount, parseKeyed } from "../keyed.ts";
import type { CpuResources } from "../resources.ts";
import type { CpuStats } from "../stats.ts";

/** A clock tick of cpuacct.stat: USER_HZ is 100 on every architecture of ours. */
const TICK_NS = 10_000_000;

/** The writes that limit CPU time: period and quota in the order that fits, and a burst after the quota that it is checked against. */
export function limitCpu(dir: string, cpu: CpuResources): Write[] {
  const { shares, burst, realtimePeriod, realtimeRuntime, idle } = cpu;
  const writes: Write[] = [];
  if (idle !== undefined) writes.push({ path: `${dir}/cpu.idle`, value: String(idle), isOptional: idle === 0 });
  // An idle group has no shares to choose.
  if (shares && !idle) writes.push({ path: `${dir}/cpu.shares`, value: String(shares) });
  writes.push(...limitQuota(dir, cpu));
  if (burst !== undefined) {
    writes.push({ path: `${dir}/cpu.cfs_burst_us`, value: String(burst), isOptional: burst === 0 });
  }
  if (realtimePeriod) writes.push({ path: `${dir}/cpu.rt_period_us`, value: String(realtimePeriod) });
  if (realtimeRuntime) writes.push({ path: `${dir}/cpu.rt_runtime_us`, value: String(realtimeRuntime) });
  return writes;
}

/**
 * The kernel checks each of the two with the other as it is, against the parent's: a shorter period is refused until
 * the quota is smaller, and a larger quota until the period is longer.
 */
function limitQuota(dir: string, { quota, period }: CpuResources): Write[] {
  const quotaWrite = { path: `${dir}/cpu.cfs_quota_us`, value: String(quota) };
  const periodWrite = { path: `${dir}/cpu.cfs_period_us`, value: String(period) };
  if (!quota || !period) return [...(period ? [periodWrite] : []), ...(quota ? [quotaWrite] : [])];
  const now = Number(readControl(periodWrite.path) ?? period);
  return period < now ? [quotaWrite, periodWrite] : [periodWrite, quotaWrite];
}

/** @param dir Its directory of the cpu controller, where there is one. @param accounting That of cpuacct. */
export function readCpu(dir: string | undefined, accounting: string | undefined): CpuStats | undefined {
  const usageNs = accounting === undefined ? undefined : parseCount(readControl(`${accounting}/cpuacct.usage`));
  if (usageNs === undefined) return undefined;
  const split = parseKeyed(readControl(`${accounting}/cpuacct.stat`) ?? "");
  const stat = parseKeyed((dir === undefined ? undefined : readControl(`${dir}/cpu.stat`)) ?? "");
  return {
    usageNs,
    userNs: (split.get("user") ?? 0) * TICK_NS,
    systemNs: (split.get("system") ?? 0) * TICK_NS,
    periods: stat.get("nr_periods") ?? 0,
    throttledPeriods: stat.get("nr_throttled") ?? 0,
    throttledNs: stat.get("throttled_time") ?? 0,
  };
}
