import { describe, expect, test } from "bun:test";
import { closeSync } from "node:fs";
import { isErrno } from "@bantubox/ffi";
import fc from "fast-check";
import { ACCESS, type DevicePolicy, type DeviceRule, parseDevices } from "./devices.ts";
import { limitDevices } from "./v1/devices.ts";
import { compileDevices, loadDeviceProgram } from "./v2/devices.ts";

interface Question {
  readonly type: "b" | "c";
  readonly major: number;
  readonly minor: number;
  readonly access: number;
}

/** The meaning, from the OCI list itself: each right by itself, the last entry that covers it decides, none denies. */
function isAllowed(list: readonly DeviceRule[], { type, major, minor, access }: Question): boolean {
  for (const [letter, bit] of [
    ["m", ACCESS.mknod],
    ["r", ACCESS.read],
    ["w", ACCESS.write],
  ] as const) {
    if ((access & bit) === 0) continue;
    const last = list.findLast(
      (rule) =>
        ((rule.type ?? "a") === "a" || rule.type === type) &&
        [-1, major].includes(rule.major ?? -1) &&
        [-1, minor].includes(rule.minor ?? -1) &&
        (rule.access ?? "rwm").includes(letter),
    );
    if (last?.allow !== true) return false;
  }
  return true;
}

/** The kernel's side of v2: the few instructions that our programs use, and their rules (no loop, no run off the end). */
function interpret(program: Uint8Array | undefined, { type, major, minor, access }: Question): boolean {
  if (program === undefined) return true;
  const view = new DataView(program.buffer, program.byteOffset, program.length);
  const context = [(access << 16) | (type === "b" ? 1 : 2), major, minor];
  const registers = new Array<number | undefined>(11);
  const read = (register: number): number => {
    const value = registers[register];
    if (value === undefined) throw new Error(`r${register} is read before it is written`);
    return value;
  };
  for (let at = 0; at < program.length / 8; at++) {
    const code = view.getUint8(at * 8);
    const target = view.getUint8(at * 8 + 1) & 15;
    const offset = view.getInt16(at * 8 + 2, true);
    const immediate = view.getInt32(at * 8 + 4, true);
    if (offset < 0) throw new Error("A jump backwards");
    if (code === 0x61) registers[target] = context[offset / 4];
    else if (code === 0xb7) registers[target] = immediate;
    else if (code === 0x57) registers[target] = read(target) & immediate;
    else if (code === 0x77) registers[target] = read(target) >>> immediate;
    else if (code === 0x05) at += offset;
    else if (code === 0x55) at += read(target) === immediate ? 0 : offset;
    else if (code === 0x45) at += (read(target) & immediate) === 0 ? 0 : offset;
    else if (code === 0x95) return read(0) === 1;
    else throw new Error(`Opcode ${code}`);
  }
  throw new Error("The program runs off its end");
}

/** The kernel's side of v1 (security/device_cgroup.c): a default and a set of exceptions from it. */
function evaluateV1(writes: readonly { path: string; value: string }[], question: Question): boolean {
  let denies = false;
  const exceptions = new Map<string, number>();
  for (const { path, value } of writes) {
    if (value === "a") {
      denies = path.endsWith("devices.deny");
      exceptions.clear();
      continue;
    }
    const [type, numbers, letters = ""] = value.split(" ");
    const bits = (letters.includes("m") ? 1 : 0) | (letters.includes("r") ? 2 : 0) | (letters.includes("w") ? 4 : 0);
    const key = `${type} ${numbers}`;
    const adds = path.endsWith("devices.allow") === denies;
    const known = exceptions.get(key) ?? 0;
    exceptions.set(key, adds ? known | bits : known & ~bits);
  }
  let matches = false;
  for (const [key, bits] of exceptions) {
    const [type, major, minor] = key.split(/[ :]/);
    if (bits === 0 || type !== question.type) continue;
    if (major !== "*" && Number(major) !== question.major) continue;
    if (minor !== "*" && Number(minor) !== question.minor) continue;
    // One exception must allow all that is asked for; one that denies a part of it is enough.
    matches ||= denies ? (question.access & ~bits) === 0 : (question.access & bits) !== 0;
  }
  return matches === denies;
}

const number = fc.constantFrom(undefined, -1, 0, 1, 2);
const rule: fc.Arbitrary<DeviceRule> = fc.record({
  allow: fc.boolean(),
  type: fc.constantFrom(undefined, "a", "b", "c"),
  major: number,
  minor: number,
  access: fc.constantFrom(undefined, "r", "w", "m", "rw", "mr", "mw", "rwm"),
});
const QUESTIONS: Question[] = (["b", "c"] as const).flatMap((type) =>
  [0, 1, 3].flatMap((major) =>
    [0, 2, 3].flatMap((minor) => [1, 2, 4, 6, 7].map((access) => ({ type, major, minor, access }))),
  ),
);
// The kernel asks for mknod alone, and for reading and writing alone or together.
const ASKED = QUESTIONS.filter(({ access }) => access !== 7);

const DOCKER: DeviceRule[] = [
  { allow: false, access: "rwm" },
  { allow: false, type: "c", major: 10, minor: 229, access: "rwm" },
  { allow: true, type: "c", access: "m" },
  { allow: true, type: "b", access: "m" },
  ...[3, 5, 7, 8, 9].map((minor) => ({ allow: true, type: "c", major: 1, minor, access: "rwm" })),
  { allow: true, type: "c", major: 5, minor: 0, access: "rwm" },
  { allow: true, type: "c", major: 5, minor: 2, access: "rwm" },
  { allow: true, type: "c", major: 136, access: "rwm" },
];

describe("a device list means the same", () => {
  test("to the v2 program as to the list", () => {
    fc.assert(
      fc.property(fc.array(rule, { maxLength: 8 }), (list) => {
        const program = compileDevices(parseDevices(list));
        for (const question of QUESTIONS) {
          expect([question, interpret(program, question)]).toEqual([question, isAllowed(list, question)]);
        }
      }),
      { numRuns: 60 },
    );
  });

  test("to the v1 files as to the list, wherever v1 can say it", () => {
    let said = 0;
    fc.assert(
      fc.property(fc.array(rule, { maxLength: 6 }), (list) => {
        const writes = limitDevices("/x", parseDevices(list));
        if (writes === undefined) return;
        said++;
        for (const question of ASKED) {
          expect([question, evaluateV1(writes, question)]).toEqual([question, isAllowed(list, question)]);
        }
      }),
      { numRuns: 120 },
    );
    expect(said).toBeGreaterThan(20);
  });

  test("to both for Docker's list", () => {
    const program = compileDevices(parseDevices(DOCKER));
    const writes = limitDevices("/x", parseDevices(DOCKER)) ?? [];
    for (const [type, major, minor, access, expected] of [
      ["c", 1, 3, 6, true],
      ["c", 10, 229, 1, true],
      ["c", 10, 229, 2, false],
      ["b", 8, 0, 1, true],
      ["b", 8, 0, 4, false],
      ["c", 136, 77, 6, true],
      ["b", 136, 77, 6, false],
    ] as const) {
      const question = { type, major, minor, access };
      expect([question, interpret(program, question)]).toEqual([question, expected]);
      expect([question, evaluateV1(writes, question)]).toEqual([question, expected]);
    }
  });
});

test.each([
  [
    "a hole in a range",
    [
      { allow: true, type: "c", major: 10 },
      { allow: false, type: "c", major: 10, minor: 229 },
    ],
  ],
  ["a spot in a denied range", [{ allow: true }, { allow: false, type: "b" }, { allow: true, type: "b", major: 8 }]],
])("limitDevices() gives up at %s", (_, list) => {
  expect(limitDevices("/x", parseDevices(list))).toBeUndefined();
});

test.each([
  ["a type of something else", { allow: true, type: "p" }],
  ["no access", { allow: true, access: "" }],
  ["an unknown access", { allow: true, access: "rx" }],
  ["a major that no device has", { allow: true, type: "c", major: 4096 }],
  ["a minor with a fraction", { allow: true, type: "c", major: 1, minor: 0.5 }],
])("parseDevices() refuses %s", (_, bad) => {
  expect(() => parseDevices([bad])).toThrow(expect.objectContaining({ code: "invalid-resources" }));
});

function bpfMissing(): string | undefined {
  try {
    closeSync(loadDeviceProgram(compileDevices({ allowed: false, rules: [] }) ?? new Uint8Array()));
    return undefined;
  } catch (error) {
    if (isErrno(error, "EPERM", "ENOSYS", "EINVAL")) return error.message;
    throw error;
  }
}

const missing = bpfMissing();
if (missing !== undefined) console.warn(`skipped: the kernel does not load device programs: ${missing}`);

describe.skipIf(missing !== undefined)("the kernel's verifier accepts", () => {
  const longest: DeviceRule[] = Array.from({ length: 480 }, (_, minor) => ({
    allow: minor % 3 !== 0,
    type: minor % 2 === 0 ? "c" : "b",
    major: minor % 7,
    minor: minor % 11,
    access: ["r", "w", "m", "rw", "rwm"][minor % 5] ?? "m",
  }));
  test.each([
    ["Docker's list", parseDevices(DOCKER)],
    ["one deny", parseDevices([{ allow: true }, { allow: false, type: "c", major: 1, minor: 3, access: "w" }])],
    ["as many rules as there may be", parseDevices(longest)],
  ] as [string, DevicePolicy][])("%s", (_, policy) => {
    const fd = loadDeviceProgram(compileDevices(policy) ?? new Uint8Array());
    expect(fd).toBeGreaterThan(2);
    closeSync(fd);
  });

  test("anything random", () => {
    fc.assert(
      fc.property(fc.array(rule, { maxLength: 20 }), (list) => {
        const program = compileDevices(parseDevices(list));
        if (program !== undefined) closeSync(loadDeviceProgram(program));
      }),
      { numRuns: 20 },
    );
  });
});
