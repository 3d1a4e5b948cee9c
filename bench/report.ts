import { readFileSync, writeFileSync } from "node:fs";
import type { Sample } from "./measure.ts";

/** At most this much of what the peer, or the floor, takes. */
export interface Target {
  readonly subject: string;
  readonly peer: string;
  readonly atMost: number;
}

export interface Benchmark {
  readonly name: string;
  readonly title: string;
  readonly unit: string;
  readonly targets: readonly Target[];
  run(): Promise<Sample[]>;
}

interface Ratio extends Target {
  readonly ratio: number;
}

interface Result {
  readonly name: string;
  readonly title: string;
  readonly unit: string;
  readonly samples: readonly Sample[];
  readonly ratios: readonly Ratio[];
}

interface Options {
  /** Names of benchmarks; undefined for all. */
  readonly only: readonly string[] | undefined;
  readonly runs: number;
  /** What could not be measured and why; benchmarks add to it. */
  readonly missing: readonly string[];
  /** Where the results go as JSON; undefined for standard output. */
  readonly json: string | undefined;
}

/** Runs benchmarks one after the other, and prints what they show. @throws {Error} For a name that is none. */
export async function runBenchmarks(all: readonly Benchmark[], options: Options): Promise<void> {
  const { only, runs, missing } = options;
  const unknown = only?.find((name) => !all.some((benchmark) => benchmark.name === name));
  if (unknown !== undefined) {
    throw new Error(`There is no benchmark "${unknown}": known are ${all.map(({ name }) => name).join(", ")}`);
  }
  const results: Result[] = [];
  for (const benchmark of all) {
    if (only !== undefined && !only.includes(benchmark.name)) continue;
    const { name, title, unit } = benchmark;
    const samples = await benchmark.run();
    const result = { name, title, unit, samples, ratios: ratiosOf(benchmark.targets, samples) };
    results.push(result);
    print(result);
  }
  const absent = [...new Set(missing)];
  for (const line of absent) console.log(`not measured: ${line}`);
  const json = JSON.stringify({ bun: Bun.version, runs, load: loadAverage(), missing: absent, results });
  if (options.json !== undefined) writeFileSync(options.json, `${json}\n`);
  else console.log(json);
}

function loadAverage(): string {
  return readFileSync("/proc/loadavg", "utf8").split(" ", 3).join(" ");
}

function ratiosOf(targets: readonly Target[], samples: readonly Sample[]): Ratio[] {
  const ratios: Ratio[] = [];
  for (const target of targets) {
    const subject = samples.find(({ name }) => name === target.subject);
    const peer = samples.find(({ name }) => name === target.peer);
    if (subject !== undefined && peer !== undefined) ratios.push({ ...target, ratio: subject.median / peer.median });
  }
  return ratios;
}

function print({ name, title, unit, samples, ratios }: Result): void {
  console.log(`\n${name}: ${title} (${unit})`);
  for (const { name: subject, median, p10, p90, runs: count } of samples) {
    const numbers = [median, p10, p90].map((value) => value.toFixed(2).padStart(9)).join("");
    console.log(`  ${subject.padEnd(12)}${numbers}   median, p10, p90 of ${count}`);
  }
  for (const { subject, peer, ratio, atMost } of ratios) {
    const verdict = ratio <= atMost ? "met" : "MISSED";
    console.log(`  ${subject} / ${peer} = ${ratio.toFixed(3)}   target <= ${atMost}: ${verdict}`);
  }
}
