import { expect, test } from "bun:test";
import { propertyWords } from "./bus.ts";
import { annotatedProperties, deviceProperties, limitProperties } from "./properties.ts";

const words = (properties: Parameters<typeof propertyWords>[0]): string => propertyWords(properties).join(" ");

test("limits become properties, with systemd's units", () => {
  const resources = {
    memory: { limit: 64 << 20, swap: 96 << 20, reservation: 32 << 20 },
    cpu: { shares: 1024, quota: 12_345, period: 50_000, cpus: "0,9-10", mems: "0" },
    pids: { limit: 20 },
  };
  expect(limitProperties(resources).map((property) => propertyWords([property]).slice(1).join(" "))).toEqual([
    "MemoryMax t 67108864",
    "MemorySwapMax t 33554432",
    "MemoryLow t 33554432",
    "CPUWeight t 100",
    "CPUQuotaPeriodUSec t 50000",
    // 24.69 % of a CPU, rounded up to whole hundredths.
    "CPUQuotaPerSecUSec t 250000",
    "AllowedCPUs ay 2 1 6",
    "AllowedMemoryNodes ay 1 1",
    "TasksMax t 20",
  ]);
});

test("what is unlimited is infinity, and what is not set is not named", () => {
  const infinity = "18446744073709551615";
  const resources = { memory: { limit: -1, swap: -1 }, cpu: { quota: -1 }, pids: { limit: -1 } };
  expect(limitProperties(resources).map(({ name, values }) => [name, ...values])).toEqual([
    ["MemoryMax", infinity],
    ["MemorySwapMax", infinity],
    ["CPUQuotaPerSecUSec", infinity],
    ["TasksMax", infinity],
  ]);
  expect(words(limitProperties({ memory: {}, cpu: {}, pids: { limit: 0 } }))).toBe("0");
});

test("v2's own files are told where systemd has a property for them", () => {
  const unified = {
    "memory.high": "1000",
    "memory.swap.max": "max",
    "cpu.max": "20000 100000",
    "cpu.weight": "50",
    "cpuset.cpus": "1",
    "pids.max": "7",
    "hugetlb.2MB.max": "0",
  };
  expect(limitProperties({ unified }).map(({ name, values }) => [name, ...values])).toEqual([
    ["MemoryHigh", "1000"],
    ["MemorySwapMax", "18446744073709551615"],
    ["CPUQuotaPeriodUSec", 100_000],
    ["CPUQuotaPerSecUSec", 200_000],
    ["CPUWeight", "50"],
    ["AllowedCPUs", 1, 2],
    ["TasksMax", "7"],
  ]);
});

const DEVICES = `Character devices:
  1 mem
  5 /dev/tty
136 pts

Block devices:
  1 ramdisk
259 blkext
`;

test("devices are those of the rules that allow, a whole major number by its name", () => {
  const rules = [
    { allow: false, access: "rwm" },
    { allow: true, type: "c", access: "m" },
    { allow: true, type: "c", major: 1, minor: 3, access: "rwm" },
    { allow: true, type: "c", major: 136, access: "rw" },
    { allow: true, type: "b", major: 259, access: "r" },
    { allow: true, type: "b", major: 77, access: "r" },
    { allow: false, type: "c", major: 5, minor: 1 },
  ];
  expect(words(deviceProperties(rules, DEVICES))).toBe(
    "2 DevicePolicy s strict DeviceAllow a(ss) 4 char-* m /dev/char/1:3 rwm char-pts rw block-blkext r",
  );
  expect(deviceProperties([{ allow: true }], DEVICES)).toEqual([]);
  expect(deviceProperties(undefined, DEVICES)).toEqual([]);
});

test("annotations are GVariant's text; seconds become µs", () => {
  const prefix = "org.systemd.property.";
  const annotations = {
    [`${prefix}KillSignal`]: "37",
    [`${prefix}TimeoutStopUSec`]: "uint64 10000000",
    [`${prefix}RuntimeMaxSec`]: "uint64 3",
    [`${prefix}SendSIGHUP`]: "true",
    [`${prefix}Documentation`]: "'man:bash'",
    "io.podman.other": "1",
  };
  expect(words(annotatedProperties(annotations))).toBe(
    "5 KillSignal i 37 TimeoutStopUSec t 10000000 RuntimeMaxUSec t 3000000 SendSIGHUP b true Documentation s man:bash",
  );
});

test.each([
  ["org.systemd.property.Slice x", "1"],
  ["org.systemd.property.kill", "1"],
  ["org.systemd.property.KillSignal", "uint64 x"],
  ["org.systemd.property.Description", "no quotes"],
])("the annotation %p of %p is refused", (key, value) => {
  expect(() => annotatedProperties({ [key]: value })).toThrow(expect.objectContaining({ code: "invalid-property" }));
});
