import { readControl, type Write } from "./file.ts";
import { parseCount, parseLimit } from "./keyed.ts";
import type { PidsStats } from "./stats.ts";

/** PID_MAX_LIMIT of a 64-bit kernel: v1 refuses more, and more processes than this cannot be. */
const MAX_PIDS = 4_194_304;

/** The write that limits the number of tasks (threads count); the same on v1 and v2. */
export function limitPids(dir: string, limit: number): Write {
  return { path: `${dir}/pids.max`, value: limit <= 0 || limit > MAX_PIDS ? "max" : String(limit) };
}

export function readPids(dir: string): PidsStats | undefined {
  const current = parseCount(readControl(`${dir}/pids.current`));
  if (current === undefined) return undefined;
  return { current, limit: parseLimit(readControl(`${dir}/pids.max`)) };
}
