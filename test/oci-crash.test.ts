/**
 * Whatever command of bb-oci is killed, at whatever call: state and list go on working, `delete --force`
 * removes all that is there, and the same container can be made again.
 *
 * strace kills the task at its n-th call of one kind. The first and the fifth point of each call are visited;
 * BANTUBOX_SWEEP=all visits them all.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { missing, until } from "./harness.ts";
import { type Config, cgroupsOf, newRuntime, type Runtime, started } from "./oci-harness.ts";

const hasStrace = !missing("strace is not installed", Bun.which("strace") === null);
const [STEP, POINTS_MAX] = process.env["BANTUBOX_SWEEP"] === "all" ? [1, 200] : [4, 2];

interface Sweep {
  readonly calls: readonly string[];
  /** The command is `create`. */
  readonly leavesHeld?: boolean;
  /** Before each point. @returns The command that is killed, and the container's ID. */
  readonly prepare: () => Promise<{ id: string; command: readonly string[] }>;
}

/** @returns How many points there were. */
async function sweep(runtime: Runtime, { calls, leavesHeld = false, prepare }: Sweep): Promise<number> {
  const trace = join(runtime.directory, "trace");
  let points = 0;
  for (const call of calls) {
    for (let n = 1, visited = 0; visited < POINTS_MAX; n += STEP, visited++) {
      const { id, command } = await prepare();
      const strace = ["strace", "-f", "-qq", "-o", trace, "-e", `trace=${call}`];
      const inject = ["-e", `inject=${call}:signal=SIGKILL:when=${n}`];
      const tracer = Bun.spawn([...strace, ...inject, ...runtime.command, ...command], {
        stdio: ["ignore", "ignore", "ignore"],
      });
      await (leavesHeld ? untilHeld(runtime, tracer, id) : tracer.exited);
      // Before what is held is removed, which kills it, too.
      const traced = readFileSync(trace, "utf8");
      await mustBeMended(runtime, id, `SIGKILL at ${call} ${n} of bb-oci ${command[0]}`);
      await tracer.exited;
      rmSync(trace);
      if (!/killed by SIGKILL/.test(traced)) break;
      points++;
    }
  }
  return points;
}

/** What is traced ends; but a process that is held does so when it is removed. */
async function untilHeld(runtime: Runtime, tracer: Bun.Subprocess, id: string): Promise<void> {
  await until("the command's end", async () => {
    if (tracer.exitCode !== null || tracer.signalCode !== null) return true;
    return (await runtime.oci(["state", id])).stdout.includes('"status": "created"');
  });
}

async function mustBeMended(runtime: Runtime, id: string, what: string): Promise<void> {
  for (const command of [["list"], ["delete", "--force", id], ["delete", "--force", id]]) {
    const { code, stderr } = await runtime.oci(command);
    if (code !== 0) throw new Error(`After ${what}: bb-oci ${command.join(" ")}: status ${code}\n${stderr}`);
  }
  const left = [join(runtime.root, id), ...cgroupsOf(id)].filter((path) => existsSync(path));
  if (left.length > 0) throw new Error(`After ${what} there is left: ${left.join(", ")}`);
}

const MAKE_CALLS = ["mkdirat", "openat", "flock", "write", "renameat2", "mknodat", "memfd_create", "execve,execveat"];
const CHILD_CALLS = ["clone3", "mount", "move_mount", "pivot_root", "prctl", "sendto", "recvmsg", "close_range"];

/** Who carries out the command: Bun does when there is a hook. */
const BY: [string, (config: Config) => void][] = [
  ["the front", () => {}],
  [
    "Bun",
    (config) => {
      config.hooks = { poststart: [{ path: "/bin/true" }], poststop: [{ path: "/bin/true" }] };
    },
  ],
];

describe.skipIf(!hasStrace)("a sweep of kill -9", () => {
  test("over create", async () => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["sleep", "600"], (config) => {
      config.hooks = { createRuntime: [{ path: "/bin/true" }], createContainer: [{ path: "/bin/true" }] };
    });
    const id = runtime.id();
    const prepare = async () => ({ id, command: ["create", "--bundle", bundle, id] });
    expect(await sweep(runtime, { calls: [...MAKE_CALLS, ...CHILD_CALLS], leavesHeld: true, prepare })).toBeGreaterThan(
      10,
    );
  }, 600_000);

  test("over run", async () => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["true"]);
    const id = runtime.id();
    const prepare = async () => ({ id, command: ["run", "--bundle", bundle, id] });
    const calls = ["openat", "clone3", "mount", "sendto", "unlinkat", "wait4"];
    expect(await sweep(runtime, { calls, prepare })).toBeGreaterThan(4);
  }, 600_000);

  test.each(BY)(
    "over start by %s",
    async (_, change) => {
      await using runtime = newRuntime();
      const bundle = await runtime.bundle(["sleep", "600"], change);
      const id = runtime.id();
      const prepare = async () => {
        await runtime.ok(["create", "--bundle", bundle, id]);
        return { id, command: ["start", id] };
      };
      const calls = ["openat", "flock", "write", "ppoll", "unlinkat"];
      expect(await sweep(runtime, { calls, prepare })).toBeGreaterThan(3);
    },
    600_000,
  );

  test("over exec: its container goes on", async () => {
    await using runtime = newRuntime();
    const prepare = async () => {
      const { id } = await started(runtime, ["sleep", "600"]);
      return { id, command: ["exec", "--detach", id, "sleep", "0.1"] };
    };
    const calls = ["openat", "pidfd_open", "clone3", "setns", "sendto", "execve,execveat"];
    expect(await sweep(runtime, { calls, prepare })).toBeGreaterThan(4);
  }, 600_000);

  test.each(BY)(
    "over delete by %s",
    async (_, change) => {
      await using runtime = newRuntime();
      const prepare = async () => {
        const { id } = await started(runtime, ["sleep", "600"], change);
        return { id, command: ["delete", "--force", id] };
      };
      const calls = ["openat", "flock", "pidfd_send_signal", "ppoll", "unlink,unlinkat,rmdir"];
      expect(await sweep(runtime, { calls, prepare })).toBeGreaterThan(3);
    },
    600_000,
  );
});
