import { expect, test } from "bun:test";
import { checkResources, type LinuxResources, parseList } from "./resources.ts";

function refusal(action: () => void): string {
  try {
    action();
  } catch (error) {
    if (error instanceof Error && "code" in error) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "accepted";
}

test.each([
  ["an empty config", {}, "accepted"],
  ["zeros, which mean unset", { memory: { limit: 0, swap: 0 }, cpu: { shares: 0, quota: 0, period: 0 } }, "accepted"],
  ["unlimited", { memory: { limit: -1, swap: -1 }, cpu: { quota: -1 }, pids: { limit: -1 } }, "accepted"],
  ["a negative limit", { memory: { limit: -2 } }, 'Cannot set "memory.limit" to -2'],
  ["half a byte", { memory: { reservation: 0.5 } }, 'Cannot set "memory.reservation" to 0.5'],
  ["more bytes than a number holds", { memory: { limit: 2 ** 53 } }, "Cannot set"],
  ["swap alone", { memory: { swap: 100 } }, "a memory limit must be set too"],
  ["less swap than memory", { memory: { limit: 200, swap: 100 } }, "it must be at least 200"],
  ["shares out of range", { cpu: { shares: 1 } }, "from 2 to 262144"],
  ["a quota under a millisecond", { cpu: { quota: 999 } }, '"cpu.quota"'],
  ["a period over a second", { cpu: { period: 1_000_001 } }, '"cpu.period"'],
  ["a list that is none", { cpu: { cpus: "0-" } }, '"cpu.cpus"'],
  ["an injected line", { cpu: { mems: "0\n1" } }, '"cpu.mems"'],
  ["half a process", { pids: { limit: 1.5 } }, '"pids.limit"'],
  ["a weight out of range", { blockIO: { weight: 9 } }, '"blockIO.weight"'],
  ["a page size that climbs", { hugepageLimits: [{ pageSize: "../2MB", limit: 0 }] }, "hugepageLimits.pageSize"],
  ["negative huge pages", { hugepageLimits: [{ pageSize: "2MB", limit: -2 }] }, "hugepageLimits 2MB"],
  ["a burst above the quota", { cpu: { quota: 1000, burst: 1001 } }, '"cpu.burst"'],
  ["more than idle", { cpu: { idle: 2 } }, '"cpu.idle"'],
  ["swappiness over 100", { memory: { swappiness: 101 } }, '"memory.swappiness"'],
  ["a device's weight that is none", { blockIO: { weightDevice: [{ major: 8, minor: 0 }] } }, "needs a weight"],
  ["a negative rate", { blockIO: { throttleReadBpsDevice: [{ major: 8, minor: 0, rate: -1 }] } }, "rate per second"],
  ["a link of no name", { network: { priorities: [{ name: "a b", priority: 1 }] } }, '"network.priorities"'],
  ["a device without limits", { rdma: { mlx5: {} } }, "neither handles nor objects"],
  ["a unified file that climbs", { unified: { "memory.x/../../y": "1" } }, "no limit's file"],
  ["a unified file that moves processes", { unified: { "cgroup.procs": "1" } }, "no limit's file"],
] as [string, LinuxResources, string][])("checkResources() judges %s", (_, resources, expected) => {
  const result = refusal(() => checkResources(resources));
  expect(result).toContain(expected);
  if (expected !== "accepted") expect(result).toStartWith("invalid-resources: ");
});

test("parseList() expands ranges and bounds them", () => {
  expect([...parseList("x", "0-2,5")]).toEqual([0, 1, 2, 5]);
  for (const bad of ["", "a", "2-1", "1,,2", "0-65536", " 1"]) {
    expect(refusal(() => parseList("x", bad))).toStartWith("invalid-resources");
  }
});
