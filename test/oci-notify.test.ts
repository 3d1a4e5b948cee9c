/** bb-oci below systemd's services: sd_notify(3) of a container, and sockets that are passed on. */
import { afterEach, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { missing, run, until } from "./harness.ts";
import { newRuntime, type Runtime } from "./oci-harness.ts";

const spawned: Bun.Subprocess[] = [];
/** Whatever a test that failed has left. */
afterEach(async () => {
  for (const child of spawned.splice(0)) {
    child.kill("SIGKILL");
    await child.exited;
  }
});

function spawn(
  command: readonly string[],
  env: Record<string, string> = {},
): Bun.Subprocess<"ignore", "pipe", "inherit"> {
  const child = Bun.spawn([...command], { env: { ...process.env, ...env }, stdin: "ignore", stdout: "pipe" });
  spawned.push(child);
  return child;
}

/** Plays systemd: prints each message that comes, with its sender's pid, and answers a barrier. */
const MANAGER = `
import socket, struct, sys, os
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
s.bind(sys.argv[1])
while True:
    data, ancillary, _, _ = s.recvmsg(4096, 256)
    pid = None
    for level, kind, body in ancillary:
        if kind == socket.SCM_CREDENTIALS: pid = struct.unpack("3i", body)[0]
        if kind == socket.SCM_RIGHTS: os.close(struct.unpack("i", body)[0])
    print(pid, data.decode().strip(), flush=True)
    if data == b"BARRIER=1": break
`;

/** Says that it is ready once \`/tmp/go\` is there, and waits: busybox has no datagram sockets, python3 of the host has. */
const SERVICE = `
import os, socket, sys, time
print(os.environ["NOTIFY_SOCKET"], flush=True)
while not os.path.exists("/tmp/go"): time.sleep(0.05)
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["NOTIFY_SOCKET"])
s.send(b"STATUS=almost")
s.send(b"READY=1\\nSTATUS=done")
time.sleep(1000)
`;

interface Service {
  readonly bundle: string;
  readonly env: Record<string, string>;
  /** Lets the container say that it is ready. */
  go(): Promise<unknown>;
  /** What the manager has heard, once all has come. */
  heard(): Promise<string[]>;
}

async function service(runtime: Runtime): Promise<Service> {
  const path = join(runtime.directory, "manager.sock");
  const manager = spawn(["python3", "-c", MANAGER, path]);
  await until("the manager listens", () => existsSync(path));
  const shared = join(runtime.directory, "tmp");
  await run(["mkdir", shared]);
  const bundle = await runtime.bundle(["python3", "-c", SERVICE], ({ process, root, mounts }) => {
    root.path = "/";
    process.env = ["PATH=/usr/bin:/bin"];
    mounts.push({ destination: "/run", type: "tmpfs", source: "tmpfs", options: ["mode=755"] });
    mounts.push({ destination: "/tmp", type: "bind", source: shared, options: ["bind", "rw"] });
  });
  return {
    bundle,
    env: { NOTIFY_SOCKET: path },
    go: () => run(["touch", join(shared, "go")]),
    heard: async () => (await new Response(manager.stdout).text()).trimEnd().split("\n"),
  };
}

async function pidOf(runtime: Runtime, id: string): Promise<number> {
  return (JSON.parse(await runtime.ok(["state", id])) as { pid: number }).pid;
}

const noPython = missing("no python3 to play systemd", Bun.which("python3") === null);

test.skipIf(noPython)("start waits until its container is ready, tells so, and keeps nobody from it", async () => {
  await using runtime = newRuntime();
  const { bundle, env, go, heard } = await service(runtime);
  const id = runtime.id();
  await runtime.ok(["create", "--bundle", bundle, id], { env });
  const start = spawn([...runtime.command, "start", id], env);
  await until("it runs", async () => (await runtime.status(id)) === "running");
  // Whoever needs the container's lock has it.
  await runtime.ok(["exec", id, "true"]);
  expect(await run(["flock", "--nonblock", join(runtime.root, id), "true"])).toMatchObject({ code: 0 });
  expect(start.exitCode).toBe(null);
  await go();
  expect(await start.exited).toBe(0);
  const pid = await pidOf(runtime, id);
  expect(await heard()).toEqual([`${start.pid} READY=1`, `${start.pid} MAINPID=${pid}`, `${start.pid} BARRIER=1`]);
});

test.skipIf(noPython)("start ends with a container that is never ready", async () => {
  await using runtime = newRuntime();
  const { bundle, env } = await service(runtime);
  const id = runtime.id();
  await runtime.ok(["create", "--bundle", bundle, id], { env });
  const start = spawn([...runtime.command, "start", id], env);
  await until("it runs", async () => (await runtime.status(id)) === "running");
  await runtime.ok(["delete", "--force", id]);
  expect(await start.exited).toBe(0);
});

test.skipIf(noPython)("run --detach leaves a container that is ready", async () => {
  await using runtime = newRuntime();
  const { bundle, env, go, heard } = await service(runtime);
  const id = runtime.id();
  const detached = spawn([...runtime.command, "run", "--detach", "--bundle", bundle, id], env);
  await until("it runs", async () => (await runtime.oci(["state", id])).stdout.includes('"running"'));
  expect(detached.exitCode).toBe(null);
  await go();
  expect(await detached.exited).toBe(0);
  const pid = await pidOf(runtime, id);
  expect(await heard()).toEqual([
    `${detached.pid} READY=1`,
    `${detached.pid} MAINPID=${pid}`,
    `${detached.pid} BARRIER=1`,
  ]);
});

test.skipIf(noPython)("run in front is itself what its caller watches", async () => {
  await using runtime = newRuntime();
  const { bundle, env, go, heard } = await service(runtime);
  const id = runtime.id();
  const front = spawn([...runtime.command, "run", "--bundle", bundle, id], env);
  const { value } = await front.stdout.getReader().read();
  expect(new TextDecoder().decode(value)).toBe("/run/notify/notify.sock\n");
  await go();
  const messages = await heard();
  expect(messages.slice(0, 2)).toEqual([`${front.pid} READY=1`, `${front.pid} MAINPID=${front.pid}`]);
  expect(messages[2]).toEndWith(" BARRIER=1");
  await runtime.ok(["kill", id, "KILL"]);
  expect(await front.exited).toBe(137);
});

test.each(["run", "create"])("sockets of systemd's reach the command of %p, as pid 1's", async (command) => {
  await using runtime = newRuntime();
  const id = runtime.id();
  const bundle = await runtime.bundle([
    "sh",
    "-c",
    "echo $LISTEN_FDS $LISTEN_PID; cat <&3; cat <&4; test -e /proc/self/fd/5 || echo none",
  ]);
  const script = `exec 3</etc/hostname 4</etc/hostname 5</etc/hostname; LISTEN_FDS=2 LISTEN_PID=$$ exec "$@"`;
  const out = join(runtime.directory, "printed");
  const redirected = `${script} >${out} 2>&1`;
  expect((await run(["sh", "-c", redirected, "sh", ...runtime.command, command, "--bundle", bundle, id])).code).toBe(0);
  if (command === "create") {
    await runtime.ok(["start", id]);
    await until("it ends", async () => (await runtime.status(id)) === "stopped");
  }
  const hostname = readFileSync("/etc/hostname", "utf8");
  expect(readFileSync(out, "utf8")).toBe(`2 1\n${hostname}${hostname}none\n`);
});

test("descriptors that LISTEN_FDS names for somebody else stay where they are", async () => {
  await using runtime = newRuntime();
  const bundle = await runtime.bundle(["sh", "-c", "echo $LISTEN_FDS; test -e /proc/self/fd/3 || echo none"]);
  const script = `exec 3</etc/hostname; LISTEN_FDS=1 LISTEN_PID=1 exec "$@"`;
  const { stdout } = await run(["sh", "-c", script, "sh", ...runtime.command, "run", "-b", bundle, runtime.id()]);
  expect(stdout).toBe("\nnone\n");
});
