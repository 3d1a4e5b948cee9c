/** kill -9 at every n-th system call of commit and cp: nothing half-done counts, and the container goes on. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { busyboxRoot, missing, newStore, run, type Store, until } from "./harness.ts";

const hasStrace = !missing("strace is not installed", Bun.which("strace") === null);
/** Every how many-th call is one to be killed at, and how many such points of each call there are at most. */
const [STEP, POINTS_MAX] = process.env["BANTUBOX_SWEEP"] === "all" ? [1, 300] : [7, 2];

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "bb-files-crash-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

interface Sweep {
  readonly command: readonly string[];
  readonly calls: readonly string[];
  /** After each kill. */
  readonly check: (what: string) => Promise<void>;
}

/** @returns How many points there were. */
async function sweep(store: Store, { command, calls, check }: Sweep): Promise<number> {
  const trace = join(directory, "trace");
  let points = 0;
  for (const call of calls) {
    for (let n = 1, visited = 0; visited < POINTS_MAX; n += STEP, visited++) {
      const inject = ["-e", `trace=${call}`, "-e", `inject=${call}:signal=SIGKILL:when=${n}`];
      const { stderr } = await run(["strace", "-f", "-qq", "-o", trace, ...inject, ...store.command, ...command]);
      const wasKilled = readFileSync(trace, "utf8").includes("killed by SIGKILL");
      rmSync(trace);
      await check(`SIGKILL at ${call} ${n} of bb ${command.join(" ")}\n${stderr}`);
      if (!wasKilled) break;
      points++;
    }
  }
  return points;
}

async function boxStore(): Promise<Store> {
  const store = await newStore();
  await store.ok(["init", await busyboxRoot(), "box:1"]);
  const script =
    "mkdir /d; for i in 1 2 3 4 5 6 7 8 9; do echo $i > /d/$i; done; ln /d/1 /d/one; rm /bin/ar; touch /ready; sleep 1000";
  await store.ok(["run", "-d", "--name", "box", "--network", "none", "box:1", "sh", "-c", script]);
  await until("it is set up", async () => (await store.bb(["exec", "box", "test", "-e", "/ready"])).code === 0);
  return store;
}

/** What the container has to be after each kill: running, and not standing still. */
async function mustGoOn(store: Store, what: string): Promise<void> {
  const result = await until("it goes on", async () => {
    const tried = await store.bb(["exec", "box", "echo", "in"]);
    return tried.code === 0 || !tried.stderr.includes("paused") ? tried : undefined;
  });
  if (result.stdout !== "in\n") throw new Error(`The container does not go on after ${what}\n${result.stderr}`);
}

describe.skipIf(!hasStrace)("a sweep of kill -9", () => {
  test("over commit: the image is there and whole, or not at all", async () => {
    await using store = await boxStore();
    let made = 0;
    const check = async (what: string): Promise<void> => {
      await mustGoOn(store, what);
      if ((await store.bb(["inspect", "box:2"])).code === 0) {
        made++;
        const list = await store.bb(["run", "--rm", "--network", "none", "box:2", "sh", "-c", "cat /d/*; ls /bin/ar"]);
        if (list.stdout !== "1\n2\n3\n4\n5\n6\n7\n8\n9\n1\n")
          throw new Error(`Half an image after ${what}\n${list.stderr}`);
        await store.ok(["rmi", "box:2"]);
      }
    };
    const calls = [
      "openat",
      "mkdir,mkdirat",
      "linkat",
      "mknodat",
      "pwrite64",
      "rename",
      "syncfs",
      "fsync",
      "statx",
      "write",
      "clone3",
      "flock",
    ];
    const points = await sweep(store, { command: ["commit", "box", "box:2"], calls, check });
    expect(points).toBeGreaterThan(calls.length / 2);
    await store.ok(["commit", "box", "box:2"]);
    expect(made).toBeLessThan(points);
    for (const name of ["layers", "ingest"]) {
      const path = join(store.root, name);
      expect(existsSync(path) ? readdirSync(path).filter((each) => each.startsWith(".tmp")) : []).toEqual([]);
    }
  }, 600_000);

  test("over cp, both ways: the container goes on, and nothing of it is left behind", async () => {
    await using store = await boxStore();
    await store.ok(["create", "--name", "idle", "--network", "none", "-v", "vol:/vol", "box:1", "true"]);
    const file = join(directory, "file");
    writeFileSync(file, "whole");
    const calls = ["openat", "openat2", "clone3", "write", "mkdirat", "fchownat"];
    const out = join(directory, "out");
    const commands = [
      ["cp", "box:/d", out],
      ["cp", file, "box:/d/in"],
      ["cp", file, "idle:/vol/in"],
    ];
    for (const command of commands) {
      const check = async (what: string): Promise<void> => {
        rmSync(out, { recursive: true, force: true });
        await mustGoOn(store, what);
        await store.ok(["ps", "-a"]);
      };
      expect(await sweep(store, { command, calls, check })).toBeGreaterThan(2);
    }
    await store.ok(["cp", file, "box:/d/in"]);
    await store.ok(["cp", file, "idle:/vol/in"]);
    expect(await store.ok(["exec", "box", "cat", "/d/in"])).toBe("whole");
    await store.ok(["start", "-a", "idle"]);
  }, 600_000);
});
