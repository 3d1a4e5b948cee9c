/** Debian's dockerd, whose every container is run by our OCI runtime. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { missing, type Result, until } from "./harness.ts";
import { BB_OCI, busyboxArchive, newSandbox, type Sandbox } from "./sandbox.ts";

const isMissing = missing("dockerd is not installed", Bun.which("dockerd") === null);

let box: Sandbox;
const command = (): string[] => ["docker", "--host", `unix://${box.directory}/docker.sock`];
const docker = (...args: string[]): Promise<string> => box.ok([...command(), ...args]);
const attempt = (...args: string[]): Promise<Result> => box.run([...command(), ...args]);
const inspect = (name: string, template: string): Promise<string> => docker("inspect", "-f", template, name);

beforeAll(async () => {
  if (isMissing) return;
  box = await newSandbox();
  const { directory, cgroup } = box;
  box.start("dockerd", [
    "dockerd",
    ...["--host", `unix://${directory}/docker.sock`, "--pidfile", `${directory}/docker.pid`],
    ...["--data-root", `${directory}/data`, "--exec-root", `${directory}/exec`],
    ...["--add-runtime", `bb=${BB_OCI}`, "--default-runtime", "bb", "--cgroup-parent", cgroup],
  ]);
  await until("dockerd", async () => (await attempt("version")).code === 0, 60_000);
  await docker("import", await busyboxArchive(directory), "busybox");
}, 180_000);
afterAll(async () => {
  if (!isMissing) await box[Symbol.asyncDispose]();
});

describe.skipIf(isMissing)("docker", () => {
  test("knows the runtime, and its version", async () => {
    expect(await docker("info", "-f", "{{.DefaultRuntime}} {{json .Runtimes.bb}}")).toContain(BB_OCI);
  });

  test("run: output, error and status are the command's; --rm leaves nothing", async () => {
    const script = "echo out; echo err >&2; exit 3";
    expect(await attempt("run", "--rm", "busybox", "sh", "-c", script)).toEqual({
      code: 3,
      stdout: "out\n",
      stderr: "err\n",
    });
    expect(await attempt("run", "--rm", "busybox", "nonesuch")).toMatchObject({ code: 127 });
    expect(await attempt("run", "--rm", "busybox", "/etc/passwd")).toMatchObject({ code: 126 });
    expect(await docker("ps", "-aq")).toBe("");
  });

  test("run: limits, user, directory, environment, read-only root, volumes and capabilities arrive", async () => {
    const script = [
      "id -u; pwd; echo $A; hostname",
      "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max",
      "touch /x 2>/dev/null || echo read-only; touch /data/x && echo written",
      "grep -E '^(CapEff|Seccomp|NoNewPrivs):' /proc/self/status | tr -s '\\t' ' '",
    ].join("; ");
    const options = ["--user", "1000", "--workdir", "/tmp", "--env", "A=b", "--hostname", "h", "--memory", "32m"];
    const volume = ["--read-only", "--tmpfs", "/data:mode=1777", "--security-opt", "no-new-privileges"];
    expect((await docker("run", "--rm", ...options, ...volume, "busybox", "sh", "-c", script)).split("\n")).toEqual([
      ...["1000", "/tmp", "b", "h", String(32 << 20), "read-only", "written"],
      ...["CapEff: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2"],
    ]);
  });

  test("run -t: the container has a terminal of its own", async () => {
    const { stdout } = await attempt("run", "--rm", "-t", "busybox", "sh", "-c", "tty; test -t 0 && echo terminal");
    expect(stdout).toBe("/dev/pts/0\r\nterminal\r\n");
  });

  test("exec: in the container's namespaces, with its own status; also with a terminal", async () => {
    await docker("run", "-d", "--name", "exec", "busybox", "sleep", "600");
    const inside = await docker("exec", "-e", "A=b", "-u", "1000", "exec", "sh", "-c", "echo $A $(id -u) $(hostname)");
    expect(inside).toBe(`b 1000 ${(await inspect("exec", "{{.Id}}")).slice(0, 12)}`);
    expect(await attempt("exec", "exec", "sh", "-c", "exit 5")).toMatchObject({ code: 5 });
    expect(await attempt("exec", "exec", "nonesuch")).toMatchObject({ code: 126 });
    expect((await attempt("exec", "-t", "exec", "tty")).stdout).toMatch(/^\/dev\/pts\/\d+\r\n$/);
    expect(await docker("exec", "-d", "exec", "sh", "-c", "echo later > /later")).toBe("");
    await until("the detached exec", async () => (await attempt("exec", "exec", "cat", "/later")).code === 0);
    expect(await docker("top", "exec", "-o", "pid,args")).toContain("sleep 600");
    await docker("rm", "-f", "exec");
  });

  test("logs, stop, start, kill, wait", async () => {
    const script = "trap 'echo stopped; exit 7' TERM; echo started; while :; do sleep 0.1; done";
    await docker("run", "-d", "--name", "logs", "busybox", "sh", "-c", script);
    await until("its first line", async () => (await docker("logs", "logs")) === "started");
    await docker("stop", "-t", "10", "logs");
    expect(await docker("logs", "logs")).toBe("started\nstopped");
    expect(await inspect("logs", "{{.State.Status}} {{.State.ExitCode}}")).toBe("exited 7");
    await docker("start", "logs");
    await docker("kill", "--signal", "KILL", "logs");
    expect(await docker("wait", "logs")).toBe("137");
    await docker("rm", "logs");
  });

  test("pause, unpause, update, stats", async () => {
    await docker("run", "-d", "--name", "live", "--memory", "32m", "busybox", "sleep", "600");
    await docker("pause", "live");
    expect(await inspect("live", "{{.State.Status}}")).toBe("paused");
    expect(await attempt("exec", "live", "true")).toMatchObject({ code: 1 });
    await docker("unpause", "live");
    await docker("update", "--memory", "64m", "--memory-swap", "128m", "--pids-limit", "20", "live");
    const files = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max";
    const v2 = "/sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max";
    const limits = await docker("exec", "live", "sh", "-c", `cat ${files} 2>/dev/null || cat ${v2}`);
    expect(limits).toBe(`${64 << 20}\n20`);
    // What an update does not speak of stays: the container still has its devices.
    expect(await docker("exec", "live", "sh", "-c", "echo x > /dev/null && echo open")).toBe("open");
    expect(await docker("stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "live")).toMatch(/ \/ 64MiB 1$/);
    await docker("rm", "-f", "live");
  });

  test("a restart policy starts it again, and again", async () => {
    await docker("run", "-d", "--name", "again", "--restart", "on-failure:2", "busybox", "sh", "-c", "exit 4");
    await until("the last attempt", async () => (await inspect("again", "{{.State.Status}}")) === "exited", 30_000);
    expect(await inspect("again", "{{.RestartCount}} {{.State.ExitCode}}")).toBe("2 4");
    await docker("rm", "again");
  });

  test("a published port leads to the container", async () => {
    const serve = "mkdir /www; echo served > /www/index.html; exec httpd -f -p 80 -h /www";
    await docker("run", "-d", "--name", "web", "--publish", "127.0.0.1:8080:80", "busybox", "sh", "-c", serve);
    const get = ["busybox", "wget", "-qO-", "http://127.0.0.1:8080/"];
    const page = await until("an answer", async () => (await box.run(get)).stdout);
    expect(page).toBe("served\n");
    await docker("rm", "-f", "web");
  });

  test("a health check sees it fall ill", async () => {
    const check = ["--health-cmd", "test -e /healthy", "--health-interval", "200ms", "--health-retries", "2"];
    await docker("run", "-d", "--name", "health", ...check, "busybox", "sh", "-c", "touch /healthy; sleep 600");
    const health = (): Promise<string> => inspect("health", "{{.State.Health.Status}}");
    await until("its health", async () => (await health()) === "healthy", 30_000);
    await docker("exec", "health", "rm", "/healthy");
    await until("its illness", async () => (await health()) === "unhealthy", 30_000);
    await docker("rm", "-f", "health");
  });

  test("build: each RUN is a container of ours", async () => {
    const context = join(box.directory, "context");
    mkdirSync(context);
    const lines = ["FROM busybox", "RUN echo built > /file && id -u >> /file", "USER 1000", 'CMD ["cat", "/file"]'];
    await Bun.write(join(context, "Dockerfile"), `${lines.join("\n")}\n`);
    // BuildKit brings its own way of running runc; the classic builder uses the daemon's runtimes.
    await box.ok([...command(), "build", "-q", "-t", "built", context], { env: { DOCKER_BUILDKIT: "0" } });
    expect(await docker("run", "--rm", "built")).toBe("built\n0");
  });
});
