import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import type { CgroupHost } from "./hierarchy.ts";
import { readOomKills, readStats } from "./stats.ts";

const root = mkdtempSync(`${tmpdir()}/bb-cgroup-`);
afterAll(() => rmSync(root, { recursive: true }));

const FILES = {
  "memory.current": "10485760\n",
  "memory.max": "max\n",
  "memory.stat": "anon 4096\ninactive_file 485760\nactive_file 7\n",
  "memory.swap.current": "8192\n",
  "memory.events": "low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n",
  "cpu.stat": "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 9\nnr_throttled 3\nthrottled_usec 70\n",
  "pids.current": "4\n",
  "pids.max": "2048\n",
  "io.stat":
    "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n7:0 \n254:16 rbytes=1 wbytes=0 rios=1 wios=0\n",
};

function pretend(controllers: string[]): CgroupHost {
  return {
    mode: "v2",
    unified: root,
    controllers: new Map(controllers.map((name) => [name, { version: 2, mount: root }])),
    hierarchies: [{ version: 2, mount: root, controllers, name: undefined }],
  };
}

mkdirSync(`${root}/a/b`, { recursive: true });
for (const [file, text] of Object.entries(FILES)) writeFileSync(`${root}/a/b/${file}`, text);

test("readStats() reads v2's files", () => {
  const host = pretend(["cpu", "io", "memory", "pids"]);
  expect(readStats(host, "a/b")).toEqual({
    memory: { usageBytes: 10_485_760, limitBytes: undefined, reclaimableBytes: 485_760, swapBytes: 8192 },
    cpu: {
      usageNs: 1_500_000,
      userNs: 1_000_000,
      systemNs: 500_000,
      periods: 9,
      throttledPeriods: 3,
      throttledNs: 70_000,
    },
    pids: { current: 4, limit: 2048 },
    io: { readBytes: 4097, writeBytes: 8192, readOperations: 2, writeOperations: 2 },
  });
  expect(readOomKills(host, "a/b")).toBe(1);
});

test("readStats() and readOomKills() say nothing of what is not there", () => {
  expect(readStats(pretend(["memory"]), "a/c")).toEqual({
    memory: undefined,
    cpu: undefined,
    pids: undefined,
    io: undefined,
  });
  expect(readOomKills(pretend(["memory"]), "a/c")).toBeUndefined();
  expect(readOomKills(pretend([]), "a/b")).toBeUndefined();
  expect(readStats(pretend([]), "a/b").cpu?.usageNs).toBe(1_500_000);
});
