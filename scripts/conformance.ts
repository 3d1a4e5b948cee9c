/**
 * Runs a public test suite of OCI runtimes against one runtime, says what became of every case, and fails when
 * something failed that conformance/expected.json does not explain.
 *
 * The suites are not part of this repository: bring a checkout of each, with its helper programs built.
 * docs/conformance.md has the results, and what the checkouts must hold.
 */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { runCritest } from "./conformance/critest.ts";
import type { Examination } from "./conformance/examination.ts";
import { type Case, markdown, type Report, summary } from "./conformance/report.ts";
import { runRunc } from "./conformance/runc.ts";
import { runRuntimeTools } from "./conformance/runtime-tools.ts";
import { ROOT } from "./step.ts";
import { hasVm, NO_VM, runInVm } from "./vm.ts";

const SUITES: Record<string, (examination: Examination) => Promise<Case[]>> = {
  runc: runRunc,
  "runtime-tools": runRuntimeTools,
  critest: runCritest,
};

const USAGE = `Usage: bun scripts/conformance.ts SUITE --checkout DIRECTORY [--runtime FILE] [--only TEXT]...
         [--json FILE] [--markdown FILE] [--compare FILE]... [--vm]

  SUITE        ${Object.keys(SUITES).join(", ")}
  --checkout   the suite's files, its programs built
  --runtime    the runtime to examine (default: dist/bb-oci)
  --only       run only what has this in its name; repeatable
  --json       write the results here
  --markdown   write a table of the results here
  --compare    results of another run, to stand beside these in the table; repeatable
  --vm         run all this in a virtual machine with pure cgroup v2 and AppArmor; the files lie here or in checkout`;

/** Debian packages that the suites want in the machine. */
const VM_PACKAGES = [
  "bats",
  "jq",
  "gawk",
  "criu",
  "util-linux-extra",
  "git",
  "sudo",
  "sshfs",
  "openssh-server",
  "gcc",
  "libc6-dev",
  "python3",
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    checkout: { type: "string" },
    runtime: { type: "string", default: join(ROOT, "dist/bb-oci") },
    only: { type: "string", multiple: true, default: [] },
    json: { type: "string" },
    markdown: { type: "string" },
    compare: { type: "string", multiple: true, default: [] },
    vm: { type: "boolean", default: false },
  },
});
const [suite = ""] = positionals;
const examine = SUITES[suite];
if (examine === undefined || values.checkout === undefined || positionals.length !== 1) {
  console.error(USAGE);
  process.exit(2);
}
process.exit(values.vm ? mainInVm(values.checkout) : await main(examine, values.checkout));

/** This very command line in the machine, with more patience. */
function mainInVm(checkout: string): number {
  if (!hasVm()) {
    console.error(`Cannot examine in a virtual machine: ${NO_VM}`);
    return 1;
  }
  const args = process.argv.slice(2).filter((arg) => arg !== "--vm");
  // runc's suite takes a freezer for there if any group has one: as with systemd, the runtime's are not the first.
  const script = 'mkdir /sys/fs/cgroup/other && exec "$@"';
  return runInVm(["sh", "-c", script, "sh", "bun", import.meta.path, ...args], {
    BB_PATIENCE: "8",
    BB_VM_CACHE: process.env["BB_VM_CACHE"] ?? "/var/cache/bb-vm-suites",
    BB_VM_PKGS: VM_PACKAGES.join(","),
    BB_VM_SHARE: [ROOT, dirname(process.execPath), resolve(checkout)].join(":"),
    BB_VM_TIMEOUT: process.env["BB_VM_TIMEOUT"] ?? "14400",
  });
}

async function main(run: NonNullable<typeof examine>, checkout: string): Promise<number> {
  using scratch = scratchDirectory();
  const runtime = resolve(values.runtime);
  const cases = await run({
    checkout: resolve(checkout),
    runtime,
    only: values.only,
    scratch: scratch.path,
    onCase: ({ status, name, seconds, detail }) => {
      console.log(
        `${status.padEnd(4)} ${seconds.toFixed(1).padStart(6)} s  ${name}${detail === "" ? "" : `\n${detail}`}`,
      );
    },
  });
  const report: Report = { suite, runtime: versionOf(runtime), cases };
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, null, 1)}\n`);
  const others = values.compare.map((file) => JSON.parse(readFileSync(file, "utf8")) as Report);
  if (values.markdown !== undefined) writeFileSync(values.markdown, markdown(report, others, expectedOf(suite)));
  const { text, surprises } = summary(report, expectedOf(suite));
  console.log(text);
  return surprises === 0 ? 0 : 1;
}

/** Why cases of a suite fail or are skipped on hosts like those that docs/conformance.md describes, by name. */
function expectedOf(name: string): Record<string, string> {
  const all = JSON.parse(readFileSync(join(import.meta.dir, "conformance/expected.json"), "utf8"));
  return all[existsSync("/sys/fs/cgroup/cgroup.controllers") ? "v2" : "v1"][name] ?? {};
}

function versionOf(runtime: string): string {
  const { stdout } = Bun.spawnSync([runtime, "--version"], { stderr: "ignore" });
  return stdout.toString().split("\n", 1)[0] ?? "";
}

function scratchDirectory(): Disposable & { path: string } {
  const path = mkdtempSync(join(tmpdir(), "bb-conformance-"));
  chmodSync(path, 0o755);
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}
