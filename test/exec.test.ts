import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { busyboxRoot, missing, newStore, run, type Store, until } from "./harness.ts";

const image = await busyboxRoot();

async function newBox(store: Store, ...flags: string[]): Promise<string> {
  return await store.ok(["run", "-d", "--name", "box", "--network", "none", ...flags, image, "sleep", "600"]);
}

test("exec runs beside the command, with its output apart and its own status", async () => {
  await using store = await newStore();
  await newBox(store);
  expect(await store.bb(["exec", "box", "sh", "-c", "echo out; echo err >&2; exit 17"])).toEqual({
    code: 17,
    stdout: "out\n",
    stderr: "err\n",
  });
  expect((await store.bb(["exec", "box", "sh", "-c", "kill -9 $$"])).code).toBe(137);
});

test.each([
  ["a command that is not there", ["/no/such"], 127],
  ["a name that is in no directory of PATH", ["no-such-command"], 127],
  ["a directory", ["/etc"], 126],
  ["a file that is not executable", ["/etc/passwd"], 126],
  ["a working directory that is not there", ["-w", "/no/where", "true"], 127],
])("%s: the status is Docker's, and the container goes on", async (_, command, status) => {
  await using store = await newStore();
  await newBox(store);
  const words = command[0] === "-w" ? ["exec", "-w", "/no/where", "box", "true"] : ["exec", "box", ...command];
  const result = await store.bb(words);
  expect(result.code).toBe(status);
  expect(result.stderr).toMatch(/^bb: Cannot (run|use) /);
  expect(await store.ok(["ps", "--format", "{{.State}}"])).toBe("running");
});

test("a failed exec takes nothing away from a --rm container that goes on", async () => {
  await using store = await newStore();
  await newBox(store, "--rm", "-v", "/data");
  await store.ok(["exec", "box", "touch", "/data/file"]);
  expect((await store.bb(["exec", "box", "no-such-command"])).code).toBe(127);
  expect(await store.ok(["ps", "--format", "{{.Names}}"])).toBe("box");
  expect(await store.ok(["exec", "box", "ls", "/data"])).toBe("file");
});

test("users are looked up in no file of /proc that never ends", async () => {
  await using store = await newStore();
  await newBox(store);
  await store.ok(["exec", "box", "ln", "-sf", "/proc/1/pagemap", "/etc/passwd"]);
  const result = await store.bb(["exec", "-u", "nobody", "box", "true"], { timeoutMs: 30_000 });
  expect(result).toMatchObject({ code: 125, stderr: expect.stringContaining("no such user") });
});

test("-t brings a TERM, unless the container has one", async () => {
  await using store = await newStore();
  await newBox(store, "-e", "TERM=vt100");
  expect(await store.ok(["exec", "-t", "box", "sh", "-c", "echo $TERM"])).toBe("vt100\r");
});

test("-i passes standard input on; without it there is none", async () => {
  await using store = await newStore();
  await newBox(store);
  const stdin = "x".repeat(300_000);
  expect(await store.ok(["exec", "-i", "box", "wc", "-c"], { stdin })).toBe("300000");
  expect(await store.ok(["exec", "box", "wc", "-c"], { stdin })).toBe("0");
});

test("a process of exec has the container's environment, namespaces and groups, and what -e -u -w say", async () => {
  await using store = await newStore();
  await newBox(store, "-e", "KEPT=yes", "-e", "CHANGED=no", "-w", "/tmp", "--hostname", "boxhost");
  const script = 'echo "$KEPT $CHANGED $HOME $PWD $(hostname) $(id -u):$(id -g):$(id -G)"';
  expect(await store.ok(["exec", "box", "sh", "-c", script])).toBe("yes no /root /tmp boxhost 0:0:0 10");
  expect(
    await store.ok(["exec", "-e", "CHANGED=now", "-u", "user", "-w", "/home/user", "box", "sh", "-c", script]),
  ).toBe("yes now /home/user /home/user boxhost 1000:1000:1000 10 2000");
  expect(await store.ok(["exec", "-u", "12:34", "box", "id"])).toBe("uid=12 gid=34 groups=34");
  // A home that somebody has named is everybody's.
  await store.ok([
    "run",
    "-d",
    "--name",
    "home",
    "--network",
    "none",
    "-e",
    "HOME=/named",
    await busyboxRoot(),
    "sleep",
    "1000",
  ]);
  expect(await store.ok(["exec", "-u", "user", "home", "sh", "-c", "echo $HOME"])).toBe("/named");
  expect(await store.ok(["exec", "-u", "user", "-e", "HOME=/own", "home", "sh", "-c", "echo $HOME"])).toBe("/own");
  const links = "for n in cgroup ipc mnt net pid uts; do readlink /proc/$0/ns/$n; done; cat /proc/$0/cgroup";
  expect(await store.ok(["exec", "box", "sh", "-c", links, "self"])).toBe(
    await store.ok(["exec", "box", "sh", "-c", links, "1"]),
  );
  // The capabilities and the filter are those of the container's first process.
  const status = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/$0/status";
  expect(await store.ok(["exec", "box", "sh", "-c", status, "self"])).toBe(
    await store.ok(["exec", "box", "sh", "-c", status, "1"]),
  );
});

test("a process of exec has nothing of its caller's: neither its standing when memory runs out nor its network", async () => {
  await using store = await newStore();
  await newBox(store, "--network", "host");
  const show = "cat /proc/self/oom_score_adj; readlink /proc/self/ns/net; readlink /proc/1/ns/net";
  const args = ["unshare", "-n", ...store.command, "exec", "box", "sh", "-c", show];
  const { stdout } = await run(["sh", "-c", 'echo 300 > /proc/self/oom_score_adj; exec "$@"', "sh", ...args]);
  const [standing, own, first] = stdout.split("\n");
  expect(standing).toBe("0");
  expect(own).toMatch(/^net:/);
  expect(own).toBe(first ?? "");
});

test("-d leaves it in the background", async () => {
  await using store = await newStore();
  await newBox(store);
  expect(await store.ok(["exec", "-d", "box", "sh", "-c", "echo $$ > /tmp/pid; exec sleep 500"])).toBe("");
  const pid = await until("a pid", async () => (await store.bb(["exec", "box", "cat", "/tmp/pid"])).stdout.trim());
  expect(await store.ok(["exec", "box", "cat", `/proc/${pid}/comm`])).toBe("sleep");
  const failed = await store.bb(["exec", "-d", "box", "/no/such"]);
  expect(failed.code).toBe(127);
  expect(failed.stderr).toContain('Cannot run "/no/such"');
});

test("only what runs can be joined", async () => {
  await using store = await newStore();
  await store.ok(["create", "--name", "made", image, "true"]);
  const stopped = await store.bb(["exec", "made", "true"]);
  expect(stopped.code).toBe(125);
  expect(stopped.stderr).toContain('Cannot run a command in "made": it is not running');
  const none = await store.bb(["exec", "nobody", "true"]);
  expect(none.code).toBe(125);
  expect(none.stderr).toContain('Cannot find container "nobody"');
});

test("a signal to the client reaches the command", async () => {
  await using store = await newStore();
  await newBox(store);
  const script = "trap 'echo got; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
  const child = Bun.spawn([...store.command, "exec", "box", "sh", "-c", script], { stdout: "pipe" });
  const reader = child.stdout.getReader();
  expect(new TextDecoder().decode((await reader.read()).value)).toBe("ready\n");
  child.kill("SIGTERM");
  expect(new TextDecoder().decode((await reader.read()).value)).toBe("got\n");
  expect(await child.exited).toBe(5);
});

/** Of many at once each takes its time. */
const AT_ONCE = { timeoutMs: 170_000 };

test("50 at once all work, and leave no process", async () => {
  await using store = await newStore();
  await newBox(store);
  const results = await Promise.all(
    Array.from({ length: 50 }, (_, i) => store.bb(["exec", "box", "sh", "-c", `echo ${i}; exit ${i}`], AT_ONCE)),
  );
  expect(results).toEqual(Array.from({ length: 50 }, (_, i) => ({ code: i, stdout: `${i}\n`, stderr: "" })));
  // The shell and the command that counts are the only others.
  await until(
    "no process left",
    async () => (await store.ok(["exec", "box", "sh", "-c", "ls -d /proc/[0-9]* | wc -l"])) === "4",
  );
}, 180_000);

test("exec ends when the container does, with the status of a killed process", async () => {
  await using store = await newStore();
  await newBox(store);
  const sleeps = Array.from({ length: 3 }, () => store.bb(["exec", "box", "sh", "-c", "echo in > /tmp/$$; sleep 500"]));
  await until("all three inside", async () => (await store.ok(["exec", "box", "ls", "/tmp"])).split("\n").length === 3);
  await store.ok(["kill", "box"]);
  for (const { code } of await Promise.all(sleeps)) expect(code).toBe(137);
});

test("exec while the container ends never hangs, and says what it was", async () => {
  await using store = await newStore();
  for (let round = 0; round < 3; round++) {
    await newBox(store, "--rm");
    const execs = Array.from({ length: 8 }, () => store.bb(["exec", "box", "true"]));
    await store.ok(["rm", "-f", "box"]);
    for (const { code, stderr } of await Promise.all(execs)) {
      expect([0, 125, 137]).toContain(code);
      if (code === 125) expect(stderr).toStartWith("bb: Cannot ");
    }
  }
}, 180_000);

test.skipIf(missing("cgroup v2 is not all there is", !existsSync("/sys/fs/cgroup/cgroup.controllers")))(
  "a container that hands its controllers on to groups of its own can be joined, before and after that",
  async () => {
    await using store = await newStore();
    await newBox(store, "--privileged");
    const where = ["exec", "box", "cat", "/proc/self/cgroup"];
    expect(await store.ok(where)).toBe("0::/");
    const hand = "mkdir /sys/fs/cgroup/own && echo 1 > /sys/fs/cgroup/own/cgroup.procs";
    const on = "echo $$ > /sys/fs/cgroup/own/cgroup.procs && echo +pids > /sys/fs/cgroup/cgroup.subtree_control";
    await store.ok(["exec", "box", "sh", "-c", `${hand} && ${on}`]);
    expect(await store.ok(where)).toBe("0::/own");
  },
);
