/** Counts what became of tests: Bun's JUnit reports, added up. */
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./step.ts";

export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
  /** What failed, each with its file, its name and why. */
  failures: string[];
}

export function tally(): Tally {
  return { passed: 0, failed: 0, skipped: 0, failures: [] };
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
  const report = existsSync(file) ? readFileSync(file, "utf8") : "";
  const head = /<testsuites [^>]*>/.exec(report)?.[0] ?? "";
  const number = (name: string): number => Number(new RegExp(` ${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
  const skipped = number("skipped");
  const failed = Math.max(number("failures"), status === 0 && head !== "" ? 0 : 1);
  total.skipped += skipped;
  total.failed += failed;
  total.passed += Math.max(number("tests") - number("failures") - skipped, 0);
  const failures = failuresIn(report);
  total.failures.push(...failures);
  if (failed > failures.length) total.failures.push(`The tests of ${file} ended with status ${status}`);
}

/** What failed, and one sentence for all; the last that is printed, because the ends of logs are what is read. */
export function summary(total: Tally): string {
  const { passed, failed, skipped, failures } = total;
  return [...failures, `${passed} passed, ${failed} failed, ${skipped} skipped`].join("\n");
}

function failuresIn(report: string): string[] {
  const cases = report.matchAll(/<testcase ([^>]*)>\s*<failure ([^>]*)>/g);
  return Array.from(cases, ([, test = "", failure = ""]) => {
    const why = attribute(failure, "message").trim().replaceAll("\n", "\n    ");
    return `failed: ${attribute(test, "file")}: ${attribute(test, "classname")} > ${attribute(test, "name")}\n    ${why}`;
  });
}

function attribute(tag: string, name: string): string {
  const text = new RegExp(`(?:^| )${name}="([^"]*)"`).exec(tag)?.[1] ?? "";
  const named: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
  return text.replace(/&(?:#(\d+)|(\w+));/g, (whole, code: string | undefined, word = "") =>
    code === undefined ? (named[word] ?? whole) : String.fromCodePoint(Number(code)),
  );
}
