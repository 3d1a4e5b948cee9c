/** The README's second command: everything that tests need, then all tests, and one line that sums them up. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { must, ROOT, run, say } from "./step.ts";

/** Boots a machine with pure cgroup v2 and AppArmor, and runs a command there; not part of this repository. */
const VM = join(ROOT, "../shared/tools/run-in-vm");
/** What is run in that machine, which is ten times slower. */
const IN_VM = ["./packages/cgroup", "./test/apparmor.test.ts", "./test/isolation.test.ts"];

const total = { passed: 0, failed: 0, skipped: 0 };

say("Looking for the Debian packages that the tests need");
installPackages();

say("Installing the dependencies");
must(["bun", "install", "--frozen-lockfile"]);

for (const script of ["build", "types", "lint", "dead"]) {
  say(`Checking: bun run ${script}`);
  if (run(["bun", "run", script]) === 0) total.passed++;
  else total.failed++;
}

say("Unit tests");
test("unit", ["--isolate", "--timeout", "60000", "packages", "ffi", "scripts"]);

say("Integration tests: the real executable on this kernel");
test("system", ["--isolate", "--timeout", "60000", "./test"]);

say("A selection on pure cgroup v2 with AppArmor, in a virtual machine");
testInVm();

say("All tests");
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed === 0 ? 0 : 1);

function installPackages(): void {
  const wanted = readFileSync(join(import.meta.dir, "test-packages.txt"), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
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
  count(report, run(["bun", "test", ...reporter(report), ...args]));
}

function testInVm(): void {
  if (!existsSync(VM)) {
    console.log(`skipped: there is no ${basename(VM)} in shared/tools beside this checkout`);
    total.skipped++;
    return;
  }
  const report = reportFile("vm");
  // Bun is called anything under npx, and the machine has none of its own, or another.
  const script = 'mkdir /tmp/bin && ln -s "$0" /tmp/bin/bun && PATH=/tmp/bin:$PATH exec bun test "$@"';
  const command = [...reporter(report), "--isolate", "--timeout", "60000", ...IN_VM];
  const status = run([VM, "sh", "-c", script, process.execPath, ...command], {
    BB_VM_SHARE: `${ROOT}:${dirname(process.execPath)}`,
    BB_VM_THREAD: process.env["BB_VM_THREAD"] ?? "single",
    BB_VM_TIMEOUT: process.env["BB_VM_TIMEOUT"] ?? "600",
  });
  count(report, status);
}

function reportFile(name: string): string {
  const directory = join(ROOT, "dist/reports");
  mkdirSync(directory, { recursive: true });
  const file = join(directory, `${name}.xml`);
  rmSync(file, { force: true });
  return file;
}

function reporter(file: string): string[] {
  return ["--reporter=junit", `--reporter-outfile=${file}`];
}

/** Adds a JUnit report to the total; one that is missing, or that does not own up to its failure, is a failure. */
function count(file: string, status: number): void {
  const head = existsSync(file) ? (/<testsuites [^>]*>/.exec(readFileSync(file, "utf8"))?.[0] ?? "") : "";
  const number = (name: string): number => Number(new RegExp(` ${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
  const skipped = number("skipped");
  const failed = Math.max(number("failures"), status === 0 && head !== "" ? 0 : 1);
  total.skipped += skipped;
  total.failed += failed;
  total.passed += Math.max(number("tests") - number("failures") - skipped, 0);
}
