/** Commands in a virtual machine with Debian's kernel, pure cgroup v2 and AppArmor. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ROOT, run } from "./step.ts";

/** Boots the machine, with this checkout at the same path, and runs a command there; not part of this repository. */
const VM = join(ROOT, "../shared/tools/run-in-vm");

/** Why there is no such machine, where there is none. */
export const NO_VM = "there is no run-in-vm in shared/tools beside this checkout";

export function hasVm(): boolean {
  return existsSync(VM);
}

/** Debian packages that the tests need. */
export function testPackages(): string[] {
  const text = readFileSync(join(import.meta.dir, "test-packages.txt"), "utf8");
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}

/**
 * Runs `command` in the machine, with this very Bun called `bun` in PATH.
 *
 * @param env Also `BB_VM_…`, which run-in-vm reads. Only variables that begin with `BB_` reach the command.
 * @returns Its exit status.
 */
export function runInVm(command: readonly string[], env: Record<string, string> = {}): number {
  const bin = "mkdir /tmp/bin && ln -s $0 /tmp/bin/bun && ln -s $0 /tmp/bin/bunx && export PATH=/tmp/bin:$PATH";
  // As on most hosts, what tests make lies on the root's file system, and loop devices are there.
  const place = "export TMPDIR=/var/tmp; modprobe loop";
  return run([VM, "sh", "-c", `${bin} && { ${place}; exec "$@"; }`, process.execPath, ...command], {
    BB_VM_SHARE: `${ROOT}:${dirname(process.execPath)}`,
    BB_VM_THREAD: process.env["BB_VM_THREAD"] ?? "single",
    ...env,
  });
}
