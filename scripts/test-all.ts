/** The README's second command: everything that tests need, then all tests, and one line that sums them up. */
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { must, run, say } from "./step.ts";
import { count, reporter, reportFile, summary, tally } from "./tally.ts";
import { hasVm, NO_VM, runInVm, testPackages } from "./vm.ts";

/** As it may be a slow machine that others keep busy, all limits of time are longer: `test/patience.ts`. */
process.env["BB_PATIENCE"] ??= "5";
const PATIENCE = Number(process.env["BB_PATIENCE"]);
/** And in a virtual machine, which is ten times slower. */
const PATIENCE_IN_VM = Math.max(PATIENCE, 8);
/** What is run there. */
const IN_VM = ["./packages/cgroup", "./test/apparmor.test.ts", "./test/isolation.test.ts"];

const total = tally();

say("Looking for the Debian packages that the tests need");
installPackages();

say("Installing the dependencies");
must(["bun", "install", "--frozen-lockfile"]);

for (const script of ["build", "types", "lint", "dead"]) {
  say(`Checking: bun run ${script}`);
  if (run(["bun", "run", script]) === 0) {
    total.passed++;
    continue;
  }
  total.failed++;
  total.failures.push(`failed: bun run ${script}`);
}

say("Compiling what the unit tests need, which they have less time for");
// Where that fails they say so themselves.
run(["make", "-s", "-C", "ffi", "-j2", "sanitize"]);

say("Unit tests");
test("unit", ["packages", "ffi", "scripts"]);

say("Integration tests: the real executable on this kernel");
test("system", ["./test"]);

say("A selection on pure cgroup v2 with AppArmor, in a virtual machine");
testInVm();

say("All tests");
console.log(summary(total));
process.exit(total.failed === 0 ? 0 : 1);

function installPackages(): void {
  const wanted = testPackages();
  if (Bun.which("dpkg-query") === null) {
    console.log(`This is no Debian: the tests need what it calls ${wanted.join(" ")}`);
    return;
  }
  // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query fills it in
  const { stdout } = Bun.spawnSync(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", ...wanted], {
    stderr: "ignore",
  });
  const installed = new Set(stdout.toString().split("\n"));
  const missing = wanted.filter((name) => !installed.has(`${name} installed`));
  if (missing.length === 0) {
    console.log("All are there");
    return;
  }
  console.log(`Installing ${missing.join(" ")}`);
  process.env["DEBIAN_FRONTEND"] = "noninteractive";
  must(["apt-get", "-qq", "update"]);
  using _ = forbidServices();
  must(["apt-get", "-qq", "-y", "-o", "Dpkg::Use-Pty=0", "--no-install-recommends", "install", ...missing]);
}

/** Until disposed of: what is installed starts no daemon; the tests start their own. */
function forbidServices(): Disposable {
  const file = "/usr/sbin/policy-rc.d";
  if (existsSync(file)) return { [Symbol.dispose]: () => {} };
  writeFileSync(file, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  // "must" may end this program.
  const remove = (): void => rmSync(file, { force: true });
  process.on("exit", remove);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
  return { [Symbol.dispose]: remove };
}

/** Runs test files and adds up what became of them. */
function test(name: string, files: readonly string[]): void {
  const report = reportFile(name);
  count(total, report, run(command(report, PATIENCE, files)));
}

/** Tests each of whose files is a process of its own, with the limits of time that patience allows. */
function command(report: string, patience: number, files: readonly string[]): string[] {
  const limits = ["--preload", "./test/patient.ts", "--timeout", String(60_000 * patience)];
  return ["bun", "test", ...reporter(report), "--isolate", ...limits, ...files];
}

function testInVm(): void {
  if (!hasVm()) {
    console.log(`skipped: ${NO_VM}`);
    total.skipped++;
    return;
  }
  const report = reportFile("vm");
  const status = runInVm(command(report, PATIENCE_IN_VM, IN_VM), {
    BB_PATIENCE: String(PATIENCE_IN_VM),
    BB_VM_BOOT: process.env["BB_VM_BOOT"] ?? "300",
    BB_VM_TIMEOUT: process.env["BB_VM_TIMEOUT"] ?? "3600",
  });
  count(total, report, status);
}
