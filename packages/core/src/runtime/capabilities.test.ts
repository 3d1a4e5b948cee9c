import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import {
  ALL_CAPABILITIES,
  CAPABILITIES,
  type CapabilityRequest,
  capabilityNames,
  capabilitySet,
  DEFAULT_CAPABILITIES,
  hasCapability,
  NO_CAPABILITIES,
  parseCapabilityMask,
  resolveCapabilities,
} from "./capabilities.ts";

const DEFAULT_NAMES = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SETPCAP",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_RAW",
  "CAP_SYS_CHROOT",
  "CAP_MKNOD",
  "CAP_AUDIT_WRITE",
  "CAP_SETFCAP",
];

function resolve(request: Partial<CapabilityRequest>): string[] {
  return capabilityNames(resolveCapabilities({ available: ALL_CAPABILITIES, ...request }));
}

const header = "/usr/include/linux/capability.h";

if (!existsSync(header)) console.warn(`skipped: there is no ${header}`);

test.skipIf(!existsSync(header))(`the names stand at the kernel's bits (${header})`, () => {
  const defined = readFileSync(header, "utf8").matchAll(/^#define (CAP_[A-Z_]+)\s+(\d+)$/gm);
  const expected = [...defined].map(([, name, bit]) => [name, Number(bit)]);
  expect(expected).toEqual(CAPABILITIES.map((name, bit) => [name, bit]));
});

test("the default set is Docker's mask a80425fb", () => {
  expect(capabilityNames(DEFAULT_CAPABILITIES)).toEqual(DEFAULT_NAMES);
  expect(parseCapabilityMask("00000000a80425fb")).toEqual(DEFAULT_CAPABILITIES);
});

describe("resolveCapabilities()", () => {
  const others = (...names: string[]): string[] => CAPABILITIES.filter((name) => !names.includes(name));
  test.each<[string, Partial<CapabilityRequest>, readonly string[]]>([
    ["nothing asked", {}, DEFAULT_NAMES],
    [
      "one more, in any spelling",
      { add: ["net_Admin"] },
      CAPABILITIES.filter((n) => n === "CAP_NET_ADMIN" || DEFAULT_NAMES.includes(n)),
    ],
    ["one more of the second word", { add: ["CAP_BPF"] }, [...DEFAULT_NAMES, "CAP_BPF"]],
    ["one that is there already", { add: ["CHOWN"] }, DEFAULT_NAMES],
    ["one less", { drop: ["cap_chown"] }, DEFAULT_NAMES.slice(1)],
    ["one less that was not there", { drop: ["SYS_ADMIN"] }, DEFAULT_NAMES],
    ["all", { add: ["ALL"] }, CAPABILITIES],
    ["all but one", { add: ["all"], drop: ["SYS_ADMIN"] }, others("CAP_SYS_ADMIN")],
    ["none", { drop: ["ALL"] }, []],
    ["none but one", { drop: ["ALL"], add: ["NET_BIND_SERVICE"] }, ["CAP_NET_BIND_SERVICE"]],
    ["dropping wins over adding", { add: ["SYS_TIME"], drop: ["SYS_TIME"] }, DEFAULT_NAMES],
    ["dropping all wins over adding all", { add: ["ALL"], drop: ["ALL"] }, []],
    ["privileged", { privileged: true }, CAPABILITIES],
    ["privileged but one", { privileged: true, drop: ["SYS_MODULE"] }, others("CAP_SYS_MODULE")],
    ["privileged where the host has less", { privileged: true, available: DEFAULT_CAPABILITIES }, DEFAULT_NAMES],
    ["the default where the host has less", { available: capabilitySet(["CHOWN", "SYS_ADMIN"]) }, ["CAP_CHOWN"]],
  ])("%s", (_, request, expected) => {
    expect(resolve(request)).toEqual([...expected]);
  });

  test("tells which were named, for the ambient set", () => {
    const request = { add: ["ALL", "NET_RAW", "SYS_TIME"], drop: ["SYS_TIME"], available: ALL_CAPABILITIES };
    expect(capabilityNames(resolveCapabilities(request).named)).toEqual(["CAP_NET_RAW"]);
    expect(resolveCapabilities({ add: ["ALL"], available: ALL_CAPABILITIES }).named).toEqual(NO_CAPABILITIES);
  });

  test.each([
    [
      "a name that does not exist",
      { add: ["NET_ADMINN"] },
      "capability-unknown",
      'Cannot add capability "NET_ADMINN": there is none of that name',
    ],
    ["an empty name", { drop: [""] }, "capability-unknown", 'Cannot drop capability "": there is none of that name'],
    [
      "what the host has not",
      { add: ["SYS_TIME"], available: DEFAULT_CAPABILITIES },
      "capability-unavailable",
      'Cannot add capability "CAP_SYS_TIME": this host does not have it to give',
    ],
  ])("refuses %s", (_, request, code, message) => {
    expect(() => resolve(request)).toThrow(expect.objectContaining({ code, message }));
  });
});

test("sets keep both words unsigned", () => {
  expect(capabilitySet(["SETFCAP", "CHECKPOINT_RESTORE"])).toEqual({ lo: 0x8000_0000, hi: 0x100 });
  expect(capabilitySet([...CAPABILITIES])).toEqual(ALL_CAPABILITIES);
  expect(hasCapability(ALL_CAPABILITIES, "CAP_SYSLOG")).toBe(true);
  expect(hasCapability(DEFAULT_CAPABILITIES, "CAP_SYSLOG")).toBe(false);
  expect(hasCapability(ALL_CAPABILITIES, "SYSLOG")).toBe(false);
});

test("parseCapabilityMask() reads what the kernel prints", () => {
  expect(parseCapabilityMask("000001ffffffffff")).toEqual(ALL_CAPABILITIES);
  expect(() => parseCapabilityMask("1ff")).toThrow(TypeError);
});
