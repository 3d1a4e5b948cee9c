/** What became of a suite's cases, in words. */

export interface Case {
  readonly name: string;
  readonly status: "ok" | "fail" | "skip";
  readonly seconds: number;
  /** Why it was skipped, or what was printed when it failed. */
  readonly detail: string;
  /** How many single statements held, where a case is many. */
  readonly assertions?: number;
}

export interface Report {
  readonly suite: string;
  /** The first line of what the runtime prints as its version. */
  readonly runtime: string;
  readonly cases: readonly Case[];
}

/** Reasons by the name of the case. */
export type Expected = Readonly<Record<string, string>>;

/** Counts the cases, and names those that failed without a known reason, or that have one and passed. */
export function summary(report: Report, expected: Expected): { text: string; surprises: number } {
  const failed = report.cases.filter(({ status, name }) => status === "fail" && expected[name] === undefined);
  const better = report.cases.filter(({ status, name }) => status === "ok" && expected[name] !== undefined);
  const lines = [`${report.suite}, ${report.runtime}: ${counts(report)}`];
  for (const { name } of failed) lines.push(`  failed, no reason known: ${name}`);
  for (const { name } of better) lines.push(`  passed, against what is expected: ${name}`);
  return { text: lines.join("\n"), surprises: failed.length };
}

/** A table of everything that did not pass everywhere, and the counts of all runs. */
export function markdown(report: Report, others: readonly Report[], expected: Expected): string {
  const reports = [report, ...others];
  const row = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const interesting = report.cases.filter(({ name }) => reports.some((one) => statusIn(one, name) !== "ok"));
  return `${[
    ...reports.map((one) => `- ${one.runtime}: ${counts(one)}`),
    "",
    row(["case", ...reports.map(({ runtime }) => runtime), "why"]),
    row(["---", ...reports.map(() => "---"), "---"]),
    ...interesting.map((one) =>
      row([one.name, ...reports.map((other) => statusIn(other, one.name)), expected[one.name] ?? firstLine(one)]),
    ),
  ].join("\n")}\n`;
}

function counts({ cases }: Report): string {
  const count = (status: Case["status"]): number => cases.filter((one) => one.status === status).length;
  const assertions = cases.reduce((sum, one) => sum + (one.assertions ?? 0), 0);
  const detail = assertions === 0 ? "" : ` (${assertions} assertions hold)`;
  return `${cases.length} cases: ${count("ok")} passed, ${count("fail")} failed, ${count("skip")} skipped${detail}`;
}

function statusIn(report: Report, name: string): string {
  return report.cases.find((one) => one.name === name)?.status ?? "not run";
}

function firstLine({ status, detail }: Case): string {
  return status === "skip" ? (detail.split("\n", 1)[0] ?? "") : "";
}
