/**
 * Whatever is killed, and whichever call fails: the next commands work, nothing is left, and nobody is told a lie.
 *
 * The sweeps need no help from the program: strace kills the task at its n-th call of one kind, or has the call
 * fail. The first and the fourth point of each call are visited; BANTUBOX_SWEEP=all visits them all.
 */
import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { busyboxRoot, cgroupsOf, idsIn, missing, newStore, type Result, run, type Store, until } from "./harness.ts";
import { isAlive, parentOf } from "./processes.ts";

const image = await busyboxRoot();
const hasStrace = !missing("strace is not installed", Bun.which("strace") === null);
const [STEP, POINTS_MAX] = process.env["BANTUBOX_SWEEP"] === "all" ? [1, 200] : [3, 2];

async function runBox(store: Store, ...command: string[]): Promise<string> {
  return await store.ok(["run", "-d", "--name", "box", "--network", "none", image, ...command]);
}

async function pidOf(store: Store): Promise<number> {
  return Number(await store.ok(["inspect", "-f", "{{.State.Pid}}", "box"]));
}

const state = async (store: Store): Promise<string> =>
  await store.ok(["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "box"]);

const TALKS = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"];

describe("kill -9", () => {
  test("of the client: the container goes on, its log too, and it can be waited for (F-02)", async () => {
    await using store = await newStore();
    const client = Bun.spawn([...store.command, "run", "--name", "box", "--network", "none", image, ...TALKS], {
      stdout: "ignore",
    });
    await until("it runs", async () => (await store.ok(["ps", "-q"])) !== "");
    client.kill("SIGKILL");
    await client.exited;
    const before = Number((await store.ok(["logs", "--tail", "1", "box"])) || "0");
    await until("more is logged", async () => Number(await store.ok(["logs", "--tail", "1", "box"])) > before + 3);
    const lines = (await store.ok(["logs", "box"])).split("\n").map(Number);
    expect(lines.every((line, i) => line === i + 1)).toBe(true);
    expect(await state(store)).toBe("running 0");
    await store.ok(["stop", "-t", "0", "box"]);
    expect(await state(store)).toBe("exited 137");
  });

  test("of the client of a --rm container: its monitor removes it all the same (F-02)", async () => {
    await using store = await newStore();
    const command = ["run", "--rm", "--name", "box", "--network", "none", image, "sleep", "600"];
    const client = Bun.spawn([...store.command, ...command]);
    await until("it runs", async () => (await store.ok(["ps", "-q"])) !== "");
    client.kill("SIGKILL");
    await client.exited;
    const pid = await pidOf(store);
    expect(isAlive(pid)).toBe(true);
    process.kill(pid, "SIGKILL");
    await until("nothing is left", () => readdirSync(join(store.root, "containers")).length === 0);
    expect(await store.ok(["ps", "-aq"])).toBe("");
  });

  test("of the monitor: what runs is said to run, stop and rm work, the status is unknown (F-05)", async () => {
    await using store = await newStore();
    await runBox(store, "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done");
    const pid = await pidOf(store);
    const monitor = parentOf(pid);
    process.kill(monitor, "SIGKILL");
    await until("the monitor is gone", () => parentOf(pid) !== monitor);
    expect(await state(store)).toBe("running 0");
    expect(await store.ok(["exec", "box", "echo", "inside"])).toBe("inside");
    expect(await store.ok(["start", "box"])).toBe("box");
    for (const args of [
      ["attach", "box"],
      ["start", "-a", "box"],
    ]) {
      const { code, stderr } = await store.bb(args);
      expect([code, stderr]).toEqual([1, expect.stringContaining('Cannot attach to "box": its monitor was killed')]);
    }
    const waits = store.bb(["wait", "box"]);
    await store.ok(["stop", "box"]);
    expect(await state(store)).toBe("exited 255");
    expect((await waits).stdout).toBe("255\n");
    await store.ok(["start", "box"]);
    expect(await state(store)).toBe("running 0");
    await store.ok(["rm", "-f", "box"]);
  });

  test("of the monitor: with --init, too, the container goes on", async () => {
    await using store = await newStore();
    const id = await store.ok(["run", "-d", "--init", "--name", "box", "--network", "none", image, "sleep", "600"]);
    const pid = await pidOf(store);
    const monitor = parentOf(pid);
    process.kill(monitor, "SIGKILL");
    await until("the monitor is gone", () => parentOf(pid) !== monitor);
    expect(await store.ok(["exec", id, "echo", "inside"])).toBe("inside");
  });

  test("of the monitor in front of a client: the client says so and ends with 255", async () => {
    await using store = await newStore();
    const command = ["run", "--name", "box", "--network", "none", image, "sleep", "600"];
    const client = Bun.spawn([...store.command, ...command], { stderr: "pipe" });
    await until("it runs", async () => (await store.ok(["ps", "-q"])) !== "");
    const pid = await pidOf(store);
    process.kill(parentOf(pid), "SIGKILL");
    expect(await client.exited).toBe(255);
    expect(await new Response(client.stderr).text()).toContain("its exit status is unknown");
    expect(isAlive(pid)).toBe(true);
    await store.ok(["rm", "-f", "box"]);
    expect(isAlive(pid)).toBe(false);
  });

  test("of the first process by the host: 137, recorded once, for everybody who waits", async () => {
    await using store = await newStore();
    await runBox(store, "sleep", "600");
    const waits = Array.from({ length: 3 }, () => store.ok(["wait", "box"]));
    process.kill(await pidOf(store), "SIGKILL");
    expect(await Promise.all(waits)).toEqual(["137", "137", "137"]);
    expect(await state(store)).toBe("exited 137");
  });

  test("of monitor and first process together: 255, and the container starts again (F-06)", async () => {
    await using store = await newStore();
    await runBox(store, "sleep", "600");
    const pid = await pidOf(store);
    const monitor = parentOf(pid);
    process.kill(monitor, "SIGKILL");
    process.kill(pid, "SIGKILL");
    await until("both are gone", () => !isAlive(pid) && !isAlive(monitor));
    expect(await state(store)).toBe("exited 255");
    expect(await store.ok(["wait", "box"])).toBe("255");
    await store.ok(["start", "box"]);
    expect(await state(store)).toBe("running 0");
  });

  test("of stop while it waits: the next one does its work (F-03)", async () => {
    await using store = await newStore();
    await runBox(store, "sh", "-c", "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done");
    await until("it is ready", async () => (await store.ok(["logs", "box"])) === "ready");
    const stop = Bun.spawn([...store.command, "stop", "-t", "600", "box"]);
    await until("it is asked to stop", async () => (await store.ok(["logs", "box"])).endsWith("asked"));
    expect(stop.exitCode).toBe(null);
    stop.kill("SIGKILL");
    await stop.exited;
    expect(await state(store)).toBe("running 0");
    await store.ok(["stop", "-t", "0", "box"]);
    expect(await state(store)).toBe("exited 137");
  });
});

interface Sweep {
  /** Before each point. */
  readonly prepare?: (store: Store) => Promise<unknown>;
  readonly command: readonly string[];
  readonly calls: readonly string[];
  /** Of strace: `signal=SIGKILL` or `error=ENOSPC`. */
  readonly fault: string;
  /** After each point, before the usual. */
  readonly check?: (store: Store, result: Result, what: string) => Promise<void>;
}

/** Visits the points of one command, and checks after each that the store still works. @returns How many there were. */
async function sweep(store: Store, { prepare, command, calls, fault, check }: Sweep): Promise<number> {
  const trace = join(store.root, "..", "trace");
  const ids = new Set<string>();
  let points = 0;
  for (const call of calls) {
    for (let n = 1, visited = 0; visited < POINTS_MAX; n += STEP, visited++) {
      await prepare?.(store);
      const strace = [
        "strace",
        "-f",
        "-qq",
        "-o",
        trace,
        "-e",
        `trace=${call}`,
        "-e",
        `inject=${call}:${fault}:when=${n}`,
      ];
      const result = await run([...strace, ...store.command, ...command]);
      const what = `${fault} at ${call} ${n} of bb ${command.join(" ")}: status ${result.code}\n${result.stderr}`;
      const traced = readFileSync(trace, "utf8");
      rmSync(trace);
      for (const id of [...idsIn(join(store.root, "containers")), ...idsIn(store.runRoot)]) ids.add(id);
      await check?.(store, result, what);
      await mustWork(store, what);
      if (!/INJECTED|killed by SIGKILL/.test(traced)) break;
      points++;
    }
  }
  expect([...ids].flatMap(cgroupsOf)).toEqual([]);
  return points;
}

/** What every user does next: look, remove what is in the way, and run again under the same name. */
async function mustWork(store: Store, what: string): Promise<void> {
  const steps = [
    ["ps", "-a"],
    ["rm", "-f", "box"],
    ["run", "--rm", "--name", "box", "--network", "none", image, "true"],
    ["ps", "-aq"],
  ];
  for (const step of steps) {
    const { code, stdout, stderr } = await store.bb(step);
    if (code !== 0 || (step[1] === "-aq" && stdout !== "")) {
      throw new Error(`After ${what}\nbb ${step.join(" ")}: status ${code}\n${stderr}${stdout}`);
    }
  }
}

const RUN = ["--name", "box", "--network", "none", image] as const;
/** Of starts: what Bun, the monitor and the child call. */
const START_CALLS = [
  "mkdir",
  "mkdirat",
  "openat",
  "flock",
  "pwrite64",
  "write",
  "ftruncate",
  "fsync,fdatasync",
  "memfd_create",
  "execve,execveat",
  "socketpair",
  "pipe2",
  "bind",
  "clone3",
  "mount",
  "move_mount",
  "pivot_root",
  "prctl",
  "sendto",
  "unlinkat",
  "close_range",
  "wait4",
];
const END_CALLS = ["openat", "flock", "pidfd_open", "pidfd_send_signal", "unlink,unlinkat,rmdir", "pwrite64", "write"];
const KILL = "signal=SIGKILL";

describe.skipIf(!hasStrace)("a sweep of kill -9", () => {
  test("over run --rm", async () => {
    await using store = await newStore();
    const points = await sweep(store, { command: ["run", "--rm", ...RUN, "true"], calls: START_CALLS, fault: KILL });
    expect(points).toBeGreaterThan(START_CALLS.length / 2);
  }, 600_000);

  test("over a run that the front carries out", async () => {
    await using store = await newStore();
    const command = ["run", "--rm", "--network", "none", image, "true"];
    const prepare = async (): Promise<unknown> => await store.ok(command);
    const calls = ["mkdirat", "openat", "flock", "write", "memfd_create", "execve,execveat", "close_range", "statx"];
    expect(await sweep(store, { prepare, command, calls, fault: KILL })).toBeGreaterThan(calls.length);
  }, 600_000);

  test("over run -d (F-01)", async () => {
    await using store = await newStore();
    const points = await sweep(store, {
      command: ["run", "-d", ...RUN, "sleep", "0.1"],
      calls: START_CALLS,
      fault: KILL,
    });
    expect(points).toBeGreaterThan(START_CALLS.length / 2);
  }, 600_000);

  test("over start", async () => {
    await using store = await newStore();
    const prepare = async (): Promise<string> => await store.ok(["create", ...RUN, "sleep", "0.1"]);
    const calls = ["openat", "flock", "pwrite64", "mkdirat", "clone3", "mount", "sendto", "execve,execveat"];
    expect(await sweep(store, { prepare, command: ["start", "box"], calls, fault: KILL })).toBeGreaterThan(4);
  }, 600_000);

  test("over rm -f (F-04)", async () => {
    await using store = await newStore();
    const prepare = async (): Promise<string> => await store.ok(["run", "-d", ...RUN, "sleep", "600"]);
    expect(
      await sweep(store, { prepare, command: ["rm", "-f", "box"], calls: END_CALLS, fault: KILL }),
    ).toBeGreaterThan(4);
  }, 600_000);

  test("over exec: the container goes on", async () => {
    await using store = await newStore();
    const prepare = async (): Promise<string> => await store.ok(["run", "-d", ...RUN, "sleep", "600"]);
    const check = async (_: Store, __: Result, what: string): Promise<void> => {
      if ((await state(store)) !== "running 0") throw new Error(`The container ended after ${what}`);
      expect(await store.ok(["exec", "box", "echo", "in"])).toBe("in");
    };
    const calls = ["openat", "pidfd_open", "socketpair", "pipe2", "clone3", "setns", "prctl", "execve,execveat"];
    expect(
      await sweep(store, { prepare, command: ["exec", "box", "true"], calls, fault: KILL, check }),
    ).toBeGreaterThan(4);
  }, 600_000);
});

describe.skipIf(!hasStrace)("a call that fails", () => {
  test.each([
    ["ENOSPC", ["mkdir", "mkdirat", "pwrite64"]],
    ["EMFILE", ["openat", "pipe2", "socketpair", "memfd_create"]],
    ["ENOMEM", ["mount", "execve,execveat"]],
  ])(
    "with %s is said clearly, with status 125, and leaves nothing",
    async (error, calls) => {
      await using store = await newStore();
      // A store that exists: what is made but once is not the point.
      await store.ok(["run", "--rm", ...RUN, "true"]);
      const check = async (_: Store, { code, stderr }: Result, what: string): Promise<void> => {
        // Some calls have another way, and some fail in the container's own command.
        if (code === 0) return;
        if (code !== 125 && code !== 126 && code !== 127) throw new Error(`Another status: ${what}`);
        if (!stderr.includes(error) && !/cannot|error/i.test(stderr)) throw new Error(`Not said: ${what}`);
        if ((await store.ok(["ps", "-aq"])) !== "") throw new Error(`A container is left: ${what}`);
      };
      const command = ["run", "--rm", ...RUN, "true"];
      await sweep(store, { command, calls, fault: `error=${error}`, check });
    },
    600_000,
  );
});

test("after a reboot nothing of the run directory is believed, and containers start again", async () => {
  await using store = await newStore();
  await store.ok(["run", "-d", "--name", "web", "--network", "none", await busyboxRoot(), "sleep", "1000"]);
  const id = await store.ok(["ps", "-q", "--no-trunc"]);
  const record = readFileSync(join(store.runRoot, id, "pid"), "utf8");
  await store.ok(["kill", "web"]);
  // As if the machine had gone down with the container running, and its pid were somebody's who started at the same tick.
  rmSync(join(store.root, "containers", id, "exit"), { force: true });
  mkdirSync(join(store.runRoot, id), { mode: 0o700 });
  const self = readFileSync("/proc/self/stat", "utf8");
  writeFileSync(join(store.runRoot, id, "pid"), self);
  expect(await store.ok(["ps", "-q", "--no-trunc"])).toBe(id);
  writeFileSync(join(store.runRoot, "boot"), "another boot\n");
  expect(await store.ok(["ps", "-q", "--no-trunc"])).toBe("");
  expect((await store.ok(["ps", "-a", "--format", "{{.Status}}"])).split(" ").slice(0, 2)).toEqual(["Exited", "(255)"]);
  await store.ok(["start", "web"]);
  expect(record).not.toBe(readFileSync(join(store.runRoot, id, "pid"), "utf8"));
});
