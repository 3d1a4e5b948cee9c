/** The README's second command: everything that tests need, then all tests, and one line that sums them up. */
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { must, run, say } from "./step.ts";
import { count, reporter, reportFile, summary, tally } from "./tally.ts";
import { hasVm, NO_VM, runInVm, testPackages } from "./vm.ts";

/** What is run in that machine, which is ten times slower. */
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

say("Unit tests");
test("unit", ["--isolate", "--timeout", "60000", "packages", "ffi", "scripts"]);

say("Integration tests: the real executable on this kernel");
test("system", ["--isolate", "--timeout", "60000", "./test"]);

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
  return { [Symbol.dispose]: remove };
}

/** Runs test files and adds up what became of them. */
function test(name: string, args: readonly string[]): void {
  const report = reportFile(name);
  count(total, report, run(["bun", "test", ...reporter(report), ...args]));
}

function testInVm(): void {
  if (!hasVm()) {
    console.log(`skipped: ${NO_VM}`);
    total.skipped++;
    return;
  }
  const report = reportFile("vm");
  const command = ["bun", "test", ...reporter(report), "--isolate", "--timeout", "60000", ...IN_VM];
  const status = runInVm(command, { BB_VM_TIMEOUT: process.env["BB_VM_TIMEOUT"] ?? "600" });
  count(total, report, status);
}
