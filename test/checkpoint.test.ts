/**
 * Checkpoint and restore by the real CRIU, where it works; and everywhere, what is said where it cannot, before anything
 * is changed.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { busyboxRoot, missing, newStore, run, type Store, until } from "./harness.ts";
import { newRuntime, type Runtime } from "./oci-harness.ts";
import { patience } from "./patience.ts";
import { adopter, isAlive, parentOf } from "./processes.ts";

const check = Bun.which("criu") === null ? undefined : Bun.spawnSync(["criu", "check", "--no-default-config"]);
const cannot = missing("CRIU is not installed, or cannot work on this kernel", check?.exitCode !== 0);

/** Dumping takes its time in a virtual machine. */
const PATIENCE = { timeoutMs: 120_000 };
const QUIET = ["--network", "none"];
const COUNTER = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done";

const image = await busyboxRoot();

/** With its options, of which some hold for the whole host. */
const cgroupMounts = (): string[] =>
  readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => line.includes(" - cgroup2 "));
const mountedAtFirst = cgroupMounts();

afterEach(async () => {
  await until("the host's cgroup mounts are as they were", () => cgroupMounts().join() === mountedAtFirst.join());
});

async function lastLine(store: Store, name: string): Promise<number> {
  return Number(await store.ok(["logs", "--tail", "1", name]));
}

async function pidOf(store: Store, name: string): Promise<number> {
  return Number(await store.ok(["inspect", "-f", "{{.State.Pid}}", name]));
}

async function status(store: Store, name: string): Promise<string> {
  return await store.ok(["inspect", "-f", "{{.State.Status}}", name]);
}

/** Where what is mounted, with its flags; proc(5). */
function mountsOf(pid: number): string[] {
  const lines = readFileSync(`/proc/${pid}/mountinfo`, "utf8").trimEnd().split("\n");
  return lines.map((line) => `${line.split(" ").slice(4, 6).join(" ")} ${line.split(" - ")[1]?.split(" ", 1)}`).sort();
}

/** A program that is called like CRIU, and does what the shell lines say. */
function fakeCriu(directory: string, lines: string): string {
  mkdirSync(directory, { recursive: true });
  const path = join(directory, `criu-${readdirSync(directory).length}`);
  writeFileSync(path, `#!/bin/sh\n${lines}\n`);
  chmodSync(path, 0o755);
  return path;
}

const BROKEN = `[ "$1" = --version ] && { echo Version: 3.17.1; exit 0; }
[ "$1" = check ] && { echo "Error (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds" >&2; exit 1; }
echo unexpected >&2; exit 9`;

describe("a CRIU that cannot work", () => {
  test("bb says why, how to get it, and leaves the container as it is", async () => {
    await using store = await newStore();
    await store.ok(["run", "-d", "--name", "box", ...QUIET, image, "sleep", "1000"]);
    const pid = await pidOf(store, "box");
    const none = await store.bb(["checkpoint", "--criu", "/nonexistent/criu", "box"]);
    expect(none.stderr).toContain('CRIU is not on this host as "/nonexistent/criu"');
    expect(none.stderr).toContain("apt-get install criu");
    const broken = await store.bb(["checkpoint", "--criu", fakeCriu(join(store.root, "x"), BROKEN), "box"]);
    expect(broken.code).not.toBe(0);
    expect(broken.stderr).toContain("CRIU 3.17.1 cannot work on this host");
    expect(broken.stderr).toContain("vdso: Unexpected rt vDSO area bounds");
    expect(await pidOf(store, "box")).toBe(pid);
    const [id = ""] = readdirSync(join(store.root, "containers"));
    expect(readdirSync(join(store.root, "containers", id)).filter((name) => name.includes("checkpoint"))).toEqual([]);
  });

  test.skipIf(check === undefined || check.exitCode === 0)("what the real one says here is what is told", async () => {
    await using store = await newStore();
    await store.ok(["run", "-d", "--name", "box", ...QUIET, image, "sleep", "1000"]);
    const first = /^Error \([^)]*\): (.*)$/m.exec(`${check?.stdout}${check?.stderr}`)?.[1]?.trim();
    const { stderr } = await store.bb(["checkpoint", "box"]);
    expect(stderr).toContain(first ?? "cannot work on this host");
    expect(await status(store, "box")).toBe("running");
  });

  test("bb-oci says the same, and restore makes nothing", async () => {
    await using runtime = newRuntime();
    const id = runtime.id();
    const bundle = await runtime.bundle(["sleep", "1000"]);
    await runtime.ok(["run", "--detach", "--bundle", bundle, id]);
    const criu = fakeCriu(join(runtime.directory, "x"), BROKEN);
    const images = join(runtime.directory, "images");
    const dumped = await runtime.oci(["--criu", criu, "checkpoint", "--image-path", images, id]);
    expect(dumped.code).toBe(1);
    expect(dumped.stderr).toContain("vdso: Unexpected rt vDSO area bounds");
    expect(existsSync(images)).toBe(false);
    expect(await runtime.status(id)).toBe("running");
    const other = runtime.id();
    const restored = await runtime.oci(["--criu", criu, "restore", "--bundle", bundle, "--image-path", images, other]);
    expect(restored.stderr).toContain("cannot work on this host");
    expect(readdirSync(runtime.root)).toEqual([id]);
  });

  test("what makes no sense is refused", async () => {
    await using store = await newStore();
    await store.ok(["run", "-d", "--rm", "--name", "box", ...QUIET, image, "sleep", "1000"]);
    expect((await store.bb(["checkpoint", "box"])).stderr).toContain("it was started with --rm");
    expect((await store.bb(["checkpoint", "--export", join(store.root, "a.tar"), "box"])).stderr).toContain(
      "its root is not an image's",
    );
    expect((await store.bb(["restore", "box"])).stderr).toContain("it has no checkpoint");
    expect((await store.bb(["restore", "--name", "other", "box"])).stderr).toContain("--name is for --import");
    expect((await store.bb(["checkpoint", "nobody"])).stderr).toContain("nobody");
  });
});

describe.skipIf(cannot)("checkpoint and restore", () => {
  test("bb: it counts on where it was, with its log, limits, masks and a monitor", async () => {
    await using store = await newStore();
    const outside = join(store.root, "outside");
    mkdirSync(outside, { recursive: true, mode: 0o700 });
    writeFileSync(join(outside, "file"), "");
    const limits = ["--memory", "64m", "--read-only", "--tmpfs", "/scratch", "-v", `${outside}:/host:ro`];
    const id = await store.ok([
      "run",
      "-d",
      "--name",
      "box",
      ...limits,
      image,
      "sh",
      "-c",
      `echo t >/scratch/t; ${COUNTER}`,
    ]);
    await until("it counts", async () => (await lastLine(store, "box")) > 2, 30_000);
    const address = await store.ok(["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "box"]);
    const before = mountsOf(await pidOf(store, "box"));
    expect(await store.ok(["checkpoint", "box"], PATIENCE)).toBe(id);
    expect(await status(store, "box")).toBe("exited");
    const saved = await lastLine(store, "box");

    await store.ok(["restore", "box"], PATIENCE);
    const pid = await pidOf(store, "box");
    expect(parentOf(pid)).not.toBe(await adopter());
    await until("more is logged", async () => (await lastLine(store, "box")) > saved + 3, 30_000);
    const lines = (await store.ok(["logs", "box"])).split("\n").map(Number);
    expect(lines.every((line, i) => line === i + 1)).toBe(true);
    expect(await store.ok(["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "box"])).toBe(address);
    expect(mountsOf(pid)).toEqual(before);
    expect(before[0]).toStartWith("/ ro");
    expect(readFileSync(`/sys/fs/cgroup/bantubox/${id}/memory.max`, "utf8").trim()).toBe("67108864");
    const inside =
      "cat /scratch/t; touch /x 2>&1 | grep -c Read-only; ls /host; wc -c </proc/keys; ping -c 1 -W 5 10.88.0.1 >/dev/null && echo pong";
    expect(await store.ok(["exec", "box", "sh", "-c", inside])).toBe("t\n1\nfile\n0\npong");
    const waits = store.ok(["wait", "box"], PATIENCE);
    await store.ok(["stop", "-t", "0", "box"]);
    expect(await waits).toBe("137");
    expect((await store.bb(["restore", "box"])).stderr).toContain("it has no checkpoint");
    await store.ok(["rm", "box"]);
  }, 300_000);

  test("bb: a terminal comes back, and is attached to", async () => {
    await using store = await newStore();
    await store.ok(["run", "-dt", "--name", "box", ...QUIET, image, "sh", "-c", COUNTER]);
    await until("it counts", async () => (await lastLine(store, "box")) > 2, 30_000);
    await store.ok(["checkpoint", "box"], PATIENCE);
    const saved = await lastLine(store, "box");
    await store.ok(["restore", "box"], PATIENCE);
    await until("more is logged", async () => (await lastLine(store, "box")) > saved + 3, 30_000);
    expect(
      await store.ok(["exec", "box", "sh", "-c", "readlink /proc/1/fd/0; test -c /dev/console && echo console"]),
    ).toBe("/dev/pts/0\nconsole");
  }, 300_000);

  test("bb: left running and exported; imported under another name into another store, with its changed files", async () => {
    await using store = await newStore();
    await using other = await newStore();
    const archive = join(store.root, "box.tar");
    mkdirSync(store.root, { recursive: true, mode: 0o700 });
    await run(["tar", "-C", image, "-cf", archive, "."]);
    await store.ok(["import", archive, "box:1"], PATIENCE);
    await store.ok(["save", "-o", archive, "box:1"], PATIENCE);
    await other.ok(["load", "-i", archive], PATIENCE);
    const script = `echo changed >/root/file; rm /bin/zcat; mkdir /var/new; ${COUNTER}`;
    const id = await store.ok(["run", "-d", "--rm", "--name", "box", ...QUIET, "box:1", "sh", "-c", script]);
    await until("it counts", async () => (await lastLine(store, "box")) > 2, 30_000);
    const exported = join(store.root, "checkpoint.tar");
    await store.ok(["checkpoint", "--leave-running", "--export", exported, "box"], PATIENCE);
    const saved = await lastLine(store, "box");
    expect(await status(store, "box")).toBe("running");
    await until("the first goes on", async () => (await lastLine(store, "box")) > saved + 3, 30_000);
    expect(readdirSync(join(store.root, "containers", id)).filter((name) => name.startsWith("checkpoint"))).toEqual([]);

    const imported = await other.ok(["restore", "--import", exported, "--name", "twin"], PATIENCE);
    expect(imported).not.toBe(id);
    await until("the second counts", async () => (await lastLine(other, "twin")) > 3, 30_000);
    expect(Number((await other.ok(["logs", "twin"])).split("\n", 1)[0])).toBeGreaterThan(2);
    const seen = "cat /root/file; ls /bin/zcat 2>&1 | grep -c 'No such'; ls -d /var/new; cat /proc/1/cgroup";
    expect(await other.ok(["exec", "twin", "sh", "-c", seen])).toBe("changed\n1\n/var/new\n0::/");
    expect(readFileSync(`/proc/${await pidOf(other, "twin")}/cgroup`, "utf8")).toContain(`/bantubox/${imported}`);
    const again = await other.bb(["restore", "--import", exported, "--name", "twin"], PATIENCE);
    expect(again.stderr).toContain('Cannot name the container "twin"');
    expect((await other.bb(["restore", "--import", archive], PATIENCE)).stderr).toContain("it has no checkpoint.json");
    expect(readdirSync(join(other.root, "containers"))).toEqual([imported]);
  }, 400_000);

  test("bb: a TCP connection outlives it", async () => {
    await using store = await newStore();
    const server = `while :; do echo tick; sleep 0.1; done | nc -l -p 7000`;
    await store.ok(["run", "-d", "--name", "box", image, "sh", "-c", server]);
    const address = await store.ok(["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "box"]);
    let bytes = 0;
    let isClosed = false;
    const connect = (): Promise<{ end(): void }> =>
      Bun.connect({
        hostname: address,
        port: 7000,
        socket: {
          data(_, chunk) {
            bytes += chunk.length;
          },
          close() {
            isClosed = true;
          },
        },
      });
    let socket: { end(): void } | undefined;
    await until(
      "the server listens",
      async () => {
        socket = await connect().catch(() => undefined);
        return socket !== undefined;
      },
      30_000,
    );
    await until("it talks", () => bytes > 10, 30_000);
    const refused = await store.bb(["checkpoint", "box"], PATIENCE);
    expect(refused.stderr).toContain("Connected TCP socket");
    expect(await status(store, "box")).toBe("running");
    const running = bytes;
    await until("a refused one changes nothing", () => bytes > running + 10, 30_000);
    await store.ok(["checkpoint", "--tcp-established", "box"], PATIENCE);
    const saved = bytes;
    await store.ok(["restore", "box"], PATIENCE);
    await until("it talks on", () => bytes > saved + 10, 60_000);
    expect(isClosed).toBe(false);
    socket?.end();
  }, 400_000);

  test("kill -9 of a checkpoint, and of a monitor that restores, leave what the next command mends", async () => {
    await using store = await newStore();
    await store.ok(["run", "-d", "--name", "box", ...QUIET, image, "sh", "-c", COUNTER]);
    await until("it counts", async () => (await lastLine(store, "box")) > 2, 30_000);
    const waits = fakeCriu(
      join(store.root, "x"),
      `[ "$1" = swrk ] && { echo $$ >>${store.root}/called; echo $PPID >${store.root}/caller; sleep ${patience(3)}; }\nexec criu "$@"`,
    );
    const caller = (): number =>
      Number(existsSync(join(store.root, "caller")) && readFileSync(join(store.root, "caller"), "utf8"));
    const command = Bun.spawn([...store.command, "checkpoint", "--criu", waits, "box"], { stderr: "ignore" });
    await until("CRIU is called", () => caller() > 0, 60_000);
    command.kill("SIGKILL");
    await command.exited;
    const seen = await lastLine(store, "box");
    await until("it goes on", async () => (await lastLine(store, "box")) > seen + 3, 60_000);
    await store.ok(["checkpoint", "box"], PATIENCE);

    writeFileSync(join(store.root, "caller"), "");
    const restore = Bun.spawn([...store.command, "restore", "--criu", waits, "box"], { stderr: "ignore" });
    await until("CRIU is called again", () => caller() > 0, 60_000);
    // The stage's parent, which is CRIU's.
    process.kill(parentOf(caller()), "SIGKILL");
    await restore.exited;
    expect(await status(store, "box")).toBe("exited");
    const saved = await lastLine(store, "box");
    await store.ok(["restore", "box"], PATIENCE);
    await until("it counts on", async () => (await lastLine(store, "box")) > saved + 3, 30_000);
    await store.ok(["rm", "-f", "box"]);
    // What was called as CRIU sleeps, and hears only then that its caller is gone.
    const called = readFileSync(join(store.root, "called"), "utf8").trim().split("\n").map(Number);
    await until("those called as CRIU to end", () => !called.some(isAlive), 60_000);
  }, 400_000);

  test("bb: a restore of which somebody is killed half way leaves nothing that runs, and can be had again", async () => {
    await using store = await newStore();
    const id = await store.ok(["run", "-d", "--name", "box", ...QUIET, image, "sh", "-c", COUNTER]);
    await store.ok(["checkpoint", "box"], PATIENCE);
    const processes = (): number[] => {
      const path = `/sys/fs/cgroup/bantubox/${id}/cgroup.procs`;
      const text = existsSync(path) ? readFileSync(path, "utf8") : "";
      return text.split("\n").filter(Boolean).map(Number);
    };
    for (const victim of ["CRIU", "stage", "monitor"]) {
      const restore = Bun.spawn([...store.command, "restore", "--keep", "box"], { stdout: "ignore", stderr: "pipe" });
      // CRIU, and what it is restoring.
      await until(`what ${victim} restores is there`, () => processes().length > 1, 60_000);
      const [criu = 0] = processes();
      const stage = parentOf(criu);
      process.kill({ CRIU: criu, stage, monitor: parentOf(stage) }[victim] ?? 0, "SIGKILL");
      expect(await restore.exited).not.toBe(0);
      if (victim === "CRIU")
        expect(await new Response(restore.stderr).text()).toContain("Cannot restore: CRIU could not");
      await until(`nothing runs without ${victim}`, () => processes().length === 0, 30_000);
      expect(await status(store, "box")).toBe("exited");
    }
    await store.ok(["restore", "box"], PATIENCE);
    // A monitor that was killed could not set the mounts' options again; this restore has.
    expect(await status(store, "box")).toBe("running");
  }, 400_000);

  test("bb-oci: a hook that fails takes along what is restored by then", async () => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["sleep", "1000"]);
    const [id, images] = [runtime.id(), join(runtime.directory, "images")];
    await quietly(runtime, ["run", "--detach", "--bundle", bundle, id]);
    await runtime.ok(["checkpoint", "--image-path", images, id], PATIENCE);
    const path = join(bundle, "config.json");
    const config = JSON.parse(readFileSync(path, "utf8")) as { linux: { cgroupsPath?: string }; hooks?: unknown };
    const seen = join(runtime.directory, "seen");
    const hook = { path: "/bin/sh", args: ["sh", "-c", `cat >${seen}; exit 1`] };
    writeFileSync(path, JSON.stringify({ ...config, hooks: { createRuntime: [hook] } }));
    const restore = ["restore", "--detach", "--bundle", bundle, "--image-path", images, id];
    await expect(quietly(runtime, restore)).rejects.toThrow("error running hook");
    await until("the hook has run", () => existsSync(seen) && readFileSync(seen, "utf8").endsWith("}"), 60_000);
    const { pid } = JSON.parse(readFileSync(seen, "utf8")) as { pid: number };
    expect(pid).toBeGreaterThan(0);
    await until("the restored process is gone", () => !isAlive(pid), 30_000);
  }, 300_000);

  test("no-new-privileges is kept, which CRIU forgets before 3.19; bb-oci says nothing into the container's streams", async () => {
    await using store = await newStore();
    await store.ok([
      "run",
      "-d",
      "--name",
      "box",
      ...QUIET,
      "--security-opt",
      "no-new-privileges",
      image,
      "sh",
      "-c",
      COUNTER,
    ]);
    const confined = (pid: number): string[] => {
      const text = readFileSync(`/proc/${pid}/status`, "utf8");
      return [/^NoNewPrivs:.*$/m, /^Seccomp:.*$/m, /^CapBnd:.*$/m].map((line) => line.exec(text)?.[0] ?? "");
    };
    const label = (pid: number): string => readFileSync(`/proc/${pid}/attr/current`, "utf8");
    const before = await pidOf(store, "box");
    const [was, labelled] = [confined(before), label(before)];
    expect(was[0]).toBe("NoNewPrivs:\t1");
    await store.ok(["checkpoint", "box"], PATIENCE);
    await store.ok(["restore", "box"], PATIENCE);
    const after = await pidOf(store, "box");
    expect(confined(after)).toEqual(was);
    expect(label(after)).toBe(labelled);

    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["sleep", "1000"], ({ process }) => {
      process["noNewPrivileges"] = true;
    });
    const [id, images] = [runtime.id(), join(runtime.directory, "images")];
    await quietly(runtime, ["run", "--detach", "--bundle", bundle, id]);
    await runtime.ok(["checkpoint", "--image-path", images, id], PATIENCE);
    await quietly(runtime, ["restore", "--detach", "--bundle", bundle, "--image-path", images, id]);
    const log = join(runtime.directory, "log");
    expect(existsSync(log) ? readFileSync(log, "utf8") : "").toBe("");
    const { pid } = JSON.parse(await runtime.ok(["state", id])) as { pid: number };
    expect(confined(pid)[0]).toBe("NoNewPrivs:\t1");
    await runtime.ok(["delete", "--force", id]);
  }, 300_000);

  test("bb-oci: what is restored under another name is in a group of that name", async () => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["sleep", "1000"]);
    const [id, other, images] = [runtime.id(), runtime.id(), join(runtime.directory, "images")];
    await quietly(runtime, ["run", "--detach", "--bundle", bundle, id]);
    await runtime.ok(["checkpoint", "--leave-running", "--image-path", images, id], PATIENCE);
    await quietly(runtime, ["restore", "--detach", "--bundle", bundle, "--image-path", images, other]);
    const { pid } = JSON.parse(await runtime.ok(["state", other])) as { pid: number };
    expect(readFileSync(`/proc/${pid}/cgroup`, "utf8")).toEndWith(`/${other}\n`);
    await runtime.ok(["delete", "--force", id]);
    await runtime.ok(["delete", "--force", other]);
  }, 300_000);

  test("bb-oci: files of a bind mount, pipes and a pid file come back; delete leaves nothing", async () => {
    await using runtime = newRuntime();
    const shared = join(runtime.directory, "shared");
    mkdirSync(shared, { mode: 0o777 });
    const mount = { destination: "/tmp", type: "bind", source: shared, options: ["rbind", "rw"] };
    const bundle = await runtime.bundle(["sh", "-c", COUNTER.replace("echo $i", "echo $i >/tmp/i")], (config) => {
      config.mounts.push(mount);
    });
    const [id, images] = [runtime.id(), join(runtime.directory, "images")];
    await quietly(runtime, ["run", "--detach", "--bundle", bundle, id]);
    const count = (): number => Number(readFileSync(join(shared, "i"), "utf8"));
    await until("it counts", () => existsSync(join(shared, "i")) && count() > 2, 30_000);
    await runtime.ok(["checkpoint", "--leave-running", "--image-path", images, id], PATIENCE);
    expect(await runtime.status(id)).toBe("running");
    await runtime.ok(["checkpoint", "--image-path", images, id], PATIENCE);
    expect((await runtime.oci(["state", id])).stderr).toContain("does not exist");
    const saved = count();
    await quietly(runtime, [
      ...["restore", "--detach", "--bundle", bundle, "--image-path", images],
      ...["--pid-file", join(runtime.directory, "pid"), id],
    ]);
    await until("it counts on", () => count() > saved + 3, 30_000);
    const { pid, status: state } = JSON.parse(await runtime.ok(["state", id])) as { pid: number; status: string };
    expect(state).toBe("running");
    expect(readFileSync(join(runtime.directory, "pid"), "utf8")).toBe(String(pid));
    expect(await runtime.ok(["exec", id, "echo", "inside"])).toBe("inside");
    await runtime.ok(["delete", "--force", id]);
  }, 300_000);
});

/** With streams that a checkpoint can name: a file of the host's is none. */
async function quietly(runtime: Runtime, args: readonly string[]): Promise<void> {
  const log = join(runtime.directory, "log");
  const script = 'exec "$@" </dev/null >/dev/null 2>&1';
  const { code } = await run(["sh", "-c", script, "sh", ...runtime.command, "--log", log, ...args], PATIENCE);
  if (code !== 0)
    throw new Error(`bb-oci ${args.join(" ")}: status ${code}\n${existsSync(log) && readFileSync(log, "utf8")}`);
}
