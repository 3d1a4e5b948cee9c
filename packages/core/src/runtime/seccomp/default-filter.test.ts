import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { ALL_CAPABILITIES, capabilitySet, DEFAULT_CAPABILITIES, NO_CAPABILITIES } from "../capabilities.ts";
import { interpret, verify } from "./bpf-interpreter.ts";
import { compileSeccomp } from "./compile.ts";
import { defaultSeccompFilter } from "./default-filter.ts";
import { defaultSeccompProfile } from "./default-profile.ts";
import { syscallNumbers } from "./syscalls.ts";

const X86_64 = 0xc000_003e;
const I386 = 0x4000_0003;
const AARCH64 = 0xc000_00b7;
const ARM = 0x4000_0028;
const ALLOW = 0x7fff_0000;
const EPERM = 0x0005_0001;
const ENOSYS = 0x0005_0026;
const KILL_PROCESS = 0x8000_0000;

const WORDS = new Map([
  [ALLOW, "ALLOW"],
  [EPERM, "EPERM"],
  [ENOSYS, "ENOSYS"],
]);

const withSysAdmin = {
  lo: (DEFAULT_CAPABILITIES.lo | capabilitySet(["SYS_ADMIN"]).lo) >>> 0,
  hi: 0,
};

const x64 = await defaultSeccompFilter({ arch: "x64", capabilities: DEFAULT_CAPABILITIES });
const arm64 = await defaultSeccompFilter({ arch: "arm64", capabilities: DEFAULT_CAPABILITIES });
const admin = await defaultSeccompFilter({ arch: "x64", capabilities: withSysAdmin });

// Arguments that answer differently where arguments decide.
const PROBES = [[0n], [38n], [39n], [40n], [41n], [0x1000_0000n], [0xffff_ffffn], [0x7e02_0000n]];

function answer(filter: Uint8Array, arch: number, nr: number): string {
  const answers = new Set(PROBES.map((args) => interpret(filter, { arch, nr, args }).action));
  const [first = -1] = answers;
  return answers.size > 1 ? "ARGS" : (WORDS.get(first) ?? `0x${first.toString(16)}`);
}

const answers = readFileSync(`${import.meta.dir}/testdata/default-answers.tsv`, "utf8")
  .split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"))
  .map((line) => line.split("\t"));

describe("the default filter", () => {
  test("answers every x86-64 and i386 call as Docker's", () => {
    const got = answers.map(([name, nr, , , nr32]) => [
      name,
      nr,
      nr === "-" ? "-" : answer(x64, X86_64, Number(nr)),
      nr === "-" ? "-" : answer(admin, X86_64, Number(nr)),
      nr32,
      nr32 === "-" ? "-" : answer(x64, I386, Number(nr32)),
    ]);
    expect(answers.length).toBeGreaterThan(460);
    expect(got).toEqual(answers);
  });

  test.each([
    ["the sum for x86-64", x64, X86_64, "x86_64", { ALLOW: 306, ARGS: 3, ENOSYS: 6, EPERM: 70 }],
    ["the sum for x86-64 with SYS_ADMIN", admin, X86_64, "x86_64", { ALLOW: 331, ARGS: 2, ENOSYS: 5, EPERM: 47 }],
    ["the sum for arm64", arm64, AARCH64, "aarch64", { ALLOW: 264, ARGS: 3, ENOSYS: 6, EPERM: 54 }],
  ] as const)("%s", (_, filter, arch, abi, expected) => {
    const sum: Record<string, number> = {};
    for (const nr of syscallNumbers(abi).values()) {
      const word = answer(filter, arch, nr);
      sum[word] = (sum[word] ?? 0) + 1;
    }
    expect(sum).toEqual(expected);
  });

  test("decides x32 by its own numbers", () => {
    const x32 = syscallNumbers("x32");
    const of = (name: string): string => answer(x64, X86_64, x32.get(name) ?? -1);
    expect(["read", "execve", "socket", "clone3", "mount", "ptrace", "bpf"].map(of)).toEqual([
      "ALLOW",
      "ALLOW",
      "ARGS",
      "ENOSYS",
      "EPERM",
      "ALLOW",
      "EPERM",
    ]);
    // 59 is execve on x86-64 and nothing on x32.
    expect(answer(x64, X86_64, 0x4000_0000 + 59)).toBe("EPERM");
  });

  test("gives ARM its private calls, and ENOSYS for what is newer than the profile", () => {
    const arm = syscallNumbers("arm");
    expect(
      ["set_tls", "cacheflush", "get_tls", "read", "mount"].map((name) => answer(arm64, ARM, arm.get(name) ?? -1)),
    ).toEqual(["ALLOW", "ALLOW", "EPERM", "ALLOW", "EPERM"]);
    expect(answer(arm64, ARM, 467)).toBe("ENOSYS");
  });

  test.each([
    ["unix", 1n, ALLOW],
    ["packet", 17n, ALLOW],
    ["the crypto API", 38n, EPERM],
    ["the crypto API behind a high half", 0x1_0000_0026n, EPERM],
    ["nfc", 39n, ALLOW],
    ["vsock", 40n, EPERM],
    ["vsock as a sign-extended number", 0xffff_ffff_0000_0028n, EPERM],
    ["kcm", 41n, ALLOW],
  ])("socket() of family %s", (_, family, expected) => {
    for (const [filter, arch, nr] of [
      [x64, X86_64, 41],
      [arm64, AARCH64, 198],
    ] as const)
      expect(interpret(filter, { arch, nr, args: [family] }).action).toBe(expected);
  });

  test.each([
    ["fork's flags", 0x0120_0011n, ALLOW],
    ["a new user namespace", 0x1000_0000n, EPERM],
    ["a new mount namespace", 0x0002_0000n, EPERM],
    ["a new cgroup namespace among others", 0x0200_0011n, EPERM],
  ])("clone() with %s", (_, flags, expected) => {
    expect(interpret(x64, { arch: X86_64, nr: 56, args: [flags] }).action).toBe(expected);
  });

  test("kills callers of another architecture", () => {
    for (const arch of [AARCH64, 0, 0xffff_ffff]) expect(interpret(x64, { arch, nr: 0 }).action).toBe(KILL_PROCESS);
    expect(interpret(arm64, { arch: X86_64, nr: 0 }).action).toBe(KILL_PROCESS);
  });

  test("is what the compiler makes of the profile, precompiled or not", async () => {
    const subjects = [DEFAULT_CAPABILITIES, NO_CAPABILITIES, ALL_CAPABILITIES, capabilitySet(["NET_ADMIN", "BPF"])];
    for (const arch of ["x64", "arm64"] as const)
      for (const capabilities of subjects) {
        const compiled = compileSeccomp(defaultSeccompProfile({ arch, capabilities }), { arch });
        expect(await defaultSeccompFilter({ arch, capabilities })).toEqual(compiled);
        verify(compiled);
      }
  });

  test("takes few steps", () => {
    const steps = [...syscallNumbers("x86_64").values()].map((nr) => interpret(x64, { arch: X86_64, nr }).steps);
    expect(Math.max(...steps)).toBeLessThanOrEqual(16);
    expect(steps.reduce((sum, n) => sum + n) / steps.length).toBeLessThan(12);
    expect(x64.length / 8).toBeLessThan(400);
  });
});
