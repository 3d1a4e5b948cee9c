import { closeSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const errorFile = join(tmpdir(), `bb-bench-errors-${process.pid}`);
process.on("exit", () => rmSync(errorFile, { force: true }));

/** One contender of a benchmark. */
export interface Subject {
  readonly name: string;
  /** Does it once. @returns What it took, in the benchmark's unit. */
  once(): number | Promise<number>;
}

export interface Sample {
  readonly name: string;
  readonly median: number;
  readonly p10: number;
  readonly p90: number;
  readonly runs: number;
}

/**
 * Measures all subjects in turns, so that whatever else this machine does meets all of them alike.
 * Each round begins with another one; the first round warms up and does not count.
 */
export async function interleave(subjects: readonly Subject[], runs: number): Promise<Sample[]> {
  const values = subjects.map((): number[] => []);
  for (let round = -1; round < runs; round++) {
    for (let i = 0; i < subjects.length; i++) {
      const which = (i + round + subjects.length) % subjects.length;
      const value = await subjects[which]?.once();
      if (round >= 0 && value !== undefined) values[which]?.push(value);
    }
  }
  return subjects.map(({ name }, i) => summarize(name, values[i] ?? []));
}

export function summarize(name: string, values: number[]): Sample {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.floor((sorted.length - 1) * share)] ?? Number.NaN;
  return { name, median: at(0.5), p10: at(0.1), p90: at(0.9), runs: sorted.length };
}

/**
 * Runs a command to its end. What it prints goes to a file: a pipe would be waited for until nobody holds it,
 * and containers that stay do.
 *
 * @returns Milliseconds.
 * @throws {Error} With what it printed, when it fails.
 */
export function time(command: readonly string[], cwd = "/"): number {
  const errors = openSync(errorFile, "w");
  const before = Bun.nanoseconds();
  const { exitCode } = Bun.spawnSync([...command], { cwd, stdin: "ignore", stdout: "ignore", stderr: errors });
  const ms = (Bun.nanoseconds() - before) / 1e6;
  closeSync(errors);
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: status ${exitCode}\n${readFileSync(errorFile, "utf8")}`);
  return ms;
}

/** As `time`, but seconds that the command and its children used a CPU. */
export function cpuTime(command: readonly string[]): { cpuSec: number; wallSec: number } {
  const before = Bun.nanoseconds();
  const { exitCode, stderr, resourceUsage } = Bun.spawnSync([...command], { stdin: "ignore", stdout: "ignore" });
  const wallSec = (Bun.nanoseconds() - before) / 1e9;
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: status ${exitCode}\n${stderr.toString()}`);
  const { user, system } = resourceUsage.cpuTime;
  return { cpuSec: Number(user + system) / 1e6, wallSec };
}

/** Runs its arguments but the first, and writes the peak of what it has waited for there, in KiB. */
const PEAK = `
import os, resource, sys
status = os.waitstatus_to_exitcode(os.waitpid(os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ), 0)[1])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
`;

/**
 * The most memory that a command, or one of its children, had at once. A process keeps the peak of the one that it was
 * spawned by, so that is not this one.
 *
 * @returns MB.
 */
export function peakMemory(command: readonly string[]): number {
  const peakFile = `${errorFile}-peak`;
  try {
    time(["python3", "-SIc", PEAK, peakFile, ...command]);
    return (Number(readFileSync(peakFile, "utf8")) * 1024) / 1e6;
  } finally {
    rmSync(peakFile, { force: true });
  }
}
