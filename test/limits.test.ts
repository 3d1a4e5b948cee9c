/** Limits: what a container may use, measured from inside, and how it ends that wants more. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { busyboxRoot, cgroupsOf, missing, newStore, run, type Store, until } from "./harness.ts";

const root = await busyboxRoot();
const isV2 = existsSync("/sys/fs/cgroup/cgroup.controllers");
const hasSysResource =
  ((BigInt(`0x${/CapEff:\t(\w+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]}`) >> 24n) & 1n) === 1n;

async function bb(store: Store, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return await store.bb(["run", "--rm", "--network", "none", ...args]);
}

/** A file of the container's own group, as it sees it. */
function file(v1: string, v2: string): string {
  return `/sys/fs/cgroup/${isV2 ? v2 : v1}`;
}

interface Inspected {
  readonly State: { readonly OOMKilled: boolean; readonly ExitCode: number; readonly Status: string };
  readonly HostConfig: Record<string, unknown>;
}

async function inspect(store: Store, name: string): Promise<Inspected> {
  const [first] = JSON.parse(await store.ok(["inspect", name])) as Inspected[];
  if (first === undefined) throw new Error(`Nothing is known of ${name}`);
  return first;
}

describe("memory", () => {
  // tail keeps the last line, which never ends.
  const eat = ["tail", "/dev/zero"];

  test("F-40: PID 1 that takes too much ends with 137, and inspect says why", async () => {
    await using store = await newStore();
    const { code } = await store.bb(["run", "--name", "hungry", "--network", "none", "-m", "16m", root, ...eat]);
    expect(code).toBe(137);
    expect((await inspect(store, "hungry")).State).toMatchObject({ Status: "exited", ExitCode: 137, OOMKilled: true });
  });

  test("F-40: a child that takes too much ends alone", async () => {
    await using store = await newStore();
    const command = ["sh", "-c", "tail /dev/zero; echo child $?"];
    const { code, stdout } = await store.bb([
      "run",
      "--name",
      "parent",
      "--network",
      "none",
      "-m",
      "16m",
      root,
      ...command,
    ]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "child 137\n" });
    expect((await inspect(store, "parent")).State).toMatchObject({ ExitCode: 0 });
  });

  test("a kill by hand is no lack of memory", async () => {
    await using store = await newStore();
    const id = await store.ok(["run", "-d", "--network", "none", "-m", "16m", root, "sleep", "1000"]);
    await store.ok(["kill", id]);
    expect(await store.ok(["wait", id])).toBe("137");
    expect((await inspect(store, id)).State).toMatchObject({ ExitCode: 137, OOMKilled: false });
  });

  test("--shm-size and --tmpfs sizes", async () => {
    await using store = await newStore();
    const script = "df -k /dev/shm /scratch | awk 'NR>1{print $2}'; stat -c %a /dev/shm";
    const options = ["--shm-size", "8m", "--tmpfs", "/scratch:size=4m,mode=1777"];
    expect((await bb(store, ...options, root, "sh", "-c", script)).stdout).toBe("8192\n4096\n1777\n");
  });
});

describe("CPU", () => {
  test("--cpus holds back what wants more", async () => {
    await using store = await newStore();
    const stat = file("cpu/cpu.stat", "cpu.stat");
    const script = `while [ $(awk '/nr_throttled/{print $2}' ${stat}) -lt 3 ]; do :; done; echo throttled`;
    expect((await bb(store, "--cpus", "0.2", root, "sh", "-c", script)).stdout).toBe("throttled\n");
  });

  test("--cpu-shares and --cpuset-cpus", async () => {
    await using store = await newStore();
    const options = ["--cpu-shares", "512", "--cpuset-cpus", "0"];
    const script = `cat ${file("cpu/cpu.shares", "cpu.weight")}; nproc; grep Cpus_allowed_list /proc/self/status`;
    const { stdout } = await bb(store, ...options, root, "sh", "-c", script);
    const [shares, nproc, list] = stdout.split("\n");
    expect(isV2 ? Number(shares) : shares).toEqual(isV2 ? expect.any(Number) : "512");
    expect([nproc, list]).toEqual(["1", "Cpus_allowed_list:\t0"]);
  });

  test("CPUs that the host has not are an error (API-09)", async () => {
    await using store = await newStore();
    for (const cpus of [`${availableParallelism() + 500}`, "0-18446744073709551615", "1-0", "x", "-1"]) {
      const { code, stderr } = await bb(store, `--cpuset-cpus=${cpus}`, root, "true");
      expect({ cpus, code }).toEqual({ cpus, code: 125 });
      expect(stderr).toStartWith("bb: Cannot ");
    }
    expect(await store.ok(["ps", "-aq"])).toBe("");
  });
});

describe("processes", () => {
  test("F-34: a fork bomb stays in its limit, and can be removed", async () => {
    await using store = await newStore();
    // PID 1 forks once: a shell that cannot fork ends, and the container with it.
    const bomb = "bomb() { bomb | bomb & }; (while :; do bomb; done) 2>/dev/null & exec sleep 1000";
    const id = await store.ok(["run", "-d", "--network", "none", "--pids-limit", "50", root, "sh", "-c", bomb]);
    const current =
      cgroupsOf(id)
        .map((path) => `${path}/pids.current`)
        .find((path) => existsSync(path)) ?? "";
    await until("the limit is reached", () => Number(readFileSync(current, "utf8")) >= 49);
    expect(Number(readFileSync(current, "utf8"))).toBeLessThanOrEqual(50);
    expect(await store.ok(["ps", "-q", "--no-trunc"])).toBe(id);
    const exec = await store.bb(["exec", id, "true"]);
    expect(exec.code === 0 || exec.stderr.startsWith("bb: Cannot ")).toBe(true);
    await store.ok(["rm", "-f", id]);
    expect(cgroupsOf(id)).toEqual([]);
  }, 180_000);

  test("the limit is 2048 unless it is asked for otherwise", async () => {
    await using store = await newStore();
    const read = ["cat", file("pids/pids.max", "pids.max")];
    expect((await bb(store, root, ...read)).stdout).toBe("2048\n");
    expect((await bb(store, "--pids-limit", "7", root, ...read)).stdout).toBe("7\n");
    expect((await bb(store, "--pids-limit", "-1", root, ...read)).stdout).toBe("max\n");
  });
});

describe("a limit that this host cannot give", () => {
  const script = 'umount "$1" && shift && exec "$@"';

  test.skipIf(missing("all controllers are in one hierarchy", isV2))(
    "names the controller that is missing",
    async () => {
      await using store = await newStore();
      for (const [controller, option] of [
        ["memory", "-m=16m"],
        ["cpu", "--cpus=0.5"],
        ["cpuset", "--cpuset-cpus=0"],
      ] as const) {
        const command = [...store.command, "run", "--rm", "--network", "none", option, root, "true"];
        const { code, stderr } = await run([
          "unshare",
          "-m",
          "sh",
          "-c",
          script,
          "sh",
          `/sys/fs/cgroup/${controller}`,
          ...command,
        ]);
        expect({ controller, code }).toEqual({ controller, code: 125 });
        expect(stderr).toStartWith("bb: Cannot ");
        expect(stderr).toContain(controller);
      }
      const plain = [...store.command, "run", "--rm", "--network", "none", root, "true"];
      expect(await run(["unshare", "-m", "sh", "-c", script, "sh", "/sys/fs/cgroup/memory", ...plain])).toMatchObject({
        code: 0,
      });
    },
  );
});

describe("--ulimit", () => {
  test("is in force, for run and exec", async () => {
    await using store = await newStore();
    const options = ["--ulimit", "nofile=100:200", "--ulimit", "core=0", "--ulimit", "nproc=77"];
    const id = await store.ok(["run", "-d", "--network", "none", ...options, root, "sleep", "1000"]);
    const limits = await store.ok(["exec", id, "cat", "/proc/self/limits"]);
    expect(limits).toMatch(/Max open files\s+100\s+200/);
    expect(limits).toMatch(/Max core file size\s+0\s+0/);
    expect(limits).toMatch(/Max processes\s+77\s+77/);
    expect(readFileSync(`/proc/${await pidOf(store, id)}/limits`, "utf8")).toMatch(/Max open files\s+100\s+200/);
  });

  test("of one that is given twice the last counts", async () => {
    await using store = await newStore();
    const options = ["--ulimit", "nofile=100:200", "--ulimit", "nofile=64"];
    const id = await store.ok(["create", "--network", "none", ...options, root, "true"]);
    const config = JSON.parse(readFileSync(`${store.root}/containers/${id}/config.json`, "utf8"));
    expect(config.process.rlimits).toEqual([{ type: "RLIMIT_NOFILE", soft: 64, hard: 64 }]);
  });

  test("what is no limit is an error", async () => {
    await using store = await newStore();
    for (const limit of ["nofile", "nofile=", "nofile=x", "nofile=2:1", "nosuch=1", "nofile=1e3", "nofile=1:2:3"]) {
      const { code, stderr } = await bb(store, "--ulimit", limit, root, "true");
      expect({ limit, code }).toEqual({ limit, code: 125 });
      expect(stderr).toStartWith("bb: ");
    }
  });

  test.skipIf(missing("this process may raise every limit", hasSysResource))(
    "that needs CAP_SYS_RESOURCE says so",
    async () => {
      await using store = await newStore();
      const raised = ["sh", "-c", 'ulimit -n 256 && exec "$@"', "sh", ...store.command];
      const command = [...raised, "run", "--rm", "--network", "none", "--ulimit", "nofile=1000:1000", root, "true"];
      const { code, stderr } = await run(command);
      expect(code).toBe(125);
      expect(stderr).toContain("Cannot set a resource limit: EPERM");
      expect(stderr).toContain("CAP_SYS_RESOURCE");
      // The default asks for no more than there is.
      const plain = await run([...raised, "run", "--rm", "--network", "none", root, "sh", "-c", "ulimit -Hn"]);
      expect(plain).toMatchObject({ code: 0, stdout: "256\n" });
    },
  );
});

async function pidOf(store: Store, name: string): Promise<number> {
  const [{ State }] = JSON.parse(await store.ok(["inspect", name])) as [{ State: { Pid: number } }];
  return State.Pid;
}
