import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { interpret, verify } from "./bpf-interpreter.ts";
import { compileSeccomp } from "./compile.ts";
import { actionValue, type LinuxSeccomp, type LinuxSeccompArg, type SeccompArch, seccompFlags } from "./profile.ts";
import { type Abi, syscallNumbers } from "./syscalls.ts";

const AUDIT: Readonly<Record<Abi, number>> = {
  x86_64: 0xc000_003e,
  x32: 0xc000_003e,
  x86: 0x4000_0003,
  aarch64: 0xc000_00b7,
  arm: 0x4000_0028,
};
const LISTED = {
  x64: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
  arm64: ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
};
const ABIS: Readonly<Record<SeccompArch, readonly Abi[]>> = {
  x64: ["x86_64", "x86", "x32"],
  arm64: ["aarch64", "arm"],
};
const ALLOW = 0x7fff_0000;
const KILL_PROCESS = 0x8000_0000;
const EPERM = 0x0005_0001;
const ENOSYS = 0x0005_0026;

function run(profile: LinuxSeccomp, name: string, args: readonly bigint[] = [], abi: Abi = "x86_64"): number {
  const nr = syscallNumbers(abi).get(name) ?? Number(name);
  return interpret(compileSeccomp(profile, { arch: "x64" }), { arch: AUDIT[abi], nr, args }).action;
}

function allowing(args: readonly LinuxSeccompArg[]): LinuxSeccomp {
  return {
    defaultAction: "SCMP_ACT_ERRNO",
    syscalls: [{ names: ["mmap"], action: "SCMP_ACT_ALLOW", args }],
  };
}

describe("comparisons", () => {
  const big = 0x1_0000_0005n;
  test.each([
    ["SCMP_CMP_EQ", [big], [5n, 0x2_0000_0005n, 0x1_0000_0004n]],
    ["SCMP_CMP_NE", [5n, 0x2_0000_0005n], [big]],
    ["SCMP_CMP_LT", [0n, 5n, 0xffff_ffffn, 0x1_0000_0004n], [big, 0x1_0000_0006n, 0x2_0000_0000n]],
    ["SCMP_CMP_LE", [5n, 0x1_0000_0004n, big], [0x1_0000_0006n, 0x2_0000_0000n]],
    ["SCMP_CMP_GT", [0x1_0000_0006n, 0x2_0000_0000n, 2n ** 64n - 1n], [big, 6n, 0xffff_ffffn]],
    ["SCMP_CMP_GE", [big, 0x2_0000_0000n], [0x1_0000_0004n, 5n]],
  ])("%s takes all 64 bits", (op, holds, fails) => {
    for (const value of [big, Number(big)]) {
      const profile = allowing([{ index: 3, value, op }]);
      for (const arg of holds) expect(run(profile, "mmap", [0n, 0n, 0n, arg])).toBe(ALLOW);
      for (const arg of fails) expect(run(profile, "mmap", [0n, 0n, 0n, arg])).toBe(EPERM);
    }
  });

  test("SCMP_CMP_MASKED_EQ looks at the masked bits of both halves", () => {
    const profile = allowing([
      { index: 0, value: 0xff_0000_000fn, valueTwo: 0x1_0000_0003n, op: "SCMP_CMP_MASKED_EQ" },
    ]);
    expect(run(profile, "mmap", [0x1_ffff_fff3n])).toBe(ALLOW);
    expect(run(profile, "mmap", [0x2_0000_0003n])).toBe(EPERM);
    expect(run(profile, "mmap", [0x1_0000_0007n])).toBe(EPERM);
  });

  test("a value of 2^64-1 is exact", () => {
    const profile = allowing([{ index: 0, value: 2n ** 64n - 1n, op: "SCMP_CMP_EQ" }]);
    expect(run(profile, "mmap", [2n ** 64n - 1n])).toBe(ALLOW);
    expect(run(profile, "mmap", [2n ** 64n - 2n])).toBe(EPERM);
  });
});

describe("rules", () => {
  test("comparisons of one rule must all hold, rules of one name are alternatives", () => {
    const profile: LinuxSeccomp = {
      defaultAction: "SCMP_ACT_ERRNO",
      syscalls: [
        {
          names: ["mmap"],
          action: "SCMP_ACT_ALLOW",
          args: [
            { index: 0, value: 1, op: "SCMP_CMP_EQ" },
            { index: 1, value: 2, op: "SCMP_CMP_EQ" },
          ],
        },
        { names: ["mmap"], action: "SCMP_ACT_LOG", args: [{ index: 0, value: 7, op: "SCMP_CMP_EQ" }] },
      ],
    };
    expect(run(profile, "mmap", [1n, 2n])).toBe(ALLOW);
    expect(run(profile, "mmap", [1n, 3n])).toBe(EPERM);
    expect(run(profile, "mmap", [7n, 9n])).toBe(0x7ffc_0000);
  });

  test("comparisons of one argument are alternatives, as runc has it", () => {
    const profile = allowing([
      { index: 0, value: 1, op: "SCMP_CMP_EQ" },
      { index: 0, value: 2, op: "SCMP_CMP_EQ" },
    ]);
    expect([1n, 2n, 3n].map((arg) => run(profile, "mmap", [arg]))).toEqual([ALLOW, ALLOW, EPERM]);
  });

  test("a rule without arguments wins over those with, wherever it stands", () => {
    const profile: LinuxSeccomp = {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [
        { names: ["mmap"], action: "SCMP_ACT_LOG", args: [{ index: 0, value: 1, op: "SCMP_CMP_EQ" }] },
        { names: ["mmap"], action: "SCMP_ACT_KILL" },
      ],
    };
    expect(run(profile, "mmap", [1n])).toBe(0);
  });

  test("arguments of 32 bits are compared without what stands above", () => {
    const profile: LinuxSeccomp = {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [
        { names: ["ioctl"], action: "SCMP_ACT_ERRNO", args: [{ index: 1, value: 0x5412, op: "SCMP_CMP_EQ" }] },
        {
          names: ["personality"],
          action: "SCMP_ACT_ERRNO",
          args: [{ index: 0, value: 2n ** 64n - 1n, op: "SCMP_CMP_EQ" }],
        },
      ],
    };
    expect(run(profile, "ioctl", [0n, 0xabcd_0000_5412n])).toBe(EPERM);
    expect(run(profile, "personality", [0xffff_ffffn])).toBe(EPERM);
    expect(run(profile, "personality", [0xffff_fffen])).toBe(ALLOW);
  });

  test("i386 reaches sockets and System V IPC through socketcall and ipc, too", () => {
    const profile: LinuxSeccomp = {
      defaultAction: "SCMP_ACT_ALLOW",
      architectures: LISTED.x64,
      syscalls: [{ names: ["socket", "shmget"], action: "SCMP_ACT_ERRNO" }],
    };
    expect(run(profile, "socket", [], "x86")).toBe(EPERM);
    expect([1n, 2n].map((call) => run(profile, "socketcall", [call], "x86"))).toEqual([EPERM, ALLOW]);
    expect([23n, 0x1_0017n, 24n].map((call) => run(profile, "ipc", [call], "x86"))).toEqual([EPERM, EPERM, ALLOW]);
  });

  test("unknown names and rules with the default action change nothing", () => {
    const rules = [
      { names: ["no_such_call"], action: "SCMP_ACT_ALLOW" },
      { names: ["read"], action: "SCMP_ACT_ERRNO", errnoRet: 1 },
    ];
    const profile: LinuxSeccomp = { defaultAction: "SCMP_ACT_ERRNO", syscalls: rules };
    expect(run(profile, "read")).toBe(EPERM);
    expect(run(profile, "write")).toBe(ENOSYS); // newer than read, the newest that is named
  });
});

describe("architectures", () => {
  const profile: LinuxSeccomp = { defaultAction: "SCMP_ACT_ALLOW", architectures: ["SCMP_ARCH_X86_64"] };
  test("those not listed are killed, x32 included", () => {
    expect(run(profile, "read")).toBe(ALLOW);
    expect(run(profile, "read", [], "x86")).toBe(KILL_PROCESS);
    expect(run(profile, "read", [], "x32")).toBe(KILL_PROCESS);
  });
  test("the number -1, a call that a tracer skipped, is not x32", () => {
    expect(run(profile, "4294967295")).toBe(ALLOW);
  });
  test("the native one needs no listing", () => {
    expect(run({ defaultAction: "SCMP_ACT_ALLOW" }, "read")).toBe(ALLOW);
  });
});

test.each([
  ["SCMP_ACT_KILL", undefined, 0],
  ["SCMP_ACT_KILL_THREAD", undefined, 0],
  ["SCMP_ACT_KILL_PROCESS", undefined, 0x8000_0000],
  ["SCMP_ACT_TRAP", undefined, 0x0003_0000],
  ["SCMP_ACT_ERRNO", undefined, 0x0005_0001],
  ["SCMP_ACT_ERRNO", 0, 0x0005_0000],
  ["SCMP_ACT_ERRNO", 38, 0x0005_0026],
  ["SCMP_ACT_TRACE", 65535, 0x7ff0_ffff],
  ["SCMP_ACT_LOG", undefined, 0x7ffc_0000],
  ["SCMP_ACT_NOTIFY", undefined, 0x7fc0_0000],
  ["SCMP_ACT_ALLOW", undefined, 0x7fff_0000],
])("%s with errnoRet %p is %p", (action, errnoRet, expected) => {
  expect(actionValue(action, errnoRet)).toBe(expected);
});

test.each<[string, LinuxSeccomp, string]>([
  ["an unknown action", { defaultAction: "SCMP_ACT_MAYBE" }, '"SCMP_ACT_MAYBE" is not an action'],
  ["a property of objects as action", { defaultAction: "toString" }, '"toString" is not an action'],
  [
    "an errno where there is none",
    { defaultAction: "SCMP_ACT_ALLOW", defaultErrnoRet: 1 },
    '"SCMP_ACT_ALLOW" takes no errnoRet',
  ],
  [
    "an errno out of range",
    { defaultAction: "SCMP_ACT_ERRNO", defaultErrnoRet: 4096 },
    'errnoRet of "SCMP_ACT_ERRNO" is 4096, not in 0 to 4095',
  ],
  [
    "an architecture that is none",
    { defaultAction: "SCMP_ACT_ALLOW", architectures: ["amd64"] },
    '"amd64" is not an architecture',
  ],
  ["NOTIFY by default", { defaultAction: "SCMP_ACT_NOTIFY" }, "SCMP_ACT_NOTIFY cannot be the default action"],
  [
    "NOTIFY for write",
    { defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names: ["write"], action: "SCMP_ACT_NOTIFY" }] },
    "SCMP_ACT_NOTIFY cannot be used for the write syscall, which hands over the listener",
  ],
  [
    "a rule of nothing",
    { defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names: [], action: "SCMP_ACT_LOG" }] },
    "a rule names no system call",
  ],
  ["an unknown comparison", allowing([{ index: 0, value: 0, op: "<" }]), '"<" is not a comparison'],
  [
    "a seventh argument",
    allowing([{ index: 6, value: 0, op: "SCMP_CMP_EQ" }]),
    "a system call has no argument 6, only 0 to 5",
  ],
  [
    "a negative value",
    allowing([{ index: 0, value: -1, op: "SCMP_CMP_EQ" }]),
    "-1 is not a whole number from 0 to 2^53 (write larger ones as bigint)",
  ],
  [
    "an inexact value",
    allowing([{ index: 0, value: 2 ** 64, op: "SCMP_CMP_EQ" }]),
    "18446744073709552000 is not a whole number from 0 to 2^53 (write larger ones as bigint)",
  ],
  [
    "a value of 65 bits",
    allowing([{ index: 0, value: 2n ** 64n, op: "SCMP_CMP_EQ" }]),
    "18446744073709551616 does not fit an argument of 64 bits",
  ],
])("compileSeccomp() refuses %s", (_, profile, state) => {
  expect(() => compileSeccomp(profile, { arch: "x64" })).toThrow(
    expect.objectContaining({ code: "seccomp-profile", message: `Cannot use the seccomp profile: ${state}` }),
  );
});

test("compileSeccomp() says when the kernel would not take the program", () => {
  const args = Array.from({ length: 1500 }, (_, value): LinuxSeccompArg => ({ index: 0, value, op: "SCMP_CMP_EQ" }));
  expect(() => compileSeccomp(allowing(args), { arch: "x64" })).toThrow(
    expect.objectContaining({ code: "seccomp-too-long" }),
  );
});

test("seccompFlags() knows the OCI names, adds NEW_LISTENER, and allows speculation by default", () => {
  const notify: LinuxSeccomp = {
    defaultAction: "SCMP_ACT_ALLOW",
    syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_NOTIFY" }],
  };
  expect(seccompFlags({ defaultAction: "SCMP_ACT_ALLOW" })).toBe(4);
  expect(seccompFlags({ defaultAction: "SCMP_ACT_ALLOW", flags: [] })).toBe(0);
  expect(seccompFlags({ ...notify, flags: ["SECCOMP_FILTER_FLAG_LOG"] })).toBe(2 + 8);
  expect(() => seccompFlags({ ...notify, flags: ["LOG"] })).toThrow('"LOG" is not a flag');
});

// FZ-19: the program must give what reading the profile rule by rule gives.
describe("random profiles", () => {
  const names =
    "read write open socket ioctl clone prctl personality shmget socketcall ipc semop mmap set_tls chown32 listns futex_time64 execve".split(
      " ",
    );
  const actions = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_LOG",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
  ];
  const ops = "EQ NE LT LE GT GE MASKED_EQ".split(" ").map((op) => `SCMP_CMP_${op}`);
  const edge = fc.constantFrom(
    0n,
    1n,
    5n,
    0x26n,
    0xffff_ffffn,
    0x1_0000_0000n,
    0x1_0000_0005n,
    0x7e02_0000n,
    2n ** 63n,
    2n ** 64n - 1n,
  );
  const value = fc.oneof(edge, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }));
  const arg = fc.record({ index: fc.nat({ max: 5 }), value, valueTwo: value, op: fc.constantFrom(...ops) });
  const rule = fc.record({
    names: fc.uniqueArray(fc.constantFrom(...names), { minLength: 1, maxLength: 4 }),
    action: fc.constantFrom(...actions),
    args: fc.oneof(
      { weight: 2, arbitrary: fc.constant([]) },
      { weight: 3, arbitrary: fc.array(arg, { maxLength: 3 }) },
    ),
  });
  const profiles = fc.record({
    arch: fc.constantFrom<SeccompArch>("x64", "arm64"),
    defaultAction: fc.constantFrom(...actions),
    listed: fc.infiniteStream(fc.boolean()),
    syscalls: fc.array(rule, { maxLength: 8 }),
  });

  test("compile to their meaning", () => {
    fc.assert(
      fc.property(
        profiles,
        fc.array(
          fc.tuple(
            fc.constantFrom(...names, "-"),
            fc.nat({ max: 480 }),
            fc.array(value, { minLength: 6, maxLength: 6 }),
          ),
          { minLength: 12, maxLength: 12 },
        ),
        ({ arch, defaultAction, listed, syscalls }, calls) => {
          const architectures = LISTED[arch].filter(() => listed.next().value);
          const profile: LinuxSeccomp = { defaultAction, architectures, syscalls };
          const filter = compileSeccomp(profile, { arch });
          verify(filter);
          for (const [name, number, wide] of calls)
            for (const abi of ABIS[arch]) {
              const args = abi === "x86" || abi === "arm" ? wide.map((each) => each & 0xffff_ffffn) : wide;
              const nr = syscallNumbers(abi).get(name) ?? number + (abi === "x32" ? 0x4000_0000 : 0);
              const { action } = interpret(filter, { arch: AUDIT[abi], nr, args });
              expect({ abi, nr, args, action }).toEqual({
                abi,
                nr,
                args,
                action: meaning(profile, arch, abi, nr, args),
              });
            }
        },
      ),
      { numRuns: 300 },
    );
  });

  test("jump over any distance", () => {
    const everything = [...syscallNumbers("x86_64").keys()];
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.constantFrom(...everything), { minLength: 50 }),
        fc.array(arg, { minLength: 1, maxLength: 2 }),
        (some, args) => {
          const syscalls = some.map((name, i) => ({
            names: [name],
            action: "SCMP_ACT_ERRNO",
            errnoRet: i,
            ...(i % 3 === 0 ? { args } : {}),
          }));
          const profile: LinuxSeccomp = { defaultAction: "SCMP_ACT_ALLOW", syscalls };
          const filter = compileSeccomp(profile, { arch: "x64" });
          verify(filter);
          for (const nr of syscallNumbers("x86_64").values()) {
            const call = args.reduce(
              (list, { index, value: wanted }) => list.with(index, wanted),
              Array.from({ length: 6 }, () => 0n),
            );
            expect(interpret(filter, { arch: AUDIT.x86_64, nr, args: call }).action).toBe(
              meaning(profile, "x64", "x86_64", nr, call),
            );
          }
        },
      ),
      { numRuns: 15 },
    );
  });
});

const WIDTH_32: Readonly<Record<string, readonly number[]>> = {
  fcntl: [0, 1],
  ioctl: [0, 1],
  personality: [0],
  prctl: [0],
  setns: [0, 1],
  socket: [0, 1, 2],
  socketpair: [0, 1, 2],
};
const SOCKETCALLS: Readonly<Record<string, bigint>> = { socket: 1n };
const IPCS: Readonly<Record<string, bigint>> = { semop: 1n, shmget: 23n };

/** The answer by reading the profile, with nothing of the compiler but the tables of numbers. */
function meaning(profile: LinuxSeccomp, arch: SeccompArch, abi: Abi, nr: number, args: readonly bigint[]): number {
  const fallback = actionValue(profile.defaultAction, profile.defaultErrnoRet);
  const table = syscallNumbers(abi);
  const native = arch === "x64" ? "x86_64" : "aarch64";
  const listed = new Set(profile.architectures);
  const scmp = { x86: "SCMP_ARCH_X86", x32: "SCMP_ARCH_X32", arm: "SCMP_ARCH_ARM", x86_64: "", aarch64: "" }[abi];
  if (abi !== native && !listed.has(scmp)) return KILL_PROCESS;

  const rules = profile.syscalls ?? [];
  const named = rules.flatMap(({ names }) => names.map((name) => table.get(name) ?? -1));
  // socketcall and ipc count as named through the calls that they carry.
  if (abi === "x86")
    for (const { names } of rules)
      for (const name of names) {
        if (name in SOCKETCALLS) named.push(102);
        if (name in IPCS) named.push(117);
      }
  const newest = Math.max(-1, ...named.filter((each) => abi !== "arm" || each < 0xf_0000));
  const isPermissive = [0x7fff, 0x7ffc, 0x7ff0].includes(fallback >>> 16);
  if (newest >= 0 && nr > newest && !isPermissive && !(abi === "arm" && nr >= 0xf_0000)) return ENOSYS;

  let chosen: number | undefined;
  for (const { names, action, errnoRet, args: conditions = [] } of rules) {
    const value = actionValue(action, errnoRet);
    if (value === fallback) continue;
    for (const name of names) {
      const isCalled = table.get(name) === nr;
      if (conditions.length === 0) {
        if (isCalled) return value;
        if (abi !== "x86") continue;
        if (nr === 102 && SOCKETCALLS[name] === args[0]) chosen ??= value;
        if (nr === 117 && IPCS[name] === (args[0] ?? 0n) % 0x1_0000n) chosen ??= value;
      } else if (isCalled) {
        const holds = conditions.map((each) => compare(each, args[each.index] ?? 0n, abi, name));
        const indexes = new Set(conditions.map(({ index }) => index));
        const all = indexes.size === conditions.length;
        if (all ? holds.every(Boolean) : holds.some(Boolean)) chosen ??= value;
      }
    }
  }
  return chosen ?? fallback;
}

function compare({ index, value, valueTwo = 0, op }: LinuxSeccompArg, arg: bigint, abi: Abi, name: string): boolean {
  let have = arg;
  let want = BigInt(value);
  const isNarrow = abi === "x86" || abi === "arm" || (WIDTH_32[name] ?? []).includes(index);
  if (isNarrow) {
    have &= 0xffff_ffffn;
    if (want >> 32n === 0xffff_ffffn || op === "SCMP_CMP_MASKED_EQ") want &= 0xffff_ffffn;
  }
  switch (op) {
    case "SCMP_CMP_EQ":
      return have === want;
    case "SCMP_CMP_NE":
      return have !== want;
    case "SCMP_CMP_LT":
      return have < want;
    case "SCMP_CMP_LE":
      return have <= want;
    case "SCMP_CMP_GT":
      return have > want;
    case "SCMP_CMP_GE":
      return have >= want;
    default:
      return (have & want) === (BigInt(valueTwo) & want);
  }
}
