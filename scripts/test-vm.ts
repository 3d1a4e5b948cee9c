/**
 * `bun run test:vm [FILE…]`: all integration tests, or some files of them, in a virtual machine with pure cgroup v2
 * and AppArmor; then those that need systemd as PID 1, in one that has it. Both are emulated, and take their time.
 */
import { existsSync, readFileSync } from "node:fs";
import { must, say } from "./step.ts";
import { count, reporter, reportFile, summary, tally } from "./tally.ts";
import { hasVm, NO_VM, runInVm, testPackages } from "./vm.ts";

/** What needs systemd as PID 1. */
const WITH_SYSTEMD = ["./test/systemd.test.ts"];
/** Services of the packages that the tests need; tests start their own. */
const NOT_STARTED = ["docker", "containerd", "docker-registry", "podman", "podman-restart", "podman-auto-update"];

if (!hasVm()) {
  console.error(`Cannot test in a virtual machine: ${NO_VM}`);
  process.exit(1);
}
const files = process.argv.slice(2);
const total = tally();

say("Building");
must(["bun", "run", "build"]);
const plain = files.filter((file) => !WITH_SYSTEMD.includes(file));
if (files.length === 0 || plain.length > 0) {
  say("Integration tests on pure cgroup v2 with AppArmor");
  test("vm", plain.length > 0 ? plain : ["./test"]);
}
const systemd = files.length === 0 ? WITH_SYSTEMD : WITH_SYSTEMD.filter((file) => files.includes(file));
if (systemd.length > 0) {
  say("Tests with systemd as PID 1");
  const masks = NOT_STARTED.flatMap((name) => [`systemd.mask=${name}.service`, `systemd.mask=${name}.socket`]);
  // Some package brings the directory that run-in-vm would put its service into, which then is not wanted by anybody.
  test("vm-systemd", systemd, {
    BB_VM_INIT: "systemd",
    BB_VM_APPEND: ["systemd.wants=bb.service", ...masks].join(" "),
  });
}

say("All tests in virtual machines");
console.log(summary(total));
process.exit(total.failed === 0 ? 0 : 1);

function test(name: string, args: readonly string[], env: Record<string, string> = {}): void {
  const report = reportFile(name);
  const patient = ["--isolate", "--preload", "./test/patient.ts", "--timeout", "480000"];
  const status = runInVm(["bun", "test", ...reporter(report), ...patient, ...args], {
    BB_PATIENCE: "8",
    BB_VM_CACHE: process.env["BB_VM_CACHE"] ?? "/var/cache/bb-vm-full",
    BB_VM_PKGS: ["gcc", "make", ...testPackages()].join(","),
    BB_VM_MEM: "6144",
    BB_VM_THREAD: process.env["BB_VM_THREAD"] ?? "multi",
    BB_VM_TIMEOUT: process.env["BB_VM_TIMEOUT"] ?? "14400",
    ...env,
  });
  count(total, report, status);
  const skipped = existsSync(report)
    ? readFileSync(report, "utf8").matchAll(/<testcase name="([^"]*)"[^>]*>\s*<skipped/g)
    : [];
  for (const [, test] of skipped) console.log(`skipped (its reason is above): ${test}`);
}
