import { describe, expect, test } from "bun:test";
import { capabilitySet, DEFAULT_CAPABILITIES } from "../capabilities.ts";
import { compileSeccomp } from "./compile.ts";
import { type ProfileFileSubject, parseSeccompFile } from "./profile-file.ts";

const SUBJECT: ProfileFileSubject = {
  arch: "x64",
  capabilities: DEFAULT_CAPABILITIES,
  kernelRelease: "6.1.0-18-amd64",
};

const DOCKER = {
  defaultAction: "SCMP_ACT_ERRNO",
  defaultErrnoRet: 1,
  archMap: [
    { architecture: "SCMP_ARCH_X86_64", subArchitectures: ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] },
    { architecture: "SCMP_ARCH_AARCH64", subArchitectures: ["SCMP_ARCH_ARM"] },
    { architecture: "SCMP_ARCH_RISCV64", subArchitectures: null },
  ],
  syscalls: [
    { names: ["read", "write"], action: "SCMP_ACT_ALLOW", args: [], comment: "", includes: {}, excludes: {} },
    { name: "open", action: "SCMP_ACT_ALLOW" },
    { names: ["ptrace"], action: "SCMP_ACT_ALLOW", includes: { minKernel: "4.8" } },
    { names: ["future"], action: "SCMP_ACT_ALLOW", includes: { minKernel: "6.2" } },
    { names: ["mount"], action: "SCMP_ACT_ALLOW", includes: { caps: ["CAP_SYS_ADMIN"] } },
    { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: 38, excludes: { caps: ["CAP_SYS_ADMIN"] } },
    { names: ["arch_prctl"], action: "SCMP_ACT_ALLOW", includes: { arches: ["amd64", "x32"] } },
    { names: ["cacheflush"], action: "SCMP_ACT_ALLOW", includes: { arches: ["arm", "arm64"] } },
    { names: ["old"], action: "SCMP_ACT_ALLOW", excludes: { minKernel: "5.0", arches: ["s390x"] } },
  ],
};

function names(subject: Partial<ProfileFileSubject> = {}): string {
  const { syscalls = [] } = parseSeccompFile(JSON.stringify(DOCKER), { ...SUBJECT, ...subject });
  return syscalls.flatMap((rule) => rule.names).join(" ");
}

describe("parseSeccompFile() keeps what holds for", () => {
  test.each<[string, Partial<ProfileFileSubject>, string]>([
    ["x64 and the default capabilities", {}, "read write open ptrace clone3 arch_prctl"],
    ["arm64", { arch: "arm64" }, "read write open ptrace clone3 cacheflush"],
    ["SYS_ADMIN", { capabilities: capabilitySet(["SYS_ADMIN"]) }, "read write open ptrace mount arch_prctl"],
    ["a newer kernel", { kernelRelease: "10.0.0" }, "read write open ptrace future clone3 arch_prctl"],
    ["an older kernel", { kernelRelease: "4.7.99" }, "read write open clone3 arch_prctl old"],
  ])("%s", (_, subject, expected) => {
    expect(names(subject)).toBe(expected);
  });
});

test("parseSeccompFile() maps the architecture to its family", () => {
  const text = JSON.stringify(DOCKER);
  expect(parseSeccompFile(text, SUBJECT).architectures).toEqual(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
  expect(parseSeccompFile(text, { ...SUBJECT, arch: "arm64" }).architectures).toEqual([
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
  ]);
});

test("parseSeccompFile() takes the OCI form, large numbers to the last digit", () => {
  const text = `{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"flags":["SECCOMP_FILTER_FLAG_LOG"],
    "syscalls":[{"names":["personality"],"action":"SCMP_ACT_KILL","args":
    [{"index":0,"value":18446744073709551615,"valueTwo":3,"op":"SCMP_CMP_NE"}]}]}`;
  const profile = parseSeccompFile(text, SUBJECT);
  expect(profile).toEqual({
    defaultAction: "SCMP_ACT_ALLOW",
    architectures: ["SCMP_ARCH_X86"],
    flags: ["SECCOMP_FILTER_FLAG_LOG"],
    syscalls: [
      {
        names: ["personality"],
        action: "SCMP_ACT_KILL",
        args: [{ index: 0, value: 2n ** 64n - 1n, valueTwo: 3, op: "SCMP_CMP_NE" }],
      },
    ],
  });
  expect(compileSeccomp(profile, { arch: "x64" }).length).toBeGreaterThan(0);
});

test.each([
  ["what is not JSON", "{", "it is not JSON"],
  ["what is no object", "[]", "the file is missing or malformed"],
  ["an empty profile", "{}", 'it has no "defaultAction"'],
  ["an unknown default action", '{"defaultAction":"ALLOW"}', '"ALLOW" is not an action'],
  [
    "a misspelt key of a rule",
    '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_KILL","arg":[]}]}',
    'syscalls.0 has "arg", which means nothing there',
  ],
  [
    "a value with a fraction",
    '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_KILL","args":[{"index":0,"value":1.5,"op":"SCMP_CMP_EQ"}]}]}',
    "syscalls.0.args.0.value is missing or malformed",
  ],
  [
    "both name and names",
    '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"read","names":["write"],"action":"SCMP_ACT_KILL"}]}',
    'a rule has both "name" and "names", at "read"',
  ],
  [
    "both architectures and archMap",
    '{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}',
    'it has both "architectures" and "archMap"',
  ],
  [
    "a malformed minKernel",
    '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_KILL","includes":{"minKernel":"4"}}]}',
    'minKernel "4" is not of the form "4.8"',
  ],
])("parseSeccompFile() refuses %s", (_, text, state) => {
  expect(() => parseSeccompFile(text, SUBJECT)).toThrow(
    expect.objectContaining({ code: "seccomp-profile", message: `Cannot use the seccomp profile: ${state}` }),
  );
});
