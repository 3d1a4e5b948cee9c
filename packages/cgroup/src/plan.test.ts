import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { type CgroupHost, detectCgroups } from "./hierarchy.ts";
import { planCgroup, planUpdate } from "./plan.ts";
import type { LinuxResources } from "./resources.ts";
import { weightOfShares } from "./v2/cpu.ts";

let root: string;

beforeEach(() => {
  root = mkdtempSync(`${tmpdir()}/bb-cgroup-`);
});
afterEach(() => rmSync(root, { recursive: true }));

/** A directory tree with these files below `root`, and the hierarchies mounted there. */
function pretend(mounts: Record<string, string>, files: Record<string, string>): CgroupHost {
  const lines = Object.entries(mounts).map(([dir, options]) =>
    options === "2"
      ? `1 1 0:1 / ${root}${dir} rw - cgroup2 none rw\n`
      : `1 1 0:1 / ${root}${dir} rw - cgroup none rw,${options}\n`,
  );
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(`${root}${file.slice(0, file.lastIndexOf("/"))}`, { recursive: true });
    writeFileSync(`${root}${file}`, text);
  }
  return detectCgroups((path) =>
    path === "/proc/self/mountinfo" ? lines.join("") : (files[path.slice(root.length)] ?? ""),
  );
}

const V2_FILES = {
  "/cgroup.controllers": "cpuset cpu io memory hugetlb pids\n",
  "/cgroup.subtree_control": "cpu memory\n",
  "/cpuset.cpus.effective": "0-3\n",
  "/cpuset.mems.effective": "0\n",
  "/io.cost.qos": "",
};

const V1_MOUNTS = { "/memory": "memory", "/cpuset": "cpuset", "/devices": "devices", "/systemd": "xattr,name=systemd" };
const V1_FILES = {
  "/memory/memory.memsw.limit_in_bytes": "9223372036854771712\n",
  "/memory/memory.use_hierarchy": "1\n",
  "/cpuset/cpuset.cpus": "0-3\n",
  "/cpuset/cpuset.mems": "0\n",
};

/** `path = value` of each write, below the pretended root. */
function lines(writes: readonly { path: string; value: string }[]): string[] {
  return writes.map(({ path, value }) => `${path.slice(root.length)} = ${value}`);
}

test("planCgroup() on v2 hands controllers down, then limits, and denies by program", () => {
  const host = pretend({ "": "2" }, V2_FILES);
  const plan = planCgroup(host, "bantubox/one", {
    memory: { limit: 1 << 20, swap: 3 << 20, reservation: 4096 },
    cpu: { shares: 1024, quota: 50_000, period: 100_000, cpus: "1-2", mems: "0" },
    pids: { limit: 64 },
    blockIO: { weight: 1000 },
    unified: { "memory.high": "4096", "io.max": "8:0 rbps=1\n8:16 wbps=2" },
    devices: [{ allow: false }],
  });
  expect(lines(plan.writes)).toEqual([
    "/cgroup.subtree_control = +cpuset +pids +io",
    "/bantubox/cgroup.subtree_control = +memory +cpu +cpuset +pids +io",
    "/bantubox/one/memory.max = 1048576",
    "/bantubox/one/memory.swap.max = 2097152",
    "/bantubox/one/memory.low = 4096",
    "/bantubox/one/cpu.weight = 100",
    "/bantubox/one/cpu.max = 50000 100000",
    "/bantubox/one/cpuset.cpus = 1-2",
    "/bantubox/one/cpuset.mems = 0",
    "/bantubox/one/pids.max = 64",
    "/bantubox/one/io.weight = 10000",
    "/bantubox/one/memory.high = 4096",
    "/bantubox/one/io.max = 8:0 rbps=1",
    "/bantubox/one/io.max = 8:16 wbps=2",
  ]);
  expect({ ...plan, writes: [], deviceProgram: plan.deviceProgram?.length }).toEqual({
    path: "bantubox/one",
    directories: [`${root}/bantubox`, `${root}/bantubox/one`],
    writes: [],
    joins: [`${root}/bantubox/one/cgroup.procs`],
    intoDirectory: `${root}/bantubox/one`,
    deviceProgram: 8 * 8,
    remove: [`${root}/bantubox/one`],
    oomEvents: `${root}/bantubox/one/memory.events`,
  });
});

test("planCgroup() on v2 asks for nothing that is handed down already", () => {
  const host = pretend(
    { "": "2" },
    {
      ...V2_FILES,
      "/cgroup.subtree_control": "io memory pids\n",
      "/bantubox/cgroup.subtree_control": "memory pids io\n",
    },
  );
  expect(planCgroup(host, "bantubox/one", {}).writes).toEqual([]);
});

test("planCgroup() on v2 hands down the controllers that nothing needs one by one, if all are wanted", () => {
  const host = pretend({ "": "2" }, { ...V2_FILES, "/a/cgroup.subtree_control": "cpu cpuset io memory pids\n" });
  const { writes } = planCgroup(host, "a/one", { cpu: { shares: 2 } }, { isWhole: true });
  expect(lines(writes)).toEqual([
    "/cgroup.subtree_control = +pids +io",
    "/cgroup.subtree_control = +cpuset",
    "/cgroup.subtree_control = +hugetlb",
    "/a/cgroup.subtree_control = +hugetlb",
    "/a/one/cpu.weight = 1",
  ]);
  expect(writes.map(({ isWish }) => isWish === true)).toEqual([false, true, true, true, false]);
});

test("planCgroup() on a hybrid host hands nothing down that nothing needs", () => {
  const mounts = { ...V1_MOUNTS, "/unified": "2" };
  const host = pretend(mounts, { ...V1_FILES, "/unified/cgroup.controllers": "hugetlb\n" });
  expect(host.controllers.get("hugetlb")?.version).toBe(2);
  expect(planCgroup(host, "a/one", {}, { isWhole: true })).toEqual(planCgroup(host, "a/one", {}));
});

test("planCgroup() on v2 refuses a limit that a top with processes in it cannot hand down, and does without statistics", () => {
  const host = pretend({ "": "2" }, { ...V2_FILES, "/cgroup.type": "domain\n", "/cgroup.procs": "1\n" });
  expect(() => planCgroup(host, "bantubox/one", { pids: { limit: 9 } })).toThrow(
    expect.objectContaining({
      code: "cgroup-unavailable",
      message: `Cannot limit processes of cgroup "bantubox/one": the cgroup controller "pids" cannot be handed down from "${root}", which holds processes`,
    }),
  );
  expect(lines(planCgroup(host, "bantubox/one", { memory: { limit: 4096 } }).writes)).toEqual([
    "/bantubox/cgroup.subtree_control = +memory",
    "/bantubox/one/memory.max = 4096",
  ]);
});

test("planCgroup() on v1 fills cpusets from above, and limits memory before memory and swap", () => {
  const host = pretend(V1_MOUNTS, V1_FILES);
  const plan = planCgroup(host, "a/b", {
    memory: { limit: 4096, swap: 8192 },
    cpu: { cpus: "3" },
    devices: [{ allow: false }, { allow: true, type: "c", major: 1, minor: 3, access: "rw" }],
  });
  expect(lines(plan.writes)).toEqual([
    "/cpuset/a/cpuset.cpus = 0-3",
    "/cpuset/a/b/cpuset.cpus = 3",
    "/cpuset/a/cpuset.mems = 0",
    "/cpuset/a/b/cpuset.mems = 0",
    "/memory/a/b/memory.limit_in_bytes = 4096",
    "/memory/a/b/memory.memsw.limit_in_bytes = 8192",
    "/devices/a/b/devices.deny = a",
    "/devices/a/b/devices.allow = c 1:3 rw",
  ]);
  expect(plan.joins).toEqual(["memory", "cpuset", "devices", "systemd"].map((name) => `${root}/${name}/a/b/tasks`));
  expect([plan.intoDirectory, plan.deviceProgram]).toEqual([undefined, undefined]);
  expect(plan.oomEvents).toBe(`${root}/memory/a/b/memory.oom_control`);
});

test("planCgroup() on v1 limits everything else that the specification names", () => {
  const mounts = { ...V1_MOUNTS, "/cpu": "cpu", "/blkio": "blkio", "/net": "net_cls,net_prio", "/rdma": "rdma" };
  const host = pretend(mounts, {
    ...V1_FILES,
    "/cpu/cpu.cfs_quota_us": "-1\n",
    "/cpu/cpu.rt_runtime_us": "0\n",
    "/blkio/blkio.bfq.io_serviced": "",
  });
  const device = { major: 8, minor: 0 };
  const plan = planCgroup(host, "a", {
    memory: { kernel: 4096, kernelTCP: 8192, swappiness: 0, disableOOMKiller: true },
    cpu: {
      shares: 512,
      quota: 9000,
      period: 10_000,
      burst: 2000,
      realtimePeriod: 10_000,
      realtimeRuntime: 5000,
      idle: 0,
    },
    blockIO: {
      weight: 500,
      weightDevice: [{ ...device, weight: 400 }],
      throttleReadBpsDevice: [{ ...device, rate: 1 }],
      throttleWriteBpsDevice: [{ ...device, rate: 2 }],
      throttleReadIOPSDevice: [{ ...device, rate: 3 }],
      throttleWriteIOPSDevice: [{ ...device, rate: 4 }],
    },
    network: { classID: 1_048_577, priorities: [{ name: "lo", priority: 5 }] },
    rdma: { mlx5_1: { hcaHandles: 3, hcaObjects: 10 } },
  });
  expect(lines(plan.writes).filter((line) => !line.startsWith("/cpuset/"))).toEqual([
    "/memory/a/memory.kmem.tcp.limit_in_bytes = 8192",
    "/memory/a/memory.swappiness = 0",
    "/memory/a/memory.oom_control = 1",
    "/cpu/a/cpu.idle = 0",
    "/cpu/a/cpu.shares = 512",
    "/cpu/a/cpu.cfs_period_us = 10000",
    "/cpu/a/cpu.cfs_quota_us = 9000",
    "/cpu/a/cpu.cfs_burst_us = 2000",
    "/cpu/a/cpu.rt_period_us = 10000",
    "/cpu/a/cpu.rt_runtime_us = 5000",
    "/blkio/a/blkio.bfq.weight = 500",
    "/blkio/a/blkio.bfq.weight_device = 8:0 400",
    "/blkio/a/blkio.throttle.read_bps_device = 8:0 1",
    "/blkio/a/blkio.throttle.write_bps_device = 8:0 2",
    "/blkio/a/blkio.throttle.read_iops_device = 8:0 3",
    "/blkio/a/blkio.throttle.write_iops_device = 8:0 4",
    "/net/a/net_cls.classid = 1048577",
    "/net/a/net_prio.ifpriomap = lo 5",
    "/rdma/a/rdma.max = mlx5_1 hca_handle=3 hca_object=10",
  ]);
});

test("planCgroup() on v2 says the same in its own words, or that it cannot", () => {
  const host = pretend({ "": "2" }, V2_FILES);
  const device = { major: 8, minor: 0 };
  const plan = planCgroup(host, "bantubox/one", {
    cpu: { quota: 9000, burst: 2000, idle: 1, shares: 512 },
    blockIO: {
      weightDevice: [{ ...device, weight: 10 }],
      throttleReadBpsDevice: [{ ...device, rate: 1 }],
      throttleWriteIOPSDevice: [{ ...device, rate: 0 }],
    },
    unified: { "cgroup.max.depth": "2" },
  });
  const own = lines(plan.writes).filter((line) => line.startsWith("/bantubox/one/"));
  expect(own.map((line) => line.slice("/bantubox/one/".length))).toEqual([
    "cpu.idle = 1",
    "cpu.max = 9000",
    "cpu.max.burst = 2000",
    "io.weight = 8:0 1",
    "io.max = 8:0 rbps=1",
    "io.max = 8:0 wiops=max",
    "cgroup.max.depth = 2",
  ]);
  for (const resources of [
    { memory: { swappiness: 1 } },
    { memory: { disableOOMKiller: true } },
    { memory: { kernelTCP: 1 } },
    { cpu: { realtimeRuntime: 1000 } },
    { blockIO: { leafWeight: 10 } },
    { network: { classID: 1 } },
    { rdma: { mlx5: { hcaObjects: 1 } } },
  ]) {
    expect(() => planCgroup(host, "bantubox/one", resources)).toThrow(
      expect.objectContaining({ code: "cgroup-unavailable" }),
    );
  }
});

test("planUpdate() on v2 takes the limit of swap away with that of memory", () => {
  const host = pretend(
    { "": "2" },
    { ...V2_FILES, "/cgroup.subtree_control": "io memory pids\n", "/one/memory.swap.max": "4096\n" },
  );
  const swap = (limits: LinuxResources["memory"], path = "one"): string[] =>
    lines(planUpdate(host, path, { memory: limits })).filter((line) => line.includes("swap"));
  expect(swap({ limit: -1 })).toEqual(["/one/memory.swap.max = max"]);
  expect(swap({ limit: 4096 })).toEqual([]);
  expect(swap({ limit: 4096, swap: 8192 })).toEqual(["/one/memory.swap.max = 4096"]);
  // A kernel that does not count swap has no such file, and a write to it would fail.
  expect(swap({ limit: -1 }, "two")).toEqual([]);
});

test("planUpdate() on v2 takes a limit below what is in use when nobody asks it to look", () => {
  const host = pretend(
    { "": "2" },
    { ...V2_FILES, "/bantubox/one/memory.current": "8192\n", "/bantubox/one/memory.max": "16384\n" },
  );
  const own = (resources: LinuxResources): string[] =>
    lines(planUpdate(host, "bantubox/one", resources)).filter((line) => line.startsWith("/bantubox/one/"));
  expect(own({ memory: { limit: 4096 } })).toEqual(["/bantubox/one/memory.max = 4096"]);
  expect(() => own({ memory: { limit: 4096, checkBeforeUpdate: true } })).toThrow("8192 are in use");
  expect(own({ memory: { swap: 20_480 } })).toEqual(["/bantubox/one/memory.swap.max = 4096"]);
});

test("planCgroup() on v1 keeps to a parent's cpuset that somebody narrowed", () => {
  const host = pretend(V1_MOUNTS, { ...V1_FILES, "/cpuset/a/cpuset.cpus": "2\n", "/cpuset/a/cpuset.mems": "\n" });
  expect(lines(planCgroup(host, "a/b", {}).writes)).toEqual([
    "/cpuset/a/b/cpuset.cpus = 2",
    "/cpuset/a/cpuset.mems = 0",
    "/cpuset/a/b/cpuset.mems = 0",
  ]);
});

test("planCgroup() on a hybrid host falls back on a program for rules that v1 cannot say, and joins v2 first", () => {
  const host = pretend({ ...V1_MOUNTS, "/unified": "2" }, V1_FILES);
  const devices = [
    { allow: true, type: "c", major: 10 },
    { allow: false, type: "c", major: 10, minor: 229 },
  ];
  const plan = planCgroup(host, "a/b", { devices });
  expect(plan.deviceProgram).toBeInstanceOf(Uint8Array);
  expect(lines(plan.writes).filter((line) => line.includes("devices"))).toEqual([]);
  expect(plan.joins[0]).toBe(`${root}/unified/a/b/cgroup.procs`);
  expect(() => planCgroup(pretend(V1_MOUNTS, V1_FILES), "a/b", { devices })).toThrow("cannot except a device");
});

test.each([
  [
    "a controller that is missing",
    { pids: { limit: 1 } },
    'Cannot limit processes of cgroup "a/b": this host has no cgroup controller "pids"',
  ],
  [
    "CPU time without cpu",
    { cpu: { quota: 5000 } },
    'Cannot limit CPU time of cgroup "a/b": this host has no cgroup controller "cpu"',
  ],
  [
    "CPUs that are not there",
    { cpu: { cpus: "2-4" } },
    'Cannot limit CPUs to "2-4" of cgroup "a/b": this host has "0-3"',
  ],
  ["v2's files for a v1 controller", { unified: { "memory.high": "1" } }, 'the cgroup controller "memory" is a v1 one'],
  ["pages of no size", { hugepageLimits: [{ pageSize: "3KB", limit: 0 }] }, 'no cgroup controller "hugetlb"'],
] as [string, LinuxResources, string][])("planCgroup() refuses %s", (_, resources, message) => {
  const host = pretend(V1_MOUNTS, V1_FILES);
  expect(() => planCgroup(host, "a/b", resources)).toThrow(
    expect.objectContaining({ code: "cgroup-unavailable", message: expect.stringContaining(message) }),
  );
});

test("planCgroup() refuses swap where the kernel does not count it", () => {
  const host = pretend({ "/memory": "memory" }, { "/memory/memory.use_hierarchy": "0\n" });
  expect(() => planCgroup(host, "a/b", { memory: { limit: 1, swap: 2 } })).toThrow("this kernel does not count swap");
  expect(lines(planCgroup(host, "a/b", { memory: { limit: 1 } }).writes)[0]).toBe(
    "/memory/a/b/memory.use_hierarchy = 1",
  );
});

test("planUpdate() on v1 raises memory and swap together first, and lowers it last", () => {
  const host = pretend(V1_MOUNTS, { ...V1_FILES, "/memory/a/b/memory.memsw.limit_in_bytes": "8192\n" });
  expect(lines(planUpdate(host, "a/b", { memory: { limit: 16_384, swap: 16_384 } }))).toEqual([
    "/memory/a/b/memory.memsw.limit_in_bytes = 16384",
    "/memory/a/b/memory.limit_in_bytes = 16384",
  ]);
  expect(lines(planUpdate(host, "a/b", { memory: { limit: 4096, swap: 4096 }, cpu: { cpus: "1" } }))).toEqual([
    "/memory/a/b/memory.limit_in_bytes = 4096",
    "/memory/a/b/memory.memsw.limit_in_bytes = 4096",
    "/cpuset/a/b/cpuset.cpus = 1",
  ]);
});

test("weightOfShares() meets both scales at their ends and their default, as runc does between", () => {
  expect([2, 100, 1024, 2000, 262_144].map(weightOfShares)).toEqual([1, 17, 100, 170, 10_000]);
});
