/**
 * The front of the executable carries out again what was carried out before, word for word. Whether it
 * was the front is told by what only Bun calls: epoll_create1. The rest of what a `run` and an `exec`
 * are is what all other tests look at, since their second command of a kind is the front's.
 */
import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  busyboxRoot,
  cgroupsOf,
  makeBusybox,
  missing,
  newStore,
  type Result,
  run,
  type Store,
  until,
} from "./harness.ts";

const none = ["--network", "none"];
const cannotTrace = missing("strace is not installed", Bun.which("strace") === null);

interface Traced extends Result {
  /** Bun was never started. */
  readonly byFront: boolean;
}

/** Runs a command of the store and looks who carried it out. */
async function traced(store: Store, args: readonly string[]): Promise<Traced> {
  const trace = join(store.root, "..", "front-trace");
  const strace = ["strace", "-f", "-qq", "-o", trace, "-e", "trace=epoll_create1"];
  const result = await run([...strace, ...store.command, ...args]);
  const byFront = !readFileSync(trace, "utf8").includes("epoll_create1");
  rmSync(trace);
  return { ...result, byFront };
}

/** What freezes a container, on v1 or v2. */
function freezer(id: string): { path: string; frozen: string; thawed: string } {
  const groups = cgroupsOf(id);
  const v1 = groups.map((path) => join(path, "freezer.state")).find((path) => existsSync(path));
  if (v1 !== undefined) return { path: v1, frozen: "FROZEN", thawed: "THAWED" };
  const v2 = groups.map((path) => join(path, "cgroup.freeze")).find((path) => existsSync(path));
  return { path: v2 ?? "", frozen: "1", thawed: "0" };
}

function lines(store: Store): string[] {
  return readdirSync(join(store.runRoot, "plans")).filter((name) => name.startsWith("line-"));
}

describe.skipIf(cannotTrace)("the front", () => {
  test("runs what was run before, and nothing else", async () => {
    await using store = await newStore();
    const command = ["run", "--rm", ...none, await busyboxRoot(), "sh", "-c", "hostname; ulimit -n; exit 3"];
    const first = await traced(store, command);
    const second = await traced(store, command);
    const third = await traced(store, command);
    expect([first.byFront, second.byFront, third.byFront]).toEqual([false, true, true]);
    expect([first.code, second.code, third.code]).toEqual([3, 3, 3]);
    const [hosts, limits] = [0, 1].map((i) => [first, second, third].map(({ stdout }) => stdout.split("\n")[i]));
    expect(new Set(hosts).size).toBe(3);
    expect(new Set(limits).size).toBe(1);
    expect((await traced(store, [...command.slice(0, -1), "exit 4"])).byFront).toBe(false);
    expect(readdirSync(join(store.root, "containers"))).toEqual([]);
  });

  test("is not asked when a file or the caller's environment has a say", async () => {
    await using store = await newStore();
    const root = await busyboxRoot();
    const file = join(store.root, "..", "env");
    writeFileSync(file, "A=1\n");
    for (const flags of [
      ["-e", "HOME"],
      ["--env-file", file],
      ["--label-file", file],
    ]) {
      const command = ["run", "--rm", ...none, ...flags, root, "true"];
      await store.ok(command);
      await store.ok(command);
      expect((await traced(store, command)).byFront).toBe(false);
      expect(lines(store)).toEqual([]);
    }
    const command = ["run", "--rm", ...none, "-e", "A=b", root, "sh", "-c", "echo $A"];
    await store.ok(command);
    expect(await traced(store, command)).toMatchObject({ byFront: true, stdout: "b\n" });
  });

  test("looks at the users of a directory, at the limits and at the marks of the store again", async () => {
    await using store = await newStore();
    const root = await makeBusybox(mkdtempSync(join(tmpdir(), "bb-front-")));
    try {
      const command = ["run", "--rm", ...none, "-u", "user", root, "id", "-u"];
      await store.ok(command);
      expect(await traced(store, command)).toMatchObject({ byFront: true, stdout: "1000\n" });
      writeFileSync(join(root, "etc/passwd"), "user:x:1234:1000::/:/bin/sh\n");
      expect(await traced(store, command)).toMatchObject({ byFront: false, stdout: "1234\n" });
      expect(await traced(store, command)).toMatchObject({ byFront: true, stdout: "1234\n" });

      const limited = ["prlimit", "--core=0:0", ...store.command, ...command];
      expect(await run(limited)).toMatchObject({ code: 0, stdout: "1234\n" });
      await store.ok(command);
      expect((await traced(store, command)).byFront).toBe(true);
      writeFileSync(join(store.runRoot, "boot"), "another boot\n");
      expect(await traced(store, command)).toMatchObject({ byFront: false, stdout: "1234\n" });
    } finally {
      rmSync(root, { recursive: true });
    }
  });

  test("runs an image for as long as no image has changed", async () => {
    await using store = await newStore();
    const [one, other] = [await busyboxRoot(), await makeBusybox(mkdtempSync(join(tmpdir(), "bb-front-")))];
    try {
      writeFileSync(join(other, "etc/version"), "two\n");
      await store.ok(["init", one, "app"]);
      const command = ["run", "--rm", ...none, "app", "sh", "-c", "cat /etc/version 2>/dev/null || echo one"];
      await store.ok(command);
      expect(await traced(store, command)).toMatchObject({ byFront: true, stdout: "one\n" });
      await store.ok(["init", other, "app"]);
      expect(await traced(store, command)).toMatchObject({ byFront: false, stdout: "two\n" });
      expect(await traced(store, command)).toMatchObject({ byFront: true, stdout: "two\n" });
      await store.ok(["rmi", "app"]);
      expect(existsSync(join(store.root, "images.mark"))).toBe(false);
      const gone = await traced(store, ["run", "--pull", "never", ...command.slice(1)]);
      expect([gone.byFront, gone.code]).toEqual([false, 125]);
    } finally {
      rmSync(other, { recursive: true });
    }
  });

  test("execs into the container that has the name now, while it runs and is not paused", async () => {
    await using store = await newStore();
    const start = ["run", "-d", ...none, "--name", "web", await busyboxRoot(), "sleep", "1000"];
    const id = await store.ok(start);
    const command = ["exec", "-i", "web", "sh", "-c", "hostname; cat; exit 5"];
    for (let i = 0; i < 2; i++) await store.bb(command);
    const entered = await traced(store, command);
    expect(entered).toMatchObject({ byFront: true, code: 5, stdout: `${id.slice(0, 12)}\n` });
    const frozen = freezer(id);
    writeFileSync(frozen.path, frozen.frozen);
    expect(await traced(store, command)).toMatchObject({ byFront: false, code: 125 });
    writeFileSync(frozen.path, frozen.thawed);
    expect((await traced(store, command)).byFront).toBe(true);
    await store.ok(["rename", "web", "old"]);
    expect(await traced(store, command)).toMatchObject({ byFront: false, code: 125 });
    const second = await store.ok(start);
    expect(await traced(store, command)).toMatchObject({ byFront: false, stdout: `${second.slice(0, 12)}\n` });
    await store.ok(["stop", "-t", "0", "web"]);
    expect(await traced(store, command)).toMatchObject({ byFront: false, code: 125 });
    await store.ok(["start", "web"]);
    expect((await traced(store, command)).byFront).toBe(false);
  });

  test("believes no line of others, and none that is damaged", async () => {
    await using store = await newStore();
    const command = ["run", "--rm", ...none, await busyboxRoot(), "true"];
    await store.ok(command);
    expect((await traced(store, command)).byFront).toBe(true);
    const [name = ""] = lines(store);
    const file = join(store.runRoot, "plans", name);

    const size = statSync(file).size;
    truncateSync(file, size - 1);
    expect(await traced(store, command)).toMatchObject({ byFront: false, code: 0 });
    chmodSync(file, 0o622);
    expect(await traced(store, command)).toMatchObject({ byFront: false, code: 0 });
    expect((await traced(store, command)).byFront).toBe(true);
    chownSync(file, 1000, 0);
    expect(await traced(store, command)).toMatchObject({ byFront: false, code: 0 });

    chmodSync(store.runRoot, 0o777);
    expect(await traced(store, command)).toMatchObject({ byFront: false, code: 125 });
    chmodSync(store.runRoot, 0o700);
    chmodSync(store.root, 0o777);
    expect(await traced(store, command)).toMatchObject({ byFront: false, code: 125 });
    chmodSync(store.root, 0o700);
    expect((await traced(store, command)).byFront).toBe(true);

    // The words count, not their hash.
    const other = [...command.slice(0, -1), "false"];
    await store.ok(command);
    expect((await store.bb(other)).code).toBe(1);
    const [line = "", falseLine = ""] = [name, lines(store).find((each) => each !== name) ?? ""];
    renameSync(join(store.runRoot, "plans", falseLine), join(store.runRoot, "plans", line));
    expect((await store.bb(command)).code).toBe(0);
  });

  test("leaves it to Bun where it cannot make the container, or a standard stream is closed", async () => {
    await using store = await newStore();
    const command = ["run", "--rm", ...none, await busyboxRoot(), "echo", "here"];
    await store.ok(command);
    const containers = join(store.root, "containers");
    await until("the last files to be removed", () => readdirSync(containers).length === 0);
    rmSync(containers, { recursive: true });
    expect(await traced(store, command)).toMatchObject({ byFront: false, code: 0, stdout: "here\n" });
    for (const closing of ["<&-", "<&- 2>&-"]) {
      const closed = ["sh", "-c", `exec "$@" ${closing}`, "sh", ...store.command, ...command];
      expect(await run(closed)).toMatchObject({ code: 0, stdout: "here\n" });
    }
  });

  test("hands nothing on that its caller left open", async () => {
    await using store = await newStore();
    const command = ["run", "--rm", "-i", ...none, await busyboxRoot(), "cat"];
    await store.ok(command);
    const fifo = join(store.root, "..", "fifo");
    await run(["mkfifo", fifo]);
    const script = 'exec 9>"$1"; shift; exec "$@"';
    const reader = Bun.spawn(["cat", fifo], { stdout: "ignore" });
    const child = Bun.spawn(["sh", "-c", script, "sh", fifo, ...store.command, ...command], { stdin: "pipe" });
    // The client may hold it until it has become the trampoline, but not until the container ends.
    await until("the pipe's end", () => reader.exitCode === 0);
    expect(child.exitCode).toBe(null);
    await child.stdin.end();
    expect(await child.exited).toBe(0);
  });

  test("has nothing to say to who is not root", async () => {
    await using store = await newStore();
    const result = await run(["setpriv", "--reuid=1000", "--clear-groups", ...store.command, "run", "host", "true"]);
    expect(result).toMatchObject({ code: 125, stderr: expect.stringContaining("root") });
  });
});
