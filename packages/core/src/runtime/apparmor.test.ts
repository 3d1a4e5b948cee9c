import { expect, test } from "bun:test";
import {
  appArmorProfile,
  ensureAppArmorProfile,
  isAppArmorEnabled,
  parseLoadedProfiles,
  requireAppArmorProfile,
} from "./apparmor.ts";

const HOST = { engineLabel: "unconfined", hasAbi3: true, hasTunables: true, hasBase: true };

test("appArmorProfile() on a host with the distribution's policy files", () => {
  expect(appArmorProfile(HOST)).toMatchInlineSnapshot(`
    "abi <abi/3.0>,
    include <tunables/global>

    profile "bantubox-default" flags=(attach_disconnected, mediate_deleted) {
      include <abstractions/base>
      capability,
      file,
      network,
      umount,
      deny mount,
      deny network alg,

      # Signals come from the engine and from each other, traces from each other only.
      signal (receive) peer="unconfined",
      signal (receive) peer="runc",
      signal (receive) peer="crun",
      signal (send, receive) peer="bantubox-default",
      ptrace (trace, tracedby, read, readby) peer="bantubox-default",

      # Of /proc only a process's own directory and the shared memory limits can be written.
      deny @{PROC}/* w,
      deny @{PROC}/[^1-9s]*/** w,
      deny @{PROC}/s[^y]*/** w,
      deny @{PROC}/sy[^s]*/** w,
      deny @{PROC}/sys[^/]*/** w,
      deny @{PROC}/sys/[^k]** w,
      deny @{PROC}/sys/k[^e]** w,
      deny @{PROC}/sys/ke[^r]** w,
      deny @{PROC}/sys/ker[^n]** w,
      deny @{PROC}/sys/kern[^e]** w,
      deny @{PROC}/sys/kerne[^l]** w,
      deny @{PROC}/sys/kernel[^/]** w,
      deny @{PROC}/sys/kernel/[^s]** w,
      deny @{PROC}/sys/kernel/s[^h]** w,
      deny @{PROC}/sys/kernel/sh[^m]** w,
      deny @{PROC}/kcore rwklx,
      deny @{PROC}/sysrq-trigger rwklx,

      # Of /sys only cgroups.
      deny /sys/[^f]** wklx,
      deny /sys/f[^s]** wklx,
      deny /sys/fs[^/]** wklx,
      deny /sys/fs/[^c]** wklx,
      deny /sys/fs/c[^g]** wklx,
      deny /sys/fs/cg[^r]** wklx,
      deny /sys/fs/cgr[^o]** wklx,
      deny /sys/fs/cgro[^u]** wklx,
      deny /sys/fs/cgrou[^p]** wklx,
      deny /sys/devices/virtual/powercap/** rwklx,
      deny /sys/firmware/** rwklx,
      deny /sys/kernel/security/** rwklx,
    }
    "
  `);
});

test("appArmorProfile() where there are none, and the engine is confined itself", () => {
  const lines = appArmorProfile({ engineLabel: '/opt/b b "x"', hasAbi3: false, hasTunables: false, hasBase: false });
  expect(lines.split("\n").slice(0, 4)).toEqual([
    "@{PROC}=/proc/",
    "",
    'profile "bantubox-default" flags=(attach_disconnected, mediate_deleted) {',
    "  capability,",
  ]);
  expect(lines).toContain('  signal (receive) peer="/opt/b b \\"x\\"",\n');
});

test("the patterns leave exactly what a container may write", () => {
  const denied = appArmorProfile(HOST)
    .matchAll(/^ {2}deny (\S+) \w+,$/gm)
    .map(([, pattern = ""]) => toRegExp(pattern.replace("@{PROC}", "/proc")))
    .toArray();
  const isDenied = (path: string): boolean => denied.some((pattern) => pattern.test(path));
  const free =
    "/proc/1/attr/exec /proc/4711/oom_score_adj /proc/sys/kernel/shmmax /sys/fs/cgroup/a/cgroup.procs /tmp/x /etc/proc/y";
  const closed =
    "/proc/sysrq-trigger /proc/kcore /proc/irq/0/smp_affinity /proc/scsi/scsi /proc/sysvipc/shm /proc/sys/kernel/core_pattern /proc/sys/kernel/sem /proc/sys/vm/x /proc/sys/fs/binfmt_misc/register /sys/fs/bpf/x /sys/fs/cg/x /sys/kernel/security/x /sys/firmware/efi /sys/class/x /sys/devices/virtual/powercap/x";
  expect(free.split(" ").filter(isDenied)).toEqual([]);
  expect(closed.split(" ").filter((path) => !isDenied(path))).toEqual([]);
});

test("parseLoadedProfiles() takes the mode off names, blanks and parentheses kept", () => {
  const text = "docker-default (enforce)\n/usr/bin/man (complain)\nmy (old) profile (enforce)\nbare\n";
  expect(parseLoadedProfiles(text)).toEqual(new Set(["docker-default", "/usr/bin/man", "my (old) profile", "bare"]));
});

console.warn(`skipped: what needs a kernel ${isAppArmorEnabled() ? "without" : "with"} AppArmor`);

test.skipIf(isAppArmorEnabled())(
  "on a kernel without AppArmor nothing is loaded, and nothing asked for is ignored",
  () => {
    expect(ensureAppArmorProfile()).toEqual({ profile: undefined, note: "the kernel runs without AppArmor" });
    expect(requireAppArmorProfile("unconfined")).toBeUndefined();
    expect(() => requireAppArmorProfile("my-profile")).toThrow(
      expect.objectContaining({
        code: "apparmor-missing",
        message: 'Cannot use AppArmor profile "my-profile": the kernel runs without AppArmor',
      }),
    );
  },
);

// A profile with a name of its own, so that the one in use stays as it is.
test.skipIf(!isAppArmorEnabled())("on a kernel with AppArmor a name that is not loaded is refused", () => {
  expect(() => requireAppArmorProfile("bantubox-test-absent")).toThrow(
    expect.objectContaining({ code: "apparmor-missing" }),
  );
});

/** AppArmor's globs: ** crosses slashes, * and a class do not. */
function toRegExp(pattern: string): RegExp {
  const source = pattern.replace(/\*\*|\*|\[\^[^\]]+\]|[.{}]/g, (token) => {
    if (token === "**") return ".*";
    if (token === "*") return "[^/]*";
    return token.startsWith("[") ? token : `\\${token}`;
  });
  return new RegExp(`^${source}$`);
}
