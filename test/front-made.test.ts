/**
 * Once bb-oci has made a container, the front starts, shows, signals and deletes it without Bun, as long as nothing is
 * odd; what is, is said as Bun says it. `--root=DIR` is a way to name the root that the front leaves to Bun.
 */
import { describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { probe } from "./compile.ts";
import { missing, type Result, run, until } from "./harness.ts";
import { BB_OCI, type Config, cgroupsOf, newRuntime, type Runtime, stopped } from "./oci-harness.ts";
import { patience } from "./patience.ts";

const cannotTrace = missing("strace is not installed", Bun.which("strace") === null);

interface Traced extends Result {
  readonly byFront: boolean;
}

let traces = 0;

/** Whether it was the front is told by what only Bun calls. */
async function traced(
  { root, directory }: Runtime,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<Traced> {
  const trace = join(directory, `trace-${traces++}`);
  const strace = ["strace", "-qq", "-o", trace, "-e", "trace=epoll_create1"];
  const result = await run([...strace, BB_OCI, "--root", root, ...args], { env });
  return { ...result, byFront: !readFileSync(trace, "utf8").includes("epoll_create1") };
}

function byBun({ root }: Runtime, args: readonly string[]): Promise<Result> {
  return run([BB_OCI, `--root=${root}`, ...args]);
}

async function created(
  runtime: Runtime,
  args: readonly string[],
  change?: (config: Config) => void,
): Promise<{ id: string; bundle: string }> {
  const [id, bundle] = [runtime.id(), await runtime.bundle(args, change)];
  await runtime.ok(["create", "--bundle", bundle, id]);
  return { id, bundle };
}

const GOOD = { byFront: true, code: 0, stdout: "", stderr: "" };

describe.skipIf(cannotTrace)("the front of bb-oci", () => {
  test("starts, signals and deletes, whether the front has made the container or Bun", async () => {
    await using runtime = newRuntime();
    for (let i = 0; i < 3; i++) {
      const { id } = await created(runtime, ["sh", "-c", "trap 'exit 0' USR1; while :; do sleep 0.02; done"]);
      expect(await traced(runtime, ["start", id])).toEqual(GOOD);
      expect(await runtime.status(id)).toBe("running");
      expect(existsSync(join(runtime.root, id, "exec.fifo"))).toBe(false);
      expect(await traced(runtime, ["kill", id, "0"])).toEqual(GOOD);
      await until("its end", async () => {
        expect(await traced(runtime, ["kill", id, "10"])).toMatchObject({ stdout: "" });
        return (await runtime.status(id)) === "stopped";
      });
      expect(cgroupsOf(id)).not.toEqual([]);
      expect(await traced(runtime, ["delete", id])).toEqual(GOOD);
      expect(existsSync(join(runtime.root, id))).toBe(false);
      expect(cgroupsOf(id)).toEqual([]);
    }
  });

  test("deletes by force what runs, what is held, and what is not there", async () => {
    await using runtime = newRuntime();
    for (const starts of [true, false]) {
      const { id } = await created(runtime, ["sleep", "1000"]);
      if (starts) await runtime.ok(["start", id]);
      for (let i = 0; i < 2; i++)
        expect(await traced(runtime, ["delete", i === 0 ? "--force" : "-f", id])).toEqual(GOOD);
      expect(existsSync(join(runtime.root, id))).toBe(false);
      expect(cgroupsOf(id)).toEqual([]);
    }
  });

  test("shows the same state as Bun, in every status", async () => {
    await using runtime = newRuntime();
    const { id } = await created(runtime, ["sleep", "1000"], (config) => {
      config["annotations"] = { 'of "it"\n': '\n  "pid": 7', created: "\u2028 é" };
    });
    const same = async (status: string, byFront = true): Promise<void> => {
      const state = await traced(runtime, ["state", id]);
      expect({ code: state.code, stdout: state.stdout, stderr: state.stderr }).toEqual(
        await byBun(runtime, ["state", id]),
      );
      expect([JSON.parse(state.stdout).status, state.byFront]).toEqual([status, byFront]);
    };
    await same("created");
    await runtime.ok(["start", id]);
    await same("running");
    await runtime.ok(["pause", id]);
    await same("paused", false);
    await runtime.ok(["resume", id]);
    await same("running");
    await runtime.ok(["kill", id, "9"]);
    await stopped(runtime, id);
    await same("stopped");
  });

  test("kills and deletes whose first thread has ended, as Bun does, when no thread is left", async () => {
    await using runtime = newRuntime();
    const root = join(runtime.directory, "rootfs");
    for (const name of ["proc", "dev", "sys"]) mkdirSync(join(root, name), { recursive: true });
    copyFileSync(await probe("thread"), join(root, "thread"));
    for (const ask of [(args: string[]) => traced(runtime, args), (args: string[]) => byBun(runtime, args)]) {
      const { id } = await created(runtime, ["/thread"], (config) => {
        config.root = { path: root, readonly: false };
      });
      await runtime.ok(["start", id]);
      const { pid } = JSON.parse(await runtime.ok(["state", id]));
      await until("its end", () => /^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, "utf8")));
      expect(JSON.parse((await ask(["state", id])).stdout)).toMatchObject({ status: "running", pid });
      expect((await ask(["delete", id])).code).toBe(1);
      expect((await ask(["kill", id, "9"])).code).toBe(0);
      await stopped(runtime, id);
      expect((await ask(["delete", id])).code).toBe(0);
    }
  });

  test("says when a container was made on any day", async () => {
    await using runtime = newRuntime();
    const { id } = await created(runtime, ["sleep", "1000"]);
    for (const day of [
      "1970-01-01T00:00:00.000Z",
      "2000-02-29T23:59:59.999Z",
      "2023-12-31T12:00:00.010Z",
      "2100-03-01T01:02:03.100Z",
    ]) {
      await run(["touch", "-d", day, join(runtime.root, id, "state.json")]);
      const { stdout, byFront } = await traced(runtime, ["state", id]);
      expect([JSON.parse(stdout).created, byFront]).toEqual([day, true]);
    }
  });

  test("says what is wrong in the words, the log and the status of Bun", async () => {
    await using runtime = newRuntime();
    const [held, running, none] = [
      await created(runtime, ["sleep", "1000"]),
      await created(runtime, ["sleep", "1000"]),
      runtime.id(),
    ];
    await runtime.ok(["start", running.id]);
    for (const args of [
      ["start", running.id],
      ["delete", running.id],
      ["kill", none, "9"],
      ["kill", running.id, "65"],
      ["kill", running.id, "NONE"],
      ["state", none],
      ["start", none],
      ["delete", none],
      ["start", "../x"],
      ["delete", "--force", ".."],
      ["start", held.id, "more"],
      ["state", "--all", held.id],
    ]) {
      const logs = [join(runtime.directory, "front.log"), join(runtime.directory, "bun.log")];
      const words = (log = ""): string[] => ["--log", log, "--log-format", "json", ...args];
      const front = await traced(runtime, words(logs[0]));
      const bun = await byBun(runtime, words(logs[1]));
      const { byFront, ...result } = front;
      expect([args, result, byFront]).toEqual([args, bun, false]);
      const messages = logs.map((log) => JSON.parse(readFileSync(log, "utf8")).msg);
      expect(messages[0]).toBe(messages[1]);
      for (const log of logs) rmSync(log);
    }
    expect(await runtime.status(held.id)).toBe("created");
    expect(await runtime.status(running.id)).toBe("running");
  });

  test("says of a command that cannot be executed what Bun says", async () => {
    await using runtime = newRuntime();
    const root = join(runtime.directory, "rootfs");
    mkdirSync(join(root, "proc"), { recursive: true });
    mkdirSync(join(root, "dev"));
    mkdirSync(join(root, "sys"));
    writeFileSync(join(root, "broken"), "\u007fELF nothing", { mode: 0o755 });
    const results: Result[] = [];
    for (const start of [
      (id: string) => traced(runtime, ["start", id]),
      (id: string) => byBun(runtime, ["start", id]),
    ]) {
      const { id } = await created(runtime, ["/broken"], (config) => {
        config.root = { path: root, readonly: false };
      });
      const { code, stdout, stderr } = await start(id);
      results.push({ code, stdout, stderr: stderr.replace(/time="[^"]*"/, "") });
      expect(await runtime.status(id)).toBe("stopped");
      expect(await traced(runtime, ["delete", id])).toEqual(GOOD);
    }
    expect(results[0]).toEqual(results[1]);
    expect(results[0]).toMatchObject({ code: 1, stderr: expect.stringContaining("exec format error") });
  });

  test("leaves to Bun what has more to it", async () => {
    await using runtime = newRuntime();
    const said = join(runtime.directory, "said");
    const hook = { path: "/bin/sh", args: ["sh", "-c", `echo $1 >>${said}`, "sh"] };
    const withHooks = await created(runtime, ["sleep", "1000"], (config) => {
      config.hooks = {
        poststart: [{ ...hook, args: [...hook.args, "poststart"] }],
        poststop: [{ ...hook, args: [...hook.args, "poststop"] }],
      };
    });
    expect((await traced(runtime, ["start", withHooks.id])).byFront).toBe(false);
    expect((await traced(runtime, ["delete", "--force", withHooks.id])).byFront).toBe(false);
    expect(readFileSync(said, "utf8")).toBe("poststart\npoststop\n");

    const others = await created(runtime, ["sh", "-c", "sleep 1000 & sleep 1001"], (config) => {
      config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "pid");
    });
    await runtime.ok(["start", others.id]);
    expect((await traced(runtime, ["delete", "--force", others.id])).byFront).toBe(false);
    expect(cgroupsOf(others.id)).toEqual([]);

    const notified = await created(runtime, ["true"]);
    const env = { NOTIFY_SOCKET: join(runtime.directory, "no-socket") };
    expect(await traced(runtime, ["start", notified.id], env)).toMatchObject({ byFront: false, code: 0 });
    await runtime.ok(["delete", "--force", notified.id]);
  });

  test("finds the groups on a host with many mounts", async () => {
    await using runtime = newRuntime();
    const mounted = join(runtime.directory, "mounted".padEnd(200, "-"));
    mkdirSync(mounted);
    // Each time as many again: a tree is bound into itself.
    const mounts = [
      'mount -t tmpfs none "$0"; mkdir "$0/x"',
      'for i in 1 2 3 4 5 6 7 8 9; do mount --rbind "$0" "$0/x"; done; exec "$@"',
    ].join("\n");
    const bundle = await runtime.bundle(["true"]);
    const trace = join(runtime.directory, "trace");
    const script = [
      'test $(wc -c </proc/self/mountinfo) -gt 65536 || exit 99; oci="$1" trace="$2" bundle="$3" id="$4"',
      'for i in 1 2 3; do $oci create -b "$bundle" "$id" </dev/null >/dev/null 2>&1 || exit 98; $oci start "$id"',
      'while ! $oci state "$id" | grep -q stopped; do sleep 0.02; done; strace -qq -o "$trace$i" -e trace=epoll_create1 $oci delete "$id" || exit 97; done',
    ].join("\n");
    const command = ["unshare", "-m", "sh", "-c", mounts, mounted, "sh", "-c", script];
    const result = await run([...command, "sh", `${BB_OCI} --root ${runtime.root}`, trace, bundle, runtime.id()]);
    expect(result).toEqual({ code: 0, stdout: "", stderr: "" });
    for (const i of [1, 2, 3]) expect(readFileSync(`${trace}${i}`, "utf8")).not.toContain("epoll_create1");
  });

  test("has Bun remove what a container has made below its groups", async () => {
    await using runtime = newRuntime();
    const { id } = await created(runtime, ["sleep", "1000"]);
    await runtime.ok(["start", id]);
    for (const group of cgroupsOf(id)) mkdirSync(join(group, "below"));
    expect(await traced(runtime, ["delete", "--force", id])).toMatchObject({ byFront: false, code: 0, stderr: "" });
    expect(cgroupsOf(id)).toEqual([]);
  });

  test("believes no line that is damaged, another container's, or one that others can write", async () => {
    await using runtime = newRuntime();
    const [one, other] = [await created(runtime, ["sleep", "1000"]), await created(runtime, ["sleep", "1000"])];
    const line = (id: string): string => join(runtime.root, id, "line");
    const good = readFileSync(line(one.id));
    const state = async (): Promise<boolean> => {
      const { stdout, byFront } = await traced(runtime, ["state", one.id]);
      expect(JSON.parse(stdout)).toMatchObject({ id: one.id, status: "created" });
      return byFront;
    };
    expect(await state()).toBe(true);
    writeFileSync(line(one.id), good.subarray(0, good.length - 1));
    expect(await state()).toBe(false);
    writeFileSync(line(one.id), readFileSync(line(other.id)));
    expect(await state()).toBe(false);
    rmSync(line(one.id));
    expect(await state()).toBe(false);
    writeFileSync(line(one.id), good, { mode: 0o600 });
    expect(await state()).toBe(true);
    await run(["chmod", "666", line(one.id)]);
    expect(await state()).toBe(false);
  });

  test("is not taken for somebody who has the container while it looks, nor is Bun", async () => {
    await using runtime = newRuntime();
    const { id } = await created(runtime, ["sleep", "1000"]);
    const same = async (status: string): Promise<void> => {
      // Whoever looks has the lock as others may have it, too.
      for (const lock of ["--shared", "--exclusive"]) {
        const state = ["flock", lock, join(runtime.root, id), BB_OCI, "--root", runtime.root, "state", id];
        const bun = ["flock", lock, join(runtime.root, id), BB_OCI, `--root=${runtime.root}`, "state", id];
        const expected = lock === "--shared" ? status : "creating";
        for (const command of [state, bun]) expect(JSON.parse((await run(command)).stdout).status).toBe(expected);
      }
    };
    await same("created");
    await runtime.ok(["start", id]);
    await runtime.ok(["kill", id, "9"]);
    await stopped(runtime, id);
    await same("stopped");
  });

  test("is not in the way of who makes the container, nor is Bun", async () => {
    await using runtime = newRuntime();
    const [id, bundle] = [runtime.id(), await runtime.bundle(["true"])];
    const trace = join(runtime.directory, "trace");
    const strace = ["strace", "-qq", "-o", trace, "-e", "trace=flock", "-e", "inject=flock:delay_enter=500ms"];
    const create = Bun.spawn([...strace, BB_OCI, `--root=${runtime.root}`, "create", "--bundle", bundle, id], {
      stdio: ["ignore", "ignore", "ignore"],
    });
    await until("its directory", () => existsSync(join(runtime.root, id)));
    // As `state` does it, for longer.
    const look = Bun.spawn(["flock", "--shared", join(runtime.root, id), "sleep", "1"]);
    expect(await create.exited).toBe(0);
    expect(await look.exited).toBe(0);
    expect(await runtime.status(id)).toBe("created");
  });

  test("leaves alone another one of the same ID that came meanwhile", async () => {
    await using runtime = newRuntime();
    const { id, bundle } = await created(runtime, ["sleep", "1000"]);
    const held = join(runtime.directory, "trace");
    const strace = [
      "strace",
      "-qq",
      "-o",
      held,
      "-e",
      "trace=flock",
      "-e",
      `inject=flock:delay_enter=${patience(3000)}ms:when=1`,
    ];
    const late = Bun.spawn([...strace, BB_OCI, "--root", runtime.root, "delete", "--force", id], {
      stdio: ["ignore", "ignore", "ignore"],
    });
    await until("it waits", () => existsSync(held) && readFileSync(held, "utf8").includes("flock"));
    await runtime.ok(["delete", "--force", id]);
    await runtime.ok(["create", "--bundle", bundle, id]);
    const holder = Bun.spawn(["flock", join(runtime.root, id), "sh", "-c", "echo; cat"], {
      stdin: "pipe",
      stdout: "pipe",
    });
    await holder.stdout.getReader().read();
    await until("it waits for the lock", () => readFileSync(held, "utf8").split("flock").length > 2);
    // Somebody has that container: it is killed no more than that of anybody else.
    expect(JSON.parse(await runtime.ok(["state", id])).pid).toBeGreaterThan(0);
    await holder.stdin.end();
    expect(await late.exited).toBe(0);
    expect(existsSync(join(runtime.root, id))).toBe(false);
  });

  test("waits for whoever has the container, as Bun does", async () => {
    await using runtime = newRuntime();
    const { id } = await created(runtime, ["sleep", "1000"]);
    const holder = Bun.spawn(["flock", join(runtime.root, id), "sh", "-c", "echo; cat"], {
      stdin: "pipe",
      stdout: "pipe",
    });
    await holder.stdout.getReader().read();
    let hasEnded = false;
    const deleted = traced(runtime, ["delete", "--force", id]).finally(() => {
      hasEnded = true;
    });
    await until("it waits", async () => (await traced(runtime, ["state", id])).stdout.includes('"creating"'));
    expect(hasEnded).toBe(false);
    await holder.stdin.end();
    expect(await deleted).toMatchObject({ byFront: false, code: 0 });
  });
});
