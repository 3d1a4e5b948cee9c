import { readIfThere } from "@bantubox/ffi";

/** Whether the process that was `pid` when it started at `ticks` (of the clock since boot) still is. A zombie is not, unless other threads go on. */
export function isAlive(pid: number, ticks: string): boolean {
  const stat = readIfThere(`/proc/${pid}/stat`);
  if (stat === undefined) return false;
  const [, now, state, threads] = parseStat(stat);
  return now === ticks && state !== "X" && (state !== "Z" || threads > 1);
}

/** [pid, start time in clock ticks, state, number of threads] of a line of /proc/PID/stat; a command's name may hold anything but ends at the last ")". */
export function parseStat(line: string): [number, string, string, number] {
  const rest = line.slice(line.lastIndexOf(")") + 2).split(" ");
  return [Number(line.slice(0, line.indexOf(" "))), rest[19] ?? "", rest[0] ?? "", Number(rest[17])];
}
