/** The real kernel: groups below a parent of this test's own, removed afterwards. */
import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { SIGNALS } from "@bantubox/ffi";
import { patience } from "../../../test/patience.ts";
import { applyCgroup, updateCgroup } from "./apply.ts";
import { readControl, writeControl } from "./file.ts";
import {
  type CgroupHost,
  detectCgroups,
  freezeCgroup,
  isFrozen,
  killCgroup,
  type LinuxResources,
  listProcesses,
  planCgroup,
  readOomKills,
  readStats,
  removeCgroup,
  signalCgroup,
  thawCgroup,
} from "./mod.ts";
import { isFrozen as isFrozenV1, setFrozen as setFrozenV1 } from "./v1/freezer.ts";

const host = detectCgroups();
const PARENT = `bb-cgroup-test-${process.pid}`;
const GROUP = `${PARENT}/one`;

const subtreeFile = host.unified && `${host.unified}/cgroup.subtree_control`;
const subtreeBefore = new Set(subtreeFile ? readFileSync(subtreeFile, "utf8").trim().split(" ") : []);
const reason = whyNot();
if (reason !== undefined) console.warn(`skipped: ${reason}`);

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return "cgroups need root";
  if (!host.controllers.has("pids") || !host.controllers.has("memory")) return "no pids or memory cgroup controller";
  try {
    applyCgroup(planCgroup(host, GROUP, {}));
    removeCgroup(host, PARENT);
    return undefined;
  } catch (error) {
    return String(error);
  }
}

/** Without v2, as on a pure v1 host. */
const v1Only: CgroupHost = {
  ...host,
  mode: "v1",
  unified: undefined,
  hierarchies: host.hierarchies.filter(({ version }) => version === 1),
  controllers: new Map([...host.controllers].filter(([, { version }]) => version === 1)),
};

afterEach(() => {
  if (reason !== undefined) return;
  killCgroup(host, PARENT);
  removeCgroup(host, PARENT);
  if (subtreeFile === undefined) return;
  for (const controller of readFileSync(subtreeFile, "utf8").trim().split(" ")) {
    // Left enabled, it would be no harm, but it is not ours to leave.
    if (controller !== "" && !subtreeBefore.has(controller)) {
      writeControl({ path: subtreeFile, value: `-${controller}` });
    }
  }
});

function make(resources: LinuxResources, on = host): ReturnType<typeof planCgroup> {
  const plan = planCgroup(on, GROUP, resources);
  applyCgroup(plan);
  return plan;
}

/** Runs `script` in the shell, inside the group that `joins` belong to. */
function spawnInside(joins: readonly string[], script: string): Bun.Subprocess<"ignore", "pipe", "pipe"> {
  const join = joins.map((file) => `echo 0 > '${file}'`).join(" && ");
  return Bun.spawn(["/bin/sh", "-c", `${join} && echo ready && { ${script}\n}`], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
}

async function whenReady(child: Bun.Subprocess<"ignore", "pipe", "pipe">): Promise<void> {
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  reader.releaseLock();
  const text = new TextDecoder().decode(value);
  if (!text.startsWith("ready")) throw new Error(`Not ready: ${text}${await child.stderr.text()}`);
}

function fileOf(controller: string, name: string): string | undefined {
  return readControl(`${host.controllers.get(controller)?.mount}/${GROUP}/${name}`);
}

describe.skipIf(reason !== undefined)("on this kernel", () => {
  test("every limit arrives, a process joins every hierarchy, and nothing is left", async () => {
    const plan = make({
      memory: { limit: 64 << 20 },
      cpu: { shares: 512, quota: 50_000, period: 100_000, cpus: "0", mems: "0" },
      pids: { limit: 40 },
    });
    const child = spawnInside(plan.joins, "exec sleep 60");
    await whenReady(child);
    expect(listProcesses(host, GROUP)).toEqual([child.pid]);
    const own = readFileSync(`/proc/${child.pid}/cgroup`, "utf8").trim().split("\n");
    const ours = host.hierarchies.length;
    expect(own.filter((line) => line.endsWith(`/${GROUP}`))).toHaveLength(ours);

    const stats = readStats(host, GROUP);
    expect(stats.memory?.limitBytes).toBe(64 << 20);
    expect(stats.memory?.usageBytes).toBeGreaterThan(0);
    expect(stats.pids).toEqual({ current: 1, limit: 40 });
    expect(stats.cpu?.usageNs).toBeGreaterThan(0);
    expect(readOomKills(host, GROUP)).toBe(0);
    expect(fileOf("cpuset", "cpuset.cpus")).toBe("0");
    if (host.controllers.get("cpu")?.version === 1) {
      expect([fileOf("cpu", "cpu.shares"), fileOf("cpu", "cpu.cfs_quota_us")]).toEqual(["512", "50000"]);
    } else {
      expect([fileOf("cpu", "cpu.weight"), fileOf("cpu", "cpu.max")]).toEqual(["59", "50000 100000"]);
    }

    killCgroup(host, GROUP);
    await child.exited;
    expect(child.signalCode).toBe("SIGKILL");
    removeCgroup(host, GROUP);
    expect(plan.remove.filter((dir) => existsSync(dir))).toEqual([]);
    expect(listProcesses(host, GROUP)).toEqual([]);
    expect(readStats(host, GROUP)).toEqual({ memory: undefined, cpu: undefined, pids: undefined, io: undefined });
    removeCgroup(host, GROUP);
  });

  test("a signal reaches whoever forks, and nobody twice; what is frozen gets it when it runs again", async () => {
    const plan = make({});
    // Each says what it got; the loop makes new ones faster than any list is read.
    const script = `trap 'echo got; exit 0' USR1
      sh -c 'trap "echo got; exit 0" USR1; echo inside; while :; do sleep 0.01; done' & while :; do sleep 0.01; done`;
    const child = spawnInside(plan.joins, script);
    // Before it has its own trap, what the inner shell is sent is lost with the outer one's.
    const reader = child.stdout.getReader();
    for (let said = ""; !said.includes("inside"); said += new TextDecoder().decode((await reader.read()).value));
    freezeCgroup(host, GROUP);
    // A signal wakes what is frozen for a moment: the second comes while it does not look frozen.
    for (let i = 0; i < 20; i++) signalCgroup(host, GROUP, SIGNALS.USR1);
    while (!isFrozen(host, GROUP)) await Bun.sleep(1);
    expect(child.exitCode).toBe(null);
    thawCgroup(host, GROUP);
    while (listProcesses(host, GROUP).length > 0) await Bun.sleep(5);
    expect(isFrozen(host, GROUP)).toBe(false);
  });

  test("the process limit holds", async () => {
    const plan = make({ pids: { limit: 3 } });
    const child = spawnInside(plan.joins, "for i in 1 2 3 4 5 6; do sleep 60 & done; wait");
    expect(await child.exited).not.toBe(0);
    // The shell's children hold its standard error open.
    killCgroup(host, GROUP);
    expect(await child.stderr.text()).toContain("fork");
  });

  test("the CPU limit holds", async () => {
    const plan = make({ cpu: { quota: 2000, period: 10_000 } });
    const child = spawnInside(plan.joins, "while :; do :; done");
    await whenReady(child);
    const deadline = performance.now() + patience(4000);
    while (readStats(host, GROUP).cpu?.throttledNs === 0 && performance.now() < deadline) await Bun.sleep(5);
    const cpu = readStats(host, GROUP).cpu;
    expect([cpu?.throttledNs, cpu?.throttledPeriods].map((value) => (value ?? 0) > 0)).toEqual([true, true]);
  });

  test("memory over the limit is an OOM kill that is counted", async () => {
    const plan = make({ memory: { limit: 8 << 20, ...(hasSwap() && { swap: 8 << 20 }) } });
    const child = spawnInside(plan.joins, "exec head -c 64m /dev/zero | tail");
    await child.exited;
    expect(readOomKills(host, GROUP)).toBeGreaterThan(0);
  });

  test("an update raises and lowers limits of a running group", async () => {
    const swap = hasSwap();
    const plan = make({ memory: { limit: 32 << 20, ...(swap && { swap: 32 << 20 }) }, pids: { limit: 10 } });
    const child = spawnInside(plan.joins, "exec sleep 60");
    await whenReady(child);
    for (const limit of [128 << 20, 16 << 20]) {
      updateCgroup(host, GROUP, { memory: { limit, ...(swap && { swap: limit }) } });
      expect(readStats(host, GROUP).memory?.limitBytes).toBe(limit);
    }
    updateCgroup(host, GROUP, { pids: { limit: -1 } });
    expect(readStats(host, GROUP).pids?.limit).toBeUndefined();
  });

  test("a frozen group stands still, can be killed, and takes what is nested along", async () => {
    const plan = make({});
    for (const dir of plan.remove) mkdirSync(`${dir}/nested`);
    for (const { version, mount, controllers } of host.hierarchies) {
      if (version !== 1 || !controllers.includes("cpuset")) continue;
      for (const file of ["cpuset.cpus", "cpuset.mems"]) {
        writeFileSync(`${mount}/${GROUP}/nested/${file}`, readControl(`${mount}/${GROUP}/${file}`) ?? "");
      }
    }
    const nested = plan.joins.map((file) => file.replace("/one/", "/one/nested/"));
    const child = spawnInside(nested, "exec sleep 60");
    await whenReady(child);
    expect(listProcesses(host, GROUP)).toEqual([child.pid]);
    expect(isFrozen(host, GROUP)).toBe(false);
    freezeCgroup(host, GROUP);
    expect(isFrozen(host, GROUP)).toBe(true);
    thawCgroup(host, GROUP);
    expect(isFrozen(host, GROUP)).toBe(false);
    freezeCgroup(host, GROUP);
    killCgroup(host, GROUP);
    await child.exited;
    removeCgroup(host, GROUP);
    expect(plan.remove.filter((dir) => existsSync(dir))).toEqual([]);
  });

  const hasHugepages = host.controllers.has("hugetlb") && existsSync("/sys/kernel/mm/hugepages/hugepages-2048kB");
  if (!hasHugepages) console.warn("skipped: no cgroup controller counts huge pages of 2 MB here");
  test.skipIf(!hasHugepages)("a controller that v2 has is handed down, and its limit arrives", () => {
    make({ hugepageLimits: [{ pageSize: "2MB", limit: 4 << 20 }] });
    const file = host.controllers.get("hugetlb")?.version === 2 ? "hugetlb.2MB.max" : "hugetlb.2MB.limit_in_bytes";
    expect(fileOf("hugetlb", file)).toBe(String(4 << 20));
  });

  test("removal refuses a group that somebody is in, and says so", async () => {
    const plan = make({});
    const child = spawnInside(plan.joins.slice(0, 1), "exec sleep 60");
    await whenReady(child);
    expect(() => removeCgroup(host, GROUP, { waitMs: 5 })).toThrow(expect.objectContaining({ code: "cgroup-busy" }));
  });

  test("a plan that fails half-way leaves no group behind", () => {
    const plan = planCgroup(host, GROUP, {});
    const broken = { ...plan, writes: [{ path: `${plan.remove[0]}/cgroup.procs`, value: "nonsense" }] };
    expect(() => applyCgroup(broken)).toThrow(
      expect.objectContaining({ message: `Cannot write "nonsense" to "${plan.remove[0]}/cgroup.procs": EINVAL` }),
    );
    expect(plan.remove.filter((dir) => existsSync(dir))).toEqual([]);
  });

  const DEVICES: LinuxResources = {
    devices: [
      { allow: false },
      { allow: true, type: "c", major: 1, minor: 3 },
      { allow: true, type: "c", access: "m" },
    ],
  };
  const OPENS = "for d in null zero full; do if true < /dev/$d; then echo $d; else echo no-$d; fi; done 2>/dev/null";

  test("only allowed devices open", async () => {
    const child = spawnInside(make(DEVICES).joins, OPENS);
    expect((await child.stdout.text()).split("\n")).toEqual(["ready", "null", "no-zero", "no-full", ""]);
  });

  if (host.unified === undefined) console.warn("skipped: this host has no cgroup v2");
  test.skipIf(host.unified === undefined)("only allowed devices open by v2's program", async () => {
    const { unified } = host;
    const onlyV2 = { ...host, controllers: new Map([...host.controllers].filter(([name]) => name !== "devices")) };
    const plan = make(DEVICES, onlyV2);
    expect([plan.deviceProgram === undefined, unified === undefined]).toEqual([false, false]);
    const child = spawnInside(plan.joins, OPENS);
    expect((await child.stdout.text()).split("\n")).toEqual(["ready", "null", "no-zero", "no-full", ""]);
  });
});

if (!v1Only.controllers.has("freezer")) console.warn("skipped: this host has no freezer of v1");
describe.skipIf(reason !== undefined || !v1Only.controllers.has("freezer"))("on this kernel's v1 alone", () => {
  test("all processes of a group are frozen, killed and gone, also those that keep forking", async () => {
    const plan = make({ pids: { limit: 200 } }, v1Only);
    const child = spawnInside(plan.joins, "while :; do (sleep 60 &); sleep 0.002; done");
    await whenReady(child);
    freezeCgroup(v1Only, GROUP);
    expect(isFrozen(v1Only, GROUP)).toBe(true);
    killCgroup(v1Only, GROUP);
    await child.exited;
    removeCgroup(v1Only, GROUP);
    expect(plan.remove.filter((dir) => existsSync(dir))).toEqual([]);
  });

  test("a group that cannot be frozen is swept until it is empty", async () => {
    const controllers = new Map([...v1Only.controllers].filter(([name]) => name !== "freezer"));
    const plan = make({ pids: { limit: 50 } });
    const child = spawnInside(plan.joins, "sleep 60 & sleep 60 & wait");
    await whenReady(child);
    killCgroup({ ...v1Only, controllers }, GROUP);
    await child.exited;
    expect(listProcesses(host, GROUP)).toEqual([]);
  });

  test.skipIf(host.unified === undefined)("a kill through v2 reaches what v1 has frozen", async () => {
    const plan = make({});
    const dir = `${host.controllers.get("freezer")?.mount}/${GROUP}`;
    const child = spawnInside(plan.joins, "exec sleep 60");
    await whenReady(child);
    setFrozenV1(dir, true);
    while (!isFrozenV1(dir)) await Bun.sleep(1);
    killCgroup(host, GROUP);
    await child.exited;
    expect(child.signalCode).toBe("SIGKILL");
  });
});

function hasSwap(): boolean {
  const place = host.controllers.get("memory");
  return place?.version === 2 ? existsSync("/proc/swaps") : existsSync(`${place?.mount}/memory.memsw.limit_in_bytes`);
}
