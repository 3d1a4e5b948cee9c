/** Counts what became of tests: Bun's JUnit reports, added up. */
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./step.ts";

export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

/** Where the report `name` is written; one of an earlier run is removed. */
export function reportFile(name: string): string {
  const directory = join(ROOT, "dist/reports");
  mkdirSync(directory, { recursive: true });
  const file = join(directory, `${name}.xml`);
  rmSync(file, { force: true });
  return file;
}

/** Arguments of `bun test` that write the report. */
export function reporter(file: string): string[] {
  return ["--reporter=junit", `--reporter-outfile=${file}`];
}

/** Adds a report to the total; one that is missing, or that does not own up to its failure, is a failure. */
export function count(total: Tally, file: string, status: number): void {
  const head = existsSync(file) ? (/<testsuites [^>]*>/.exec(readFileSync(file, "utf8"))?.[0] ?? "") : "";
  const number = (name: string): number => Number(new RegExp(` ${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
  const skipped = number("skipped");
  const failed = Math.max(number("failures"), status === 0 && head !== "" ? 0 : 1);
  total.skipped += skipped;
  total.failed += failed;
  total.passed += Math.max(number("tests") - number("failures") - skipped, 0);
}

export function sentence({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}
