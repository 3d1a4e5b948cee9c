import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { patience } from "../../test/patience.ts";
import { call } from "./call.ts";
import { CLONE, O, TIOC } from "./flags.ts";
import { allocate } from "./memory.ts";
import { MONITOR, Place, Plan, Reg, SECTION } from "./plan.ts";
import { readStep } from "./plan-reader.ts";

const hasStrace = Bun.which("strace") !== null;
if (!hasStrace) console.error("skipped: a signal to a client that has hardly begun: strace is not installed");

const ffi = join(import.meta.dir, "..");
const trampoline = join(ffi, `build/trampoline-${process.arch}`);
const AT_FDCWD = -100;
const AF_UNIX = 1;
const SEQPACKET = 5 | O.CLOEXEC;
const CLOSE_RANGE_CLOEXEC = 4;
const CTRL_P = "\x10";
const CTRL_Q = "\x11";

let root = "";
let count = 0;

beforeAll(() => {
  const made = Bun.spawnSync(["make", "-s", "-C", ffi, process.arch], { stderr: "pipe" });
  if (made.exitCode !== 0) throw new Error(made.stderr.toString());
  root = mkdtempSync(join(tmpdir(), "bb-monitor-"));
}, 60_000);
afterAll(() => {
  // What a test that failed has left; commands have their directory in the environment.
  for (const pid of readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name)))
    if (environmentOf(pid).includes(`DIR=${root}/`)) process.kill(Number(pid), "SIGKILL");
  rmSync(root, { recursive: true });
});

function environmentOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, "latin1");
  } catch {
    return "";
  }
}

interface Box {
  /** A shell's script: the command. */
  readonly script: string;
  readonly flags?: number;
  readonly logBytes?: number;
  readonly logFiles?: number;
  readonly reportFd?: number;
  readonly rows?: number;
  readonly columns?: number;
  /** Changes the child's steps. */
  readonly child?: (plan: Plan, exec: () => void) => void;
}

/** Starts a command under a monitor, the way `bb run` does, but without any namespace. */
class Container {
  readonly dir = join(root, `${count++}`);
  readonly #flags: number;

  constructor(box: Box) {
    mkdirSync(this.dir);
    this.#flags = box.flags ?? MONITOR.ATTACH;
    writeFileSync(join(this.dir, "plan"), this.#encode(box));
  }

  /** argv that starts it. */
  get command(): string[] {
    return ["sh", "-c", 'exec "$0" 3 3<"$1"', trampoline, join(this.dir, "plan")];
  }

  /** argv of a client that attaches. */
  attach(detachKeys: readonly number[] = []): string[] {
    const plan = new Plan();
    const connection = plan.register();
    const to = address(this.dir);
    plan.prepare.sys("socket", AF_UNIX, SEQPACKET, 0).into(connection);
    plan.prepare.sys("connect", connection, plan.bytes(to), to.length);
    const flags = (this.#flags & (MONITOR.TTY | MONITOR.STDIN)) | MONITOR.CLIENT_ONLY | MONITOR.ATTACH;
    writeFileSync(join(this.dir, "attach-plan"), plan.encode({ flags, pid: plan.register(2), connection, detachKeys }));
    return ["sh", "-c", 'exec "$0" 3 3<"$1"', trampoline, join(this.dir, "attach-plan")];
  }

  path(name: string): string {
    return join(this.dir, name);
  }

  read(name: string): string {
    return existsSync(this.path(name)) ? readFileSync(this.path(name), "utf8") : "";
  }

  /** Every log file from the oldest on. */
  log(): string {
    return readLog(this.dir).join("");
  }

  logged(stream: "stdout" | "stderr"): string {
    return printedIn(this.log(), stream);
  }

  #encode(box: Box): Uint8Array {
    const plan = new Plan();
    const pid = plan.register(2);
    const logDir = plan.register();
    const listen = plan.register();
    const master = plan.register();
    const slave = plan.register();
    const to = address(this.dir);
    const environment = plan.strings(["PATH=/usr/bin:/bin", `DIR=${this.dir}`]);
    const argv = plan.strings(["sh", "-c", box.script]);
    const terminal = (this.#flags & MONITOR.TTY) !== 0;
    const exec = () => plan.child.builtin("exec", plan.strings(["/bin/sh"]), argv, environment);

    plan.prepare.sys("openat", AT_FDCWD, this.dir, O.DIRECTORY | O.CLOEXEC).into(logDir);
    plan.prepare.sys("socket", AF_UNIX, SEQPACKET, 0).into(listen);
    plan.prepare.sys("bind", listen, plan.bytes(to), to.length);
    plan.prepare.sys("listen", listen, 8);
    const pipes = terminal ? [] : [pipe(plan), pipe(plan), pipe(plan)];
    plan.prepare.builtin("fork", SECTION.CHILD, 0, -1).into(pid);
    for (const [i, [read, write]] of pipes.entries()) plan.parent.sys("close", i === 0 ? read : write);

    plan.child.sys("setsid");
    if (terminal) {
      plan.child.sys("openat", AT_FDCWD, "/dev/ptmx", O.RDWR | O.NOCTTY | O.CLOEXEC).into(master);
      plan.child.sys("ioctl", master, TIOC.SPTLCK, plan.space(4));
      plan.child.sys("ioctl", master, TIOC.GPTPEER, O.RDWR | O.NOCTTY | O.CLOEXEC).into(slave);
      plan.child.sys("ioctl", slave, TIOC.SCTTY, 0);
      plan.child.builtin("sendFd", master);
      for (let fd = 0; fd < 3; fd++) plan.child.sys("dup3", slave, fd, 0);
    }
    for (const [i, [read, write]] of pipes.entries()) plan.child.sys("dup3", i === 0 ? read : write, i, 0);
    if (!(this.#flags & MONITOR.EXEC)) plan.child.builtin("waitGo");
    plan.child.sys("close_range", 3, 0xffff_ffff, CLOSE_RANGE_CLOEXEC);
    if (box.child === undefined) exec();
    else box.child(plan, exec);
    plan.exited.builtin("recordExit", logDir, "exit", logDir, null);
    plan.undo.sys("mkdirat", logDir, "undone", 0o755);

    const [stdin, stdout, stderr] = [pipes[0]?.[1], pipes[1]?.[0], pipes[2]?.[0]];
    return plan.encode({
      flags: this.#flags | MONITOR.LOG,
      pid,
      logDir,
      listen,
      stdin,
      stdout,
      stderr,
      logBytes: box.logBytes ?? 0,
      logFiles: box.logFiles ?? 3,
      reportFd: box.reportFd,
      rows: box.rows ?? 0,
      columns: box.columns ?? 0,
      environment,
      failed: plan.strings([
        "/bin/sh",
        "-c",
        'echo "failed $1 $2 $3"; test -e /proc/self/fd/$4; exit $((60 + $?))',
        "sh",
      ]),
      exited: plan.strings(["/bin/sh", "-c", 'echo "$PWD" $(readlink /proc/self/fd/0) > "$DIR/engine"']),
      detachKeys: [16, 17],
    });
  }
}

/** A directory's log files, the oldest first. */
function readLog(dir: string): string[] {
  const names = readdirSync(dir).filter((name) => /^log(\.\d+)?$/.test(name));
  const age = (name: string) => Number(name.split(".")[1] ?? 0);
  return names.sort((a, b) => age(b) - age(a)).map((name) => readFileSync(join(dir, name), "latin1"));
}

/** What a log says of one stream, put together again. */
function printedIn(log: string, stream: "stdout" | "stderr"): string {
  let text = "";
  for (const record of log.split("\n").slice(0, -1)) {
    const parts = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) ([FP]) (.*)$/s.exec(record);
    if (parts === null) throw new Error(`Not a record: ${JSON.stringify(record.slice(0, 100))}`);
    if (parts[1] === stream) text += parts[3] + (parts[2] === "F" ? "\n" : "");
  }
  return text;
}

/** sockaddr_un of a container's attach socket */
function address(dir: string): Uint8Array {
  return Buffer.concat([new Uint8Array([AF_UNIX, 0]), Buffer.from(`${dir}/attach\0`)]);
}

function pipe(plan: Plan): [read: Reg, write: Reg] {
  const ends = plan.space(8);
  const read = plan.register();
  const write = plan.register();
  plan.prepare.sys("pipe2", ends, O.CLOEXEC);
  plan.prepare.builtin("load32", ends).into(read);
  plan.prepare.builtin("load32", new Place(ends.offset + 4)).into(write);
  return [read, write];
}

/** Waits until `condition` holds and says what it was. */
async function until<T>(condition: () => T, what: string): Promise<NonNullable<T>> {
  const deadline = performance.now() + patience(20_000);
  for (;;) {
    const value = condition();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`Never: ${what}`);
    await Bun.sleep(2);
  }
}

interface Ran {
  status: number | null;
  stdout: string;
  stderr: string;
}

async function run(command: readonly string[], stdin: string | "ignore" = "ignore"): Promise<Ran> {
  const child = Bun.spawn([...command], {
    stdin: stdin === "ignore" ? "ignore" : Buffer.from(stdin),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  await child.exited;
  return { status: child.signalCode ? 128 : child.exitCode, stdout, stderr };
}

/** A process's state in /proc/PID/stat after its name: state, ppid, … */
function stat(pid: number): string[] {
  const text = readFileSync(`/proc/${pid}/stat`, "latin1");
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}

const parentOf = (pid: number) => Number(stat(pid)[1]);

/** Whether a process has ended; who has it then may be slow to take note. */
function hasEnded(pid: number): boolean {
  try {
    return stat(pid)[0] === "Z";
  } catch {
    return true;
  }
}

/** How many connections a monitor has, beside the socket that it listens on. */
function connectionsOf(monitor: number): number {
  const links = readdirSync(`/proc/${monitor}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${monitor}/fd/${fd}`);
    } catch {
      return "closed meanwhile";
    }
  });
  return links.filter((link) => link.startsWith("socket:")).length - 1;
}

describe("without a terminal", () => {
  test("streams, log, exit status and the engine's turn at the end", async () => {
    const box = new Container({ script: "echo out; echo err >&2; printf half; exit 7" });
    expect(await run(box.command)).toEqual({ status: 7, stdout: "out\nhalf", stderr: "err\n" });
    expect(box.log()).toMatch(/^\S+Z stdout F out\n/m);
    expect(box.log()).toMatch(/^\S+Z stdout P half\n/m);
    expect([box.logged("stdout"), box.logged("stderr")]).toEqual(["out\nhalf", "err\n"]);
    const [status, time] = box.read("exit").trim().split(" ");
    expect(Number(status)).toBe(7 << 8);
    expect(Math.abs(Number(time) / 1e6 - Date.now())).toBeLessThan(patience(10_000));
    expect(await until(() => box.read("engine"), "the engine runs")).toBe("/ /dev/null\n");
    expect(existsSync(box.path("undone"))).toBe(false);
  });

  test.each([
    ["a signal is 128 + its number", "kill -9 $$", 137],
    ["a fault too", "kill -SEGV $$", 139],
    ["success", "true", 0],
  ])("%s", async (_, script, status) => {
    expect((await run(new Container({ script }).command)).status).toBe(status);
  });

  test("a command that ends at once has still started, each time", async () => {
    const box = new Container({ script: ":" });
    for (let i = 0; i < 30; i++) {
      rmSync(box.path("attach"), { force: true });
      expect(await run(box.command)).toEqual({ status: 0, stdout: "", stderr: "" });
    }
  });

  test("stdin reaches the command whole, and its end too", async () => {
    const flags = MONITOR.ATTACH | MONITOR.STDIN | MONITOR.STDIN_ONCE;
    const text = Array.from({ length: 60_000 }, (_, i) => `line ${i}\n`).join("");
    const box = new Container({ script: "cat", flags });
    expect((await run(box.command, text)).stdout === text).toBe(true);
    expect(box.logged("stdout") === text).toBe(true);
  });

  test("a signal passes a full stdin", async () => {
    const flags = MONITOR.ATTACH | MONITOR.STDIN | MONITOR.STDIN_ONCE;
    const box = new Container({ script: "trap 'exit 33' USR1; echo ready; while :; do sleep 0.01; done", flags });
    const client = Bun.spawn(box.command, { stdin: Buffer.alloc(4 << 20, "x"), stdout: "pipe" });
    await until(() => box.log(), "ready");
    client.kill("SIGUSR1");
    expect(await client.exited).toBe(33);
  });

  test.each(["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "CONT"] as const)(
    "SIG%s of the client is the command's",
    async (name) => {
      const box = new Container({ script: `trap 'exit 44' ${name}; echo ready; while :; do sleep 0.01; done` });
      const client = Bun.spawn(box.command, { stdout: "ignore" });
      await until(() => box.log(), "ready");
      client.kill(`SIG${name}`);
      expect(await client.exited).toBe(44);
    },
  );

  test.skipIf(!hasStrace)("so is one that comes when the client has hardly begun", async () => {
    const box = new Container({ script: "trap 'exit 44' TERM; echo ready; while :; do sleep 0.01; done" });
    // What it does first after the fork takes a while; with -D it is the child that is traced.
    const slowly = [
      "strace",
      "-D",
      "-qq",
      "-o",
      "/dev/null",
      "-e",
      "trace=close",
      "-e",
      "inject=close:delay_enter=50000",
    ];
    const client = Bun.spawn([...slowly, ...box.command], { stdout: "ignore" });
    await until(() => box.log(), "ready");
    client.kill("SIGTERM");
    expect(await client.exited).toBe(44);
  });

  test("what the monitor itself is sent is the command's", async () => {
    const box = new Container({ script: "trap 'exit 45' TERM; echo $$; while :; do sleep 0.01; done" });
    const client = Bun.spawn(box.command, { stdout: "ignore" });
    const pid = Number(await until(() => box.logged("stdout"), "its pid"));
    process.kill(parentOf(pid), "SIGTERM");
    expect(await client.exited).toBe(45);
  });

  test("a client whose output nobody reads ends by SIGPIPE; the command goes on", async () => {
    const box = new Container({
      script: "echo a; echo b; while ! test -e $DIR/more; do sleep 0.01; done; echo c; sleep 0.05; echo d",
    });
    // There is more only when nobody reads any longer.
    const shell = `"$@" | { head -n 1; exec <&-; : >"$0"; }; echo "\${PIPESTATUS[0]}"`;
    expect((await run(["bash", "-c", shell, box.path("more"), ...box.command])).stdout).toBe("a\n141\n");
    await until(() => box.read("exit"), "the end");
    expect(box.logged("stdout")).toBe("a\nb\nc\nd\n");
  });

  test("a full disk under the client's stdout is its failure", async () => {
    const box = new Container({ script: "echo a; exit 3" });
    const { status, stderr } = await run(["sh", "-c", '"$@" > /dev/full', "sh", ...box.command]);
    expect([status, stderr]).toEqual([125, "bb: Cannot write the output: there is no space left\n"]);
    await until(() => box.read("exit"), "the end");
    expect(box.logged("stdout")).toBe("a\n");
  });
});

describe("in the background", () => {
  test("the client ends once the command runs, and keeps no pipe of the caller open", async () => {
    const box = new Container({
      script: "echo $$ >$DIR/pid; echo here; while ! test -e $DIR/stop; do sleep 0.01; done",
      flags: MONITOR.DETACH,
    });
    const strays = ["sh", "-c", 'exec 4>&1 5>&2 9>&1; exec "$@"', "sh"];
    expect(await run([...strays, ...box.command])).toEqual({ status: 0, stdout: "", stderr: "" });
    expect(box.read("exit")).toBe("");
    await until(() => box.logged("stdout"), "its pid");
    const monitor = parentOf(Number(box.read("pid")));
    await until(() => connectionsOf(monitor) === 0, "the first client's connection is closed");
    const attached = run(box.attach());
    await until(() => connectionsOf(monitor) === 1, "attached");
    writeFileSync(box.path("stop"), "");
    expect((await attached).status).toBe(0);
    expect(box.logged("stdout")).toBe("here\n");
  });

  test("the client's death by SIGKILL costs neither command nor log", async () => {
    const box = new Container({ script: "echo a; while ! test -e $DIR/more; do sleep 0.01; done; echo b; exit 3" });
    const client = Bun.spawn(box.command, { stdout: "ignore" });
    await until(() => box.log(), "a");
    client.kill("SIGKILL");
    await client.exited;
    writeFileSync(box.path("more"), "");
    expect(await until(() => box.read("exit"), "the end")).toStartWith(`${3 << 8} `);
    expect(box.logged("stdout")).toBe("a\nb\n");
  });

  test("the monitor's death leaves the command, and a client that does not claim success", async () => {
    const box = new Container({
      script: "echo $$; trap '' PIPE; while ! test -e $DIR/stop; do sleep 0.01; done; touch $DIR/stopped",
    });
    const client = Bun.spawn(box.command, { stdout: "ignore", stderr: "pipe" });
    const pid = Number(await until(() => box.logged("stdout"), "its pid"));
    process.kill(parentOf(pid), "SIGKILL");
    expect(await client.exited).toBe(255);
    expect(await client.stderr.text()).toContain("its exit status is unknown");
    writeFileSync(box.path("stop"), "");
    await until(() => existsSync(box.path("stopped")), "the command's own end");
  });

  test("clients attach, give input and signals, and all see the same", async () => {
    const flags = MONITOR.DETACH | MONITOR.STDIN;
    const box = new Container({ script: 'echo up; while read line; do echo "got $line"; done; exit 1', flags });
    await run(box.command);
    await until(() => box.log(), "up");
    const clients = [];
    for (let i = 0; i < 3; i++) {
      const client = Bun.spawn(box.attach(), { stdin: "pipe", stdout: "pipe" });
      clients.push(client);
      client.stdin.write(`hello ${i}\n`);
      await client.stdin.flush();
      await until(() => box.logged("stdout").includes(`hello ${i}`), "the line");
    }
    clients[1]?.kill("SIGTERM");
    const seen = await Promise.all(clients.map(async (c) => ({ status: await c.exited, text: await c.stdout.text() })));
    expect(seen.map((one) => one.status)).toEqual([143, 143, 143]);
    expect(seen[0]?.text).toBe("got hello 0\ngot hello 1\ngot hello 2\n");
    expect(seen[2]?.text).toBe("got hello 2\n");
  });

  test("a hundred attaches and detaches leave no descriptor behind", async () => {
    const box = new Container({
      script: "echo $$; while ! test -e $DIR/stop; do sleep 0.01; done",
      flags: MONITOR.DETACH,
    });
    await run(box.command);
    const pid = Number(await until(() => box.logged("stdout"), "its pid"));
    const monitor = parentOf(pid);
    const fds = () => readdirSync(`/proc/${monitor}/fd`).length;
    await until(() => connectionsOf(monitor) === 0, "the first client's connection is closed");
    const before = fds();
    const argv = box.attach();
    for (let round = 0; round < 5; round++) {
      const clients = Array.from({ length: 20 }, () => Bun.spawn(argv, { stdout: "ignore", stderr: "ignore" }));
      await until(() => fds() > before, "attached");
      for (const client of clients) client.kill("SIGKILL");
      await Promise.all(clients.map((client) => client.exited));
    }
    await until(() => fds() === before, "all are gone");
    writeFileSync(box.path("stop"), "");
    await until(() => box.read("exit"), "the end");
  });
});

describe("a reader that is stuck", () => {
  /** A pipe of ours that nobody reads until we do. */
  function ownPipe(): [read: number, write: number] {
    const ends = allocate(8);
    call("pipe2", "a pipe", ends, O.CLOEXEC);
    const view = new DataView(ends.buffer);
    return [view.getInt32(0, true), view.getInt32(4, true)];
  }

  test("holds the command up, not its signals nor its end; memory stays flat, nothing is lost", async () => {
    const script = "trap 'echo end; exit 9' USR1; echo $$ > $DIR/pid; i=0; while :; do i=$((i+1)); echo $i; done";
    const box = new Container({ script });
    const [read, write] = ownPipe();
    const client = Bun.spawn(box.command, { stdout: write });
    closeSync(write);
    const pid = Number(await until(() => box.read("pid").trim(), "its pid"));
    const monitor = parentOf(pid);
    const rss = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${monitor}/status`, "utf8"))?.[1]);
    await heldUp(box, client.pid);
    expect(rss()).toBeLessThan(400);
    process.kill(pid, "SIGUSR1");
    const ended = client.exited;
    let text = "";
    const buffer = Buffer.alloc(65536);
    const chunks = (async () => {
      // The end does not wait for the reader, which starts now.
      for (;;) {
        const n = readSync(read, buffer);
        if (n === 0) break;
        text += buffer.toString("latin1", 0, n);
        await Bun.sleep(0);
      }
    })();
    expect(await ended).toBe(9);
    await chunks;
    closeSync(read);
    const lines = text.trim().split("\n");
    expect(lines.pop()).toBe("end");
    expect(lines.every((line, i) => line === String(i + 1))).toBe(true);
    expect(box.logged("stdout") === text).toBe(true);
  });

  /** Waits until a command that prints all the time is held up: nobody between it and the reader has anything to do. */
  async function heldUp(box: Container, client: number) {
    const pid = Number(await until(() => box.read("pid").trim(), "its pid"));
    const all = [pid, parentOf(pid), client];
    let size = 0;
    let still = 0;
    await until(() => {
      const now = box.log().length;
      still = now === size && all.every((one) => stat(one)[0] === "S") ? still + 1 : 0;
      size = now;
      Bun.sleepSync(20);
      return still === 15 && size > 0;
    }, "held up");
  }

  test("like a pager gets everything, though the container was killed long ago", async () => {
    const box = new Container({ script: "echo $$ > $DIR/pid; exec yes" });
    const [read, write] = ownPipe();
    const client = Bun.spawn(box.command, { stdout: write });
    closeSync(write);
    await heldUp(box, client.pid);
    process.kill(Number(box.read("pid")), "SIGKILL");
    await until(() => box.read("engine"), "the monitor's end while nobody reads");
    let text = "";
    const buffer = Buffer.alloc(65536);
    for (;;) {
      const n = readSync(read, buffer);
      if (n === 0) break;
      text += buffer.toString("latin1", 0, n);
    }
    closeSync(read);
    expect(await client.exited).toBe(137);
    expect(text.length).toBeGreaterThan(200_000);
    expect(box.logged("stdout") === text).toBe(true);
  });

  test("is the command itself: the input of two clients waits, costs no time, and comes whole", async () => {
    const script = "echo $$; while ! test -e $DIR/go; do sleep 0.02; done; head -c 4000000 | wc -c; exit 2";
    const box = new Container({ script, flags: MONITOR.DETACH | MONITOR.STDIN });
    await run(box.command);
    const pid = Number(await until(() => box.logged("stdout"), "its pid"));
    const input = Buffer.alloc(2_000_000, "x");
    const clients = [0, 1].map(() => Bun.spawn(box.attach(), { stdin: input, stdout: "ignore" }));
    const monitor = parentOf(pid);
    const ticks = () => Number(stat(monitor)[11]) + Number(stat(monitor)[12]);
    await until(() => connectionsOf(monitor) === 2, "both are attached");
    // What there is room for is taken first; a monitor that turns in circles is never this quiet four times in a row.
    let quiet = 0;
    await until(() => {
      const before = ticks();
      Bun.sleepSync(100);
      quiet = ticks() - before < 2 ? quiet + 1 : 0;
      return quiet === 4;
    }, "no time is spent");
    writeFileSync(box.path("go"), "");
    expect(await Promise.all(clients.map((client) => client.exited))).toEqual([2, 2]);
    expect(box.logged("stdout")).toBe(`${pid}\n4000000\n`);
  });
});

describe("the log", () => {
  test("forges no record, whatever the command prints", async () => {
    const script = `printf '2026-01-01T00:00:00.000000000Z stdout F fake\\n\\0\\377\\r}{"log":"x"}\\n\\n'; head -c 50000 /dev/zero; echo; echo after`;
    const box = new Container({ script, flags: 0 });
    await run(box.command);
    const printed = `2026-01-01T00:00:00.000000000Z stdout F fake\n\0\xff\r}{"log":"x"}\n\n${"\0".repeat(50000)}\nafter\n`;
    expect(box.logged("stdout") === printed).toBe(true);
    const records = box.log().split("\n").slice(0, -1);
    expect(records.map((r) => r.slice(30, 40))).toEqual([
      ...Array(3).fill(" stdout F "),
      ...Array(3).fill(" stdout P "),
      ...Array(2).fill(" stdout F "),
    ]);
  });

  test("rotates, keeps so many files of such a size, and continues one that is there", async () => {
    const script = "i=0; while test $i -lt 200; do i=$((i+1)); echo line $i; done";
    const box = new Container({ script, flags: 0, logBytes: 2000, logFiles: 3 });
    await run(box.command);
    expect(
      readdirSync(box.dir)
        .filter((name) => name.startsWith("log"))
        .sort(),
    ).toEqual(["log", "log.1", "log.2"]);
    for (const name of ["log", "log.1", "log.2"]) {
      expect(box.read(name).length).toBeLessThanOrEqual(2000);
      expect(box.read(name)).toEndWith("\n");
    }
    const kept = box.logged("stdout").trim().split("\n");
    expect(kept.at(-1)).toBe("line 200");
    expect(kept.length).toBeGreaterThan(80);
    expect(kept.every((line, i) => line === `line ${200 - kept.length + i + 1}`)).toBe(true);
    rmSync(box.path("attach"));
    const before = box.read("log.1");
    await run(box.command);
    expect(box.log().includes(before)).toBe(false);
    for (const name of ["log", "log.1", "log.2"]) expect(box.read(name).length).toBeLessThanOrEqual(2000);
  });

  test("is dropped on a full disk, without half records and without harm", async () => {
    const box = new Container({
      script: "i=0; while test $i -lt 3000; do i=$((i+1)); echo line $i; done; exit 5",
      flags: 0,
    });
    const shell =
      'mount -t tmpfs -o size=64k none "$1" && cp "$2" "$1/plan" && shift 2 && "$@"; s=$?; cat "$0/log" > "$0.log"; exit $s';
    const plan = join(root, `${count++}-plan`);
    writeFileSync(plan, readFileSync(box.path("plan")));
    const ran = await run(["unshare", "-m", "sh", "-c", shell, box.dir, box.dir, plan, ...box.command]);
    expect(ran.status).toBe(5);
    const log = readFileSync(`${box.dir}.log`, "latin1");
    expect(log.length).toBeGreaterThan(1000);
    for (const record of log.split("\n").slice(0, -1)) expect(record).toMatch(/^[-\d:.TZ]{30} stdout F line \d+$/);
    expect(log).toEndWith("\n");
  });
});

describe("the log (C, with sanitizers)", () => {
  beforeAll(() => {
    const made = Bun.spawnSync(["make", "-s", "-C", ffi, "sanitize"], { stdout: "pipe", stderr: "pipe" });
    if (made.exitCode !== 0) throw new Error(made.stderr.toString());
  }, 60_000);

  /** Writes chunks through the log and returns its files, the oldest first. */
  function write(chunks: readonly (readonly [stream: number, bytes: Buffer])[], limit: number, files: number) {
    const dir = join(root, `${count++}`);
    mkdirSync(dir);
    const heads = chunks.map(([stream, bytes]) => Buffer.from(new Uint32Array([stream, bytes.length]).buffer));
    const stdin = Buffer.concat(chunks.flatMap(([, bytes], i) => [heads[i] ?? bytes, bytes]));
    const ran = Bun.spawnSync([join(ffi, "build/fuzz-log"), dir, `${limit}`, `${files}`], { stdin, stderr: "pipe" });
    expect(ran.stderr.toString()).toBe("");
    expect(ran.exitCode).toBe(0);
    return readLog(dir);
  }

  /** Bytes that a terminal or a binary might print: newlines here and there, and lengths around those that matter. */
  const bytes = fc
    .tuple(
      fc.oneof(fc.nat(40), fc.constantFrom(16383, 16384, 16385, 32767), fc.nat(40_000)),
      fc.constantFrom(0, 2, 50, 20_000),
      fc.nat(255),
    )
    .map(([length, every, fill]) => {
      const buffer = Buffer.alloc(length, fill);
      for (let at = every; every > 0 && at < length; at += every) buffer[at] = 10;
      return buffer;
    });
  const chunks = fc.array(fc.tuple(fc.nat(1), bytes), { maxLength: 12 });

  test("gives back each stream's bytes, however they were cut", () => {
    for (const sample of fc.sample(chunks, { numRuns: 20, seed: 20261122 })) {
      const log = write(sample, 0, 1).join("");
      for (const stream of [0, 1]) {
        const printed = Buffer.concat(sample.filter((c) => c[0] === stream).map((c) => c[1])).toString("latin1");
        expect(printedIn(log, stream === 0 ? "stdout" : "stderr") === printed).toBe(true);
      }
    }
  });

  test("keeps a tail of it within its bounds when it rotates", () => {
    for (const sample of fc.sample(chunks, { numRuns: 12, seed: 20261123 })) {
      const limit = 20_000;
      const files = write(sample, limit, 2);
      expect(files.length).toBeLessThanOrEqual(2);
      for (const file of files) expect(file.length).toBeLessThanOrEqual(limit);
      const printed = Buffer.concat(sample.filter((c) => c[0] === 0).map((c) => c[1])).toString("latin1");
      expect(printed.endsWith(printedIn(files.join(""), "stdout"))).toBe(true);
    }
  });
});

describe("a start that fails", () => {
  /** The words that the plan's `failed` prints. */
  async function failure(box: Container): Promise<{ said: string; step: string }> {
    const ran = await run(box.command);
    const [, section, step, errno] = /^failed (\d+) (\d+) (\d+)\n$/.exec(ran.stdout) ?? [];
    expect(ran.status).toBe(60);
    expect(existsSync(box.path("undone"))).toBe(true);
    expect(box.read("exit")).toBe("");
    return { said: `${section} ${errno}`, step: readStep(readFileSync(box.path("plan")), Number(step)).name };
  }

  test("says which of the child's steps it was, and undoes", async () => {
    const box = new Container({ script: "", child: (plan) => plan.child.sys("chdir", "/nonexistent") });
    expect(await failure(box)).toEqual({ said: `${SECTION.CHILD} 2`, step: "chdir" });
  });

  test("says that the command is not there", async () => {
    const missing = (plan: Plan) =>
      plan.child.builtin("exec", plan.strings(["/none"]), plan.strings(["x"]), plan.strings([]));
    expect(await failure(new Container({ script: "", child: missing }))).toEqual({
      said: `${SECTION.CHILD} 2`,
      step: "exec",
    });
  });

  test("says which of the monitor's steps it was, with the child alive", async () => {
    const parent = (plan: Plan, exec: () => void) => {
      plan.parent.sys("mkdirat", AT_FDCWD, "/proc/nonexistent", 0);
      exec();
    };
    const box = new Container({ script: "touch $DIR/ran", child: parent });
    expect(await failure(box)).toEqual({ said: `${SECTION.PARENT} 2`, step: "mkdirat" });
    expect(existsSync(box.path("ran"))).toBe(false);
  });

  test("does not take a child that was killed for one that runs", async () => {
    const suicide = (plan: Plan, exec: () => void) => {
      const self = plan.register();
      plan.child.sys("getpid").into(self);
      plan.child.sys("kill", self, 9);
      exec();
    };
    expect((await failure(new Container({ script: "", child: suicide }))).said).toBe(`${SECTION.CHILD} 5`);
  });

  test("is reported to whoever asked for reports", async () => {
    const box = new Container({ script: "", reportFd: 1, child: (plan) => plan.child.sys("chdir", "/nonexistent") });
    const ran = Bun.spawnSync(box.command, { stdout: "pipe" });
    expect(ran.exitCode).toBe(125);
    const [kind, section, , errno] = new Uint32Array(new Uint8Array(ran.stdout).buffer);
    expect([kind, section, errno]).toEqual([3, SECTION.CHILD, 2]);
  });

  test("reports start and end as well", async () => {
    const box = new Container({ script: "echo $$ >&2; exit 4", reportFd: 1 });
    const ran = Bun.spawnSync(box.command, { stdout: "pipe", stderr: "pipe" });
    const words = new Uint32Array(new Uint8Array(ran.stdout).buffer);
    expect([...words]).toEqual([1, Number(ran.stderr.toString()), 0, 0, 2, 4 << 8, 0, 0]);
  });
});

describe("with a terminal", () => {
  const TERMINAL = MONITOR.ATTACH | MONITOR.TTY | MONITOR.STDIN;

  /** A command on a terminal of ours, and what it shows. */
  function onTerminal(command: readonly string[], rows = 30, cols = 100) {
    const screen = { text: "" };
    const child = Bun.spawn([...command], {
      terminal: {
        rows,
        cols,
        data(_, bytes) {
          screen.text += Buffer.from(bytes).toString("latin1");
        },
      },
    });
    const terminal = child.terminal;
    if (terminal === undefined) throw new Error("Bun made no terminal");
    return { child, terminal, screen, shows: (text: string) => until(() => screen.text.includes(text), text) };
  }

  test("the command has one of its own, with the size of ours, keys as they are", async () => {
    const script =
      "tty; stty size; stty -echo; echo ready; read line; echo \"<$line>\"; trap 'stty size; exit 3' WINCH; echo again; while :; do sleep 0.01; done";
    const { child, terminal, shows } = onTerminal(
      new Container({ script, flags: TERMINAL, rows: 30, columns: 100 }).command,
    );
    await shows("30 100\r\nready\r\n");
    terminal.write("typed\r");
    await shows("<typed>\r\nagain\r\n");
    terminal.resize(77, 22);
    await shows("22 77");
    expect(await child.exited).toBe(3);
  });

  test("Ctrl-C is the command's", async () => {
    const box = new Container({
      script: "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.01; done",
      flags: TERMINAL,
    });
    const { child, terminal, shows } = onTerminal(box.command);
    await shows("ready");
    terminal.write("\x03");
    expect(await child.exited).toBe(5);
    expect(box.logged("stdout")).toContain("caught\r\n");
  });

  test("detaching needs the whole sequence, restores the terminal, and attaching comes back", async () => {
    const script =
      "stty raw -echo; echo ready; while :; do k=$(dd bs=1 count=1 2>/dev/null | od -An -tu1); echo key$k.; test $k = 113 && exit 6; done";
    const box = new Container({ script, flags: TERMINAL });
    const shell = [
      "bash",
      "-c",
      'before=$(stty -g); "$@"; s=$?; test "$before" = "$(stty -g)" && echo same; exit $s',
      "bash",
    ];
    const first = onTerminal([...shell, ...box.command]);
    await first.shows("ready");
    first.terminal.write(`a${CTRL_P}b${CTRL_P}`);
    await first.shows("key 98.");
    expect(first.screen.text.replace(/\s/g, "")).toEndWith("key97.key16.key98.");
    first.terminal.write(CTRL_Q);
    expect(await first.child.exited).toBe(0);
    await first.shows("same");
    expect(box.read("exit")).toBe("");
    const second = onTerminal([...shell, ...box.attach([16, 17])]);
    // Typed before it is attached, a key could be taken for ours by the terminal itself.
    await until(() => second.terminal.controlFlags !== undefined && !(second.terminal.localFlags & 2), "raw");
    second.terminal.write("q");
    expect(await second.child.exited).toBe(6);
    await second.shows("key 113.");
    await second.shows("same");
  });

  test("a console that is closed and opened again still shows", async () => {
    const script = "t=$(tty); exec </dev/null >/dev/null 2>&1; sleep 0.05; echo back >$t; sleep 0.05";
    const box = new Container({ script, flags: MONITOR.ATTACH | MONITOR.TTY });
    expect((await run(box.command)).stdout).toBe("back\r\n");
  });

  test("its client restores the terminal also when the monitor is killed", async () => {
    const box = new Container({ script: "echo pid=$$.; while :; do sleep 0.01; done", flags: TERMINAL });
    const shell = [
      "bash",
      "-c",
      'before=$(stty -g); "$@"; s=$?; test "$before" = "$(stty -g)" && echo same; exit $s',
      "bash",
    ];
    const { child, screen, shows } = onTerminal([...shell, ...box.command]);
    await shows(".");
    const pid = Number(/pid=(\d+)/.exec(screen.text)?.[1]);
    process.kill(parentOf(pid), "SIGKILL");
    expect(await child.exited).toBe(255);
    await shows("same");
    // Its terminal is gone, and with it goes a shell that was not PID 1.
    await until(() => hasEnded(pid), "the shell's end");
  });
});

describe("processes", () => {
  test("an exec's last stage is the child: its end is the end, though others hold the pipes", async () => {
    const stages = (plan: Plan) => {
      const inner = plan.register(2);
      plan.child.builtin("fork", SECTION.INNER, CLONE.PARENT, -1).into(inner);
      plan.child.builtin("sendChild", inner, new Reg(inner.index + 1));
      plan.child.builtin("exit", 0);
      const argv = plan.strings(["sh", "-c", "sleep 600 & echo out; exit 8"]);
      const environment = plan.strings(["PATH=/bin:/usr/bin", `DIR=${join(root, `${count - 1}`)}/`]);
      plan.inner.builtin("waitGo");
      plan.inner.builtin("exec", plan.strings(["/bin/sh"]), argv, environment);
    };
    const box = new Container({ script: "", flags: MONITOR.ATTACH | MONITOR.EXEC, child: stages });
    expect(await run(box.command)).toMatchObject({ status: 8, stdout: "out\n" });
  });

  test("what a restore that fails leaves behind, and does not end by itself, is ended", async () => {
    const stages = (plan: Plan) => {
      const inner = plan.register(2);
      plan.child.builtin("fork", SECTION.INNER, 0, -1).into(inner);
      plan.child.sys("chdir", "/nonexistent");
      const argv = plan.strings(["sh", "-c", "echo $$ >$DIR/stuck; exec sleep 600"]);
      const environment = plan.strings(["PATH=/bin:/usr/bin", `DIR=${join(root, `${count - 1}`)}`]);
      plan.inner.builtin("exec", plan.strings(["/bin/sh"]), argv, environment);
    };
    const flags = MONITOR.ATTACH | MONITOR.EXEC | MONITOR.RESTORED;
    const container = new Container({ script: "", flags, child: stages });
    expect((await run(container.command)).status).not.toBe(0);
    const pid = Number(await until(() => container.read("stuck").trim(), "its pid"));
    await until(() => hasEnded(pid), "its end");
    expect(existsSync(container.path("undone"))).toBe(true);
  }, 60_000);

  test("--init hands signals on, collects orphans, and ends as the command", async () => {
    const inner =
      "orphan=$(sh -c 'sleep 0.03 >/dev/null & echo $!'); trap 'exit 12' TERM; while kill -0 $orphan; do sleep 0.01; done 2>/dev/null; echo collected; while :; do sleep 0.01; done";
    const box = new Container({
      script: "",
      child: (plan) => {
        const command = plan.register(2);
        const argv = plan.strings(["sh", "-c", inner]);
        plan.child.sys("prctl", 36, 1);
        plan.child.builtin("fork", SECTION.INNER, 0, -1).into(command);
        plan.child.builtin("reap", command);
        plan.inner.builtin("exec", plan.strings(["/bin/sh"]), argv, plan.strings(["PATH=/bin:/usr/bin"]));
      },
    });
    const client = Bun.spawn(box.command, { stdout: "pipe" });
    // A zombie, too, can be sent a signal.
    await until(() => box.logged("stdout"), "the orphan to be collected");
    client.kill("SIGTERM");
    expect(await client.exited).toBe(12);
    expect(await client.stdout.text()).toBe("collected\n");
  });

  test("an idle monitor is small", async () => {
    const box = new Container({
      script: "echo $$; while ! test -e $DIR/stop; do sleep 0.05; done",
      flags: MONITOR.DETACH,
    });
    await run(box.command);
    const pid = Number(await until(() => box.logged("stdout"), "its pid"));
    const rollup = readFileSync(`/proc/${parentOf(pid)}/smaps_rollup`, "utf8");
    writeFileSync(box.path("stop"), "");
    expect(Number(/Pss:\s+(\d+)/.exec(rollup)?.[1])).toBeLessThan(100);
    await until(() => box.read("exit"), "the end");
  });
});
