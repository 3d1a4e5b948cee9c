/** bb-oci as engines call it: the commands, their words, statuses and files. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { missing, run, until } from "./harness.ts";
import { BB_OCI, cgroupsOf, newRuntime, sharedDirectory, started, stopped } from "./oci-harness.ts";
import { adopter, isAlive, parentOf } from "./processes.ts";

/** A zombie waits for whoever is its parent by now. */
describe("run", () => {
  test("passes on what goes in and out, and the exit status; nothing is left", async () => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["sh", "-c", "cat; echo no >&2; exit 7"]);
    const result = await runtime.oci(["run", "-b", bundle, runtime.id()], { stdin: "in\n" });
    expect(result).toEqual({ code: 7, stdout: "in\n", stderr: "no\n" });
    expect(readdirSync(runtime.root)).toEqual([]);
  });

  const unified = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].find((at) => existsSync(`${at}/cgroup.controllers`));
  const controllers = unified === undefined ? "" : readFileSync(`${unified}/cgroup.controllers`, "utf8");
  const noHugetlb = missing("cgroup v2 has no hugetlb controller", !controllers.includes("hugetlb"));
  test.skipIf(noHugetlb)("says where a container can be, if its group has handed its controllers on", async () => {
    await using runtime = newRuntime();
    const group = `/bb-test-busy-${process.pid}`;
    await runtime.ok([
      "run",
      "--bundle",
      await runtime.bundle(["true"], ({ linux }) => {
        linux.cgroupsPath = `${group}/inner`;
        // On a hybrid host, which hands down nothing else.
        linux["resources"] = { hugepageLimits: [{ pageSize: "2MB", limit: 1 << 21 }] };
      }),
      runtime.id(),
    ]);
    const outer = await runtime.bundle(["true"], ({ linux }) => {
      linux.cgroupsPath = group;
    });
    const { code, stderr } = await runtime.oci(["run", "--bundle", outer, runtime.id()]);
    expect(stderr).toContain("name one below it with cgroupsPath");
    expect(code).toBe(1);
  });

  test("passes signals on, and says 128 and the signal", async () => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle([
      "sh",
      "-c",
      "trap 'echo got; exit 3' TERM; echo up; while :; do sleep 0.05; done",
    ]);
    const id = runtime.id();
    const child = Bun.spawn([...runtime.command, "run", "-b", bundle, id], { stdout: "pipe" });
    const reader = child.stdout.getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toBe("up\n");
    child.kill("SIGTERM");
    expect(await child.exited).toBe(3);
    const killed = Bun.spawn([...runtime.command, "run", "-b", await runtime.bundle(["sleep", "100"]), id]);
    await until("it runs", async () => (await runtime.oci(["state", id])).stdout.includes('"running"'));
    await runtime.ok(["kill", id, "KILL"]);
    expect(await killed.exited).toBe(137);
  });

  test("ends who is left of a container that shares the host's processes", async () => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"], ({ linux }) => {
      linux.namespaces = linux.namespaces.filter(({ type }) => type !== "pid");
    });
    const id = runtime.id();
    const pid = Number(await runtime.ok(["run", "-b", bundle, id]));
    expect(pid).toBeGreaterThan(1);
    expect(isAlive(pid)).toBe(false);
    expect(cgroupsOf(id)).toEqual([]);
  });

  test("leaves no groups that the container has made below its own", async () => {
    await using runtime = newRuntime();
    const script =
      "for at in $(find /sys/fs/cgroup -name cgroup.procs); do mkdir -p $(dirname $at)/a/b $(dirname $at)/c; done; ls -d $at";
    const bundle = await runtime.bundle(["sh", "-c", script], ({ mounts }) => {
      for (const mount of mounts)
        if (mount["type"] === "cgroup") mount["options"] = ["nosuid", "noexec", "nodev", "rw"];
    });
    const id = runtime.id();
    expect(await runtime.ok(["run", "-b", bundle, id])).toContain("cgroup.procs");
    expect(cgroupsOf(id)).toEqual([]);
  });

  test("gives a terminal of the container's own devpts", async () => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["sh", "-c", "tty; test -t 0 && test -t 2 && stty size"], (config) => {
      config.process.terminal = true;
      config.process["consoleSize"] = { height: 11, width: 22 };
    });
    const { code, stdout } = await runtime.oci(["run", "-b", bundle, runtime.id()]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "/dev/pts/0\r\n11 22\r\n" });
  });
});

describe("the life of a container", () => {
  test("created, running, stopped, gone", async () => {
    await using runtime = newRuntime();
    const shared = sharedDirectory(runtime);
    const bundle = await runtime.bundle(["sh", "-c", "echo up >/tmp/up; sleep 1000"], ({ mounts }) =>
      mounts.push(shared.mount),
    );
    const id = runtime.id();
    const pidFile = join(runtime.directory, "pid");
    await runtime.ok(["create", "--bundle", bundle, "--pid-file", pidFile, id]);
    const state = JSON.parse(await runtime.ok(["state", id]));
    expect(state).toMatchObject({ ociVersion: "1.2.0", id, status: "created", bundle });
    expect(readFileSync(pidFile, "utf8")).toBe(String(state.pid));
    expect(existsSync(join(shared.path, "up"))).toBe(false);
    await runtime.ok(["start", id]);
    await until("the command runs", () => existsSync(join(shared.path, "up")));
    expect(await runtime.status(id)).toBe("running");
    expect((await runtime.oci(["start", id])).stderr).toContain("cannot start an already running container");
    expect((await runtime.oci(["delete", id])).stderr).toContain("that is not stopped: running");
    await runtime.ok(["kill", id, "9"]);
    await stopped(runtime, id);
    expect((await runtime.oci(["kill", id, "15"])).stderr).toContain("container not running");
    expect((await runtime.oci(["start", id])).stderr).toContain("cannot start a container that has stopped");
    await runtime.ok(["delete", id]);
    expect(await runtime.oci(["delete", id])).toMatchObject({ code: 1, stdout: "" });
    expect((await runtime.oci(["state", id])).stderr).toContain("container does not exist");
    await runtime.ok(["delete", "--force", id]);
    expect(cgroupsOf(id)).toEqual([]);
  });

  test("a created container is deleted, and one that runs with --force", async () => {
    await using runtime = newRuntime();
    const id = runtime.id();
    await runtime.ok(["create", "-b", await runtime.bundle(["sleep", "1000"]), id]);
    await runtime.ok(["delete", id]);
    const { id: other, pid } = await started(runtime);
    await runtime.ok(["delete", "--force", other]);
    expect(isAlive(pid)).toBe(false);
  });

  test("a created container is ended by the signals that would end its command", async () => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["sleep", "1000"]);
    for (const signal of ["TERM", "USR1", "40"]) {
      const id = runtime.id();
      await runtime.ok(["create", "-b", bundle, id]);
      await runtime.ok(["kill", id, "WINCH"]);
      expect(await runtime.status(id)).toBe("created");
      await runtime.ok(["kill", id, signal]);
      await stopped(runtime, id);
      await runtime.ok(["delete", id]);
    }
  });

  test("the held process is the caller's subreaper's, and keeps nothing of the caller but its streams", async () => {
    await using runtime = newRuntime();
    const id = runtime.id();
    const bundle = await runtime.bundle(["sleep", "1000"]);
    // A descriptor that leaks into create, as a shim's socket does.
    const script = 'exec 3</etc/passwd; "$@" </dev/null >/dev/null 2>&1';
    expect((await run(["sh", "-c", script, "sh", ...runtime.command, "create", "-b", bundle, id])).code).toBe(0);
    const { pid } = JSON.parse(await runtime.ok(["state", id])) as { pid: number };
    expect(parentOf(pid)).toBe(await adopter());
    const open = (): string[] => readdirSync(`/proc/${pid}/fd`).sort();
    // The fourth is the fifo; the way to the parent is closed right after the parent was told.
    await until("it holds", () => open().length === 4);
    expect(open().slice(0, 3)).toEqual(["0", "1", "2"]);
    await runtime.ok(["start", id]);
    expect(open()).toEqual(["0", "1", "2"]);
  });

  test("list names them all, also one that was never finished", async () => {
    await using runtime = newRuntime();
    expect(await runtime.ok(["list", "-f", "json"])).toBe("null");
    const { id, pid, bundle } = await started(runtime);
    await run(["mkdir", join(runtime.root, "half")]);
    expect((await runtime.ok(["list", "--quiet"])).split("\n").sort()).toEqual([id, "half"].sort());
    const rows = JSON.parse(await runtime.ok(["list", "--format", "json"])) as { id: string }[];
    expect(rows.find((row) => row.id === id)).toMatchObject({ pid, bundle, status: "running", owner: "root" });
    expect(rows.find((row) => row.id === "half")).toMatchObject({ pid: 0, status: "stopped" });
    await runtime.ok(["delete", "--force", "half"]);
    expect(await runtime.ok(["list", "-q"])).toBe(id);
  });
});

describe("what is refused is refused before anything is made", () => {
  test.each([
    ["no config.json", () => undefined, "config.json not found"],
    ["a field of a wrong type", () => ({ process: { args: "sh", cwd: "/" } }), "process.args"],
    ["a relative working directory", () => ({ process: { args: ["sh"], cwd: "tmp" } }), "process.cwd"],
    ["a root that is not there", () => ({ root: { path: "/nowhere" } }), "root.path"],
  ])("%s", async (_, change, words) => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["true"]);
    const path = join(bundle, "config.json");
    const changes = change();
    if (changes === undefined) await run(["rm", path]);
    else writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...changes }));
    const { code, stderr } = await runtime.oci(["create", "-b", bundle, runtime.id()]);
    expect(code).toBe(1);
    expect(stderr).toContain(words);
    expect(existsSync(runtime.root)).toBe(false);
  });

  test("an ID that leads elsewhere, one that is taken, and a line that says nothing", async () => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["true"]);
    for (const id of ["../a", "a/b", "..", ""]) {
      expect((await runtime.oci(["create", "-b", bundle, id])).stderr).toContain("invalid container ID format");
    }
    const id = runtime.id();
    await runtime.ok(["create", "-b", bundle, id]);
    expect((await runtime.oci(["create", "-b", bundle, id])).stderr).toContain(
      "container with given ID already exists",
    );
    expect((await runtime.oci(["create"])).stderr).toContain("exactly 1 argument");
    expect((await runtime.oci(["creat"])).code).toBe(3);
    expect((await runtime.oci(["state", "--nope", id])).stderr).toContain("flag provided but not defined: -nope");
  });

  test.each([
    [["nope"], /exec: \\?"nope\\?": executable file not found in \$PATH/],
    [["/nope"], /stat \/nope: no such file or directory/],
    [["/etc/passwd"], /permission denied/],
    [[""], /exec: \\?"\\?": executable file not found in \$PATH/],
  ])("a command that cannot be executed: %j", async (args, words) => {
    await using runtime = newRuntime();
    const log = join(runtime.directory, "log.json");
    const bundle = await runtime.bundle(args);
    const { code, stderr } = await runtime.oci([
      "--log",
      log,
      "--log-format",
      "json",
      "create",
      "-b",
      bundle,
      runtime.id(),
    ]);
    expect(code).toBe(1);
    expect(stderr).toMatch(words);
    const lines = readFileSync(log, "utf8").trim().split("\n");
    const last = JSON.parse(lines.at(-1) ?? "") as Record<string, string>;
    expect(last).toEqual({
      level: "error",
      msg: stderr.trim(),
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/) as unknown as string,
    });
    expect(existsSync(runtime.root) ? readdirSync(runtime.root) : []).toEqual([]);
  });

  test("a log that cannot be written to, and a format that nobody knows, whatever else is asked, as in runc", async () => {
    await using runtime = newRuntime();
    const id = runtime.id();
    await runtime.ok(["create", "-b", await runtime.bundle(["true"]), id]);
    const nowhere = join(runtime.directory, "nowhere/log");
    const cases: [string[], string][] = [
      [["--log", nowhere], `Cannot open the log \\"${nowhere}\\": ENOENT`],
      [["--log", runtime.directory], `Cannot open the log \\"${runtime.directory}\\": EISDIR`],
      [["--log-format", "xml"], "invalid log-format: xml"],
      [["--log", nowhere, "--log-format", "xml"], "invalid log-format: xml"],
    ];
    for (const [flags, words] of cases) {
      for (const command of [["state", id], ["start", id], ["kill", id, "9"], ["delete", id], ["list"], ["nope"], []]) {
        const { code, stdout, stderr } = await runtime.oci([...flags, ...command]);
        expect([code, stdout, stderr]).toEqual([1, "", expect.stringMatching(/^time=.*\n$/)]);
        expect(stderr).toContain(`level=error msg="${words}"`);
      }
      expect((await runtime.oci([...flags, "--version"])).code).toBe(0);
    }
    // Nothing was done, and the twin: one that is missing is made.
    const log = join(runtime.directory, "log");
    expect(JSON.parse(await runtime.ok(["--log", log, "--log-format=", "state", id]))).toMatchObject({
      status: "created",
    });
    expect(readFileSync(log, "utf8")).toBe("");
    await runtime.ok(["delete", "--force", id]);
  });

  test("a log that is missing for one of many containers that differ by their IDs only", async () => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["true"]);
    for (const isThere of [true, true, true, false]) {
      const id = runtime.id();
      const directory = join(runtime.directory, id);
      if (isThere) mkdirSync(directory);
      const { code, stderr } = await runtime.oci(["--log", join(directory, "log"), "run", "-b", bundle, id]);
      expect([code, stderr]).toEqual(isThere ? [0, ""] : [1, expect.stringContaining("Cannot open the log")]);
      expect(readdirSync(runtime.root)).toEqual([]);
    }
  });

  test("a terminal that is left to nobody", async () => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["true"], ({ process }) => {
      process.terminal = true;
    });
    const { code, stderr } = await runtime.oci(["create", "-b", bundle, runtime.id()]);
    expect(code).toBe(1);
    expect(stderr).toContain("without setting console socket");
  });
});

test.each([
  ["among others' processes", false],
  ["where an exec could trace it", true],
])("what is held %s has no more than its command will, and is behind its filter", async (_, traces) => {
  await using runtime = newRuntime();
  const { id } = await started(runtime);
  const { pid } = JSON.parse(await runtime.ok(["state", id]));
  const held = runtime.id();
  const bundle = await runtime.bundle(["sleep", "60"], ({ linux, process }) => {
    process["noNewPrivileges"] = false;
    linux["seccomp"] = { defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names: ["swapon"], action: "SCMP_ACT_ERRNO" }] };
    const { bounding, effective, permitted } = process["capabilities"] as Record<string, string[]>;
    if (traces) for (const set of [bounding, effective, permitted]) set?.push("CAP_SYS_PTRACE");
    else for (const namespace of linux.namespaces) if (namespace.type === "pid") namespace.path = `/proc/${pid}/ns/pid`;
  });
  await runtime.ok(["create", "--bundle", bundle, held]);
  const status = readFileSync(`/proc/${JSON.parse(await runtime.ok(["state", held])).pid}/status`, "utf8");
  expect(/^Seccomp:\t(\d)/m.exec(status)?.[1]).toBe("2");
  const permitted = BigInt(`0x${/^CapPrm:\t(\w+)/m.exec(status)?.[1]}`);
  const CAP_SYS_ADMIN = 21n;
  expect((permitted >> CAP_SYS_ADMIN) & 1n).toBe(0n);
});

test("a filter of 2019, which knows no newer call, is enough among others' processes, and for exec", async () => {
  await using runtime = newRuntime();
  const { id } = await started(runtime);
  const { pid } = JSON.parse(await runtime.ok(["state", id]));
  const other = runtime.id();
  const newer = ["clone3", "close_range", "openat2", "pidfd_open", "pidfd_getfd", "faccessat2", "mount_setattr"];
  const bundle = await runtime.bundle(["sleep", "60"], ({ linux, process }) => {
    process["noNewPrivileges"] = false;
    const refused = { names: newer, action: "SCMP_ACT_ERRNO", errnoRet: 1 };
    linux["seccomp"] = { defaultAction: "SCMP_ACT_ALLOW", syscalls: [refused] };
    for (const namespace of linux.namespaces) if (namespace.type === "pid") namespace.path = `/proc/${pid}/ns/pid`;
  });
  await runtime.ok(["create", "--bundle", bundle, other]);
  await runtime.ok(["start", other]);
  const open = "ls /proc/self/fd | wc -l";
  // 0, 1, 2, and the directory itself.
  expect(await runtime.ok(["exec", other, "sh", "-c", open])).toBe("4");
  const held = JSON.parse(await runtime.ok(["state", other])).pid;
  expect(readdirSync(`/proc/${held}/fd`).sort()).toEqual(["0", "1", "2"]);
});

test.skipIf(missing("strace is not installed", Bun.which("strace") === null))(
  "a time namespace that only clone3 can make is an error where that is refused, and not forgotten",
  async () => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["readlink", "/proc/self/ns/time"], ({ linux }) => {
      linux.namespaces = linux.namespaces.filter(({ type }) => type !== "pid");
      linux.namespaces.push({ type: "pid", path: "/proc/self/ns/pid" }, { type: "time" });
    });
    // Each process's first: of the stage that is the last fork, of Bun one that libc has another way for.
    const inject = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=clone3:error=ENOSYS:when=1"];
    const out = join(runtime.directory, "printed");
    const words = ["run", "--detach", "--bundle", bundle, runtime.id()];
    const script = 'out=$1; shift; exec "$@" >"$out" 2>&1';
    const { code } = await run(["sh", "-c", script, "sh", out, ...inject, ...runtime.command, ...words], {
      timeoutMs: 20_000,
    });
    expect(readFileSync(out, "utf8")).toContain("ENOSYS");
    expect(code).toBe(1);
  },
);

test("what a held process cannot do is said by start: exec format error", async () => {
  await using runtime = newRuntime();
  const shared = sharedDirectory(runtime);
  writeFileSync(join(shared.path, "junk"), "\x7fELFnonsense", { mode: 0o755 });
  const id = runtime.id();
  await runtime.ok([
    "create",
    "-b",
    await runtime.bundle(["/tmp/junk"], ({ mounts }) => mounts.push(shared.mount)),
    id,
  ]);
  const { code, stderr } = await runtime.oci(["start", id]);
  expect(code).toBe(1);
  expect(stderr).toContain("exec format error");
  await stopped(runtime, id);
});

describe("hooks", () => {
  const KINDS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

  test("of all six kinds run at their place, with the state on stdin and an environment of their own", async () => {
    await using runtime = newRuntime();
    const shared = sharedDirectory(runtime);
    const note = (kind: string) => ({
      path: "/bin/sh",
      args: ["sh", "-c", `echo ${kind} $WHO $(cat) >>${kind === "startContainer" ? "/tmp" : shared.path}/notes`],
      env: ["WHO=me", "PATH=/bin:/usr/bin"],
    });
    const bundle = await runtime.bundle(["sh", "-c", "echo command >>/tmp/notes; sleep 1000"], (config) => {
      config.mounts.push(shared.mount);
      config.hooks = Object.fromEntries(KINDS.map((kind) => [kind, [note(kind)]]));
    });
    const id = runtime.id();
    const notes = (): [string, string, Record<string, unknown> | undefined][] =>
      readFileSync(join(shared.path, "notes"), "utf8")
        .trim()
        .split("\n")
        .map((line) => {
          const [kind = "", who = "", ...json] = line.split(" ");
          return [kind, who, json.length === 0 ? undefined : (JSON.parse(json.join(" ")) as Record<string, unknown>)];
        });
    await runtime.ok(["create", "-b", bundle, id]);
    expect(notes().map(([kind]) => kind)).toEqual(["prestart", "createRuntime", "createContainer"]);
    const { pid } = JSON.parse(await runtime.ok(["state", id])) as { pid: number };
    await runtime.ok(["start", id]);
    await until("the command runs", () => notes().some(([kind]) => kind === "command"));
    await runtime.ok(["kill", id, "KILL"]);
    await stopped(runtime, id);
    await runtime.ok(["delete", id]);
    const byKind = new Map(notes().map(([kind, who, state]) => [kind, { who, ...state }]));
    expect([...byKind.keys()].sort()).toEqual([...KINDS, "command"].sort());
    expect(byKind.get("prestart")).toMatchObject({
      who: "me",
      id,
      pid,
      status: "created",
      bundle,
      ociVersion: "1.2.0",
    });
    expect(byKind.get("createRuntime")).toMatchObject({ pid, status: "created" });
    expect(byKind.get("createContainer")).toMatchObject({ pid: 1, status: "created" });
    expect(byKind.get("startContainer")).toMatchObject({ pid: 1, status: "created" });
    expect(byKind.get("poststart")).toMatchObject({ pid, status: "running" });
    expect(byKind.get("poststop")).toMatchObject({ pid: 0, status: "stopped" });
  });

  test.each(["prestart", "createRuntime", "createContainer"])(
    "a %s hook that fails ends the creation",
    async (kind) => {
      await using runtime = newRuntime();
      const bundle = await runtime.bundle(["sleep", "1000"], (config) => {
        config.hooks = {
          [kind]: [{ path: "/bin/true" }, { path: "/bin/sh", args: ["sh", "-c", "echo because; exit 4"] }],
        };
      });
      const id = runtime.id();
      for (const verb of ["create", "run"]) {
        const { code, stderr } = await runtime.oci([verb, "-b", bundle, id]);
        expect(code).toBe(1);
        expect(stderr).toContain(`error running hook: ${kind} hook #1: exit status 4, it printed: because`);
        expect(readdirSync(runtime.root)).toEqual([]);
        expect(cgroupsOf(id)).toEqual([]);
      }
    },
  );

  test("startContainer's that fails is said by start, with what it printed and nobody else sees", async () => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["sleep", "1000"], (config) => {
      config.hooks = {
        createRuntime: [{ path: "/bin/echo", args: ["echo", "of the host"] }],
        startContainer: [{ path: "/bin/sh", args: ["sh", "-c", "echo because; echo of it >&2; exit 4"] }],
      };
    });
    const id = runtime.id();
    const said = /error running hook: startContainer hook(?: #0)?: exit status 4, it printed: because\\nof it"$/m;
    const created = await runtime.oci(["create", "-b", bundle, id]);
    expect(created).toMatchObject({ code: 0, stdout: "", stderr: "" });
    const start = await runtime.oci(["start", id]);
    expect(start.code).toBe(1);
    expect(start.stderr).toMatch(said);
    expect(readFileSync(join(runtime.directory, "out.1"), "utf8")).toBe("");
    await stopped(runtime, id);
    await runtime.ok(["delete", id]);
    const run = await runtime.oci(["run", "-b", bundle, id]);
    expect(run).toMatchObject({ code: 1, stdout: "" });
    expect(run.stderr).toMatch(said);
  });

  test("of the container's process have its environment, not the runtime's, and the mask of files that runc's have", async () => {
    await using runtime = newRuntime();
    const shared = sharedDirectory(runtime);
    const hook = (directory: string, kind: string) => ({
      path: "/bin/sh",
      args: ["sh", "-c", `umask; env >${directory}/${kind}; grep -o '"pid":[0-9][0-9]*' >>${directory}/${kind}`],
    });
    const bundle = await runtime.bundle(["true"], (config) => {
      config.mounts.push(shared.mount);
      config.process.env.push("OWN=its");
      config.hooks = {
        createContainer: [hook(shared.path, "createContainer")],
        startContainer: [hook("/tmp", "startContainer")],
      };
    });
    await runtime.ok(["run", "-b", bundle, runtime.id()], { env: { SECRET: "the host's" } });
    for (const kind of ["createContainer", "startContainer"]) {
      const file = join(shared.path, kind);
      const text = readFileSync(file, "utf8");
      expect(text).toMatch(/^OWN=its$/m);
      expect(text).not.toContain("SECRET");
      expect(text).toMatch(/^"pid":1$/m);
      expect(statSync(file).mode & 0o777).toBe(0o644);
    }
  });

  test.each(["run", "run --detach"])("poststart's and poststop's of %s are in the bundle", async (verb) => {
    await using runtime = newRuntime();
    const file = (kind: string): string => join(runtime.directory, kind);
    // What it prints must not come back to it as its state.
    const hook = (kind: string) => ({
      path: "/bin/sh",
      args: ["sh", "-c", `echo printed; pwd >${file(kind)}; cat >>${file(kind)}`],
    });
    const bundle = await runtime.bundle(["true"], (config) => {
      config.hooks = { poststart: [hook("poststart")], poststop: [hook("poststop")] };
    });
    const id = runtime.id();
    await runtime.ok([...verb.split(" "), "-b", bundle, id]);
    if (verb !== "run") await runtime.ok(["delete", "--force", id]);
    for (const kind of ["poststart", "poststop"]) {
      const [directory, state = ""] = readFileSync(file(kind), "utf8").split("\n");
      expect(directory).toBe(bundle);
      expect(JSON.parse(state)).toMatchObject({ id, bundle });
    }
  });

  test("poststart's are told the pid of a process that is gone already", async () => {
    await using runtime = newRuntime();
    const file = join(runtime.directory, "state.json");
    const bundle = await runtime.bundle(["true"], (config) => {
      config.hooks = { poststart: [{ path: "/bin/sh", args: ["sh", "-c", `cat >${file}`] }] };
    });
    for (let i = 0; i < 5; i++) {
      const id = runtime.id();
      await runtime.ok(["create", "--bundle", bundle, id]);
      const { pid } = JSON.parse(await runtime.ok(["state", id])) as { pid: number };
      await runtime.ok(["start", id]);
      expect(JSON.parse(readFileSync(file, "utf8"))).toMatchObject({ pid, status: "running" });
      await stopped(runtime, id);
      await runtime.ok(["delete", id]);
    }
  });

  test.each(["createRuntime", "startContainer"])("a %s hook that is not there", async (kind) => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["true"], (config) => {
      config.hooks = { [kind]: [{ path: "/nowhere" }] };
    });
    const { code, stderr } = await runtime.oci(["run", "-b", bundle, runtime.id()]);
    expect(code).toBe(1);
    expect(stderr).toContain(`error running hook: ${kind} hook #0: no such file or directory`);
  });

  test("one that takes too long is killed", async () => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["sleep", "1000"], (config) => {
      config.hooks = { createRuntime: [{ path: "/bin/sleep", args: ["sleep", "100"], timeout: 1 }] };
    });
    const { code, stderr } = await runtime.oci(["create", "-b", bundle, runtime.id()]);
    expect(code).toBe(1);
    expect(stderr).toContain("it was killed after its timeout");
  });

  test("poststart's and poststop's that fail are warned of; the container goes on", async () => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["sleep", "1000"], (config) => {
      config.hooks = { poststart: [{ path: "/bin/false" }], poststop: [{ path: "/nowhere" }] };
    });
    const id = runtime.id();
    await runtime.ok(["create", "-b", bundle, id]);
    const start = await runtime.oci(["start", id]);
    expect(start.code).toBe(0);
    expect(start.stderr).toContain("level=warning");
    expect(await runtime.status(id)).toBe("running");
    const end = await runtime.oci(["delete", "--force", id]);
    expect(end.code).toBe(0);
    expect(end.stderr).toContain("error running poststop hook #0");
  });
});

describe("exec", () => {
  test("is the container's process with changes, and ends as its command", async () => {
    await using runtime = newRuntime();
    const { id } = await started(runtime);
    const show = 'echo "$(id -u):$(id -g) $(pwd) $A $0"; cat; exit 5';
    const options = ["--user", "1000:1001", "--cwd", "/home/user", "--env", "A=b"];
    const result = await runtime.oci(["exec", ...options, id, "sh", "-c", show, "zero"], { stdin: "in" });
    expect(result).toEqual({ code: 5, stdout: "1000:1001 /home/user b zero\nin", stderr: "" });
    // Only who is in the container's PID namespace finds a "self" there.
    expect(await runtime.ok(["exec", "--cwd", "/proc/self/root/home", id, "pwd"])).toBe("/home");
    const missing = await runtime.oci(["exec", id, "nope"]);
    expect(missing.code).toBe(255);
    expect(missing.stderr).toContain("executable file not found in $PATH");
  });

  test("--process takes a whole process, --detach leaves it to the caller's subreaper with its pid", async () => {
    await using runtime = newRuntime();
    const { id } = await started(runtime);
    const file = join(runtime.directory, "process.json");
    const pidFile = join(runtime.directory, "exec.pid");
    writeFileSync(
      file,
      JSON.stringify({ args: ["sleep", "600"], cwd: "/tmp", env: ["PATH=/bin"], user: { uid: 7, gid: 8 } }),
    );
    await runtime.ok(["exec", "--process", file, "--detach", "--pid-file", pidFile, id]);
    const pid = readFileSync(pidFile, "utf8");
    expect(pid).toMatch(/^[0-9]+$/);
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    expect(parentOf(Number(pid))).toBe(await adopter());
    expect(status).toMatch(/^Uid:\t7\t7\t7\t7$/m);
    expect(JSON.parse(await runtime.ok(["ps", "--format", "json", id]))).toContain(Number(pid));
    await runtime.ok(["delete", "--force", id]);
    await until("it ends with its container", () => !isAlive(Number(pid)));
  });

  test("nothing of the caller is in it", async () => {
    await using runtime = newRuntime();
    const { id } = await started(runtime);
    const script = 'exec 3</etc/passwd 9</etc/passwd; SECRET=1 "$@"';
    const command = [...runtime.command, "exec", id, "sh", "-c", "ls /proc/self/fd; env"];
    const { stdout } = await run(["sh", "-c", script, "sh", ...command]);
    // The last is ls's own.
    expect(stdout).toStartWith("0\n1\n2\n3\n");
    expect(stdout).not.toMatch(/^[4-9]$/m);
    expect(stdout).not.toContain("SECRET");
  });

  test("a container that is not there, stopped or paused has none", async () => {
    await using runtime = newRuntime();
    const { id } = await started(runtime);
    expect(await runtime.oci(["exec", "nobody", "true"])).toMatchObject({ code: 255 });
    await runtime.ok(["pause", id]);
    expect(await runtime.status(id)).toBe("paused");
    expect((await runtime.oci(["exec", id, "true"])).stderr).toContain("cannot exec in a paused container");
    await runtime.ok(["resume", id]);
    await runtime.ok(["exec", id, "true"]);
    await runtime.ok(["kill", id, "SIGKILL"]);
    await stopped(runtime, id);
    expect((await runtime.oci(["exec", id, "true"])).stderr).toContain("cannot exec in a stopped container");
  });
});

test("--preserve-fds passes on so many descriptors and no more", async () => {
  await using runtime = newRuntime();
  const bundle = await runtime.bundle(["sh", "-c", "cat <&3; cat <&4; ls /proc/self/fd"]);
  const [a, b] = [join(runtime.directory, "a"), join(runtime.directory, "b")];
  writeFileSync(a, "three\n");
  writeFileSync(b, "four\n");
  const script = `exec 3<${a} 4<${b} 5</etc/passwd; exec "$@"`;
  for (const command of [["run", "--preserve-fds", "2", "-b", bundle, runtime.id()]]) {
    const { stdout, stderr } = await run(["sh", "-c", script, "sh", ...runtime.command, ...command]);
    expect(stderr).toBe("");
    expect(stdout).toBe("three\nfour\n0\n1\n2\n3\n4\n5\n");
  }
  const { id } = await started(runtime);
  const exec = ["exec", "--preserve-fds=1", id, "sh", "-c", "cat <&3; test -e /proc/self/fd/4 || echo none"];
  expect((await run(["sh", "-c", script, "sh", ...runtime.command, ...exec])).stdout).toBe("three\nnone\n");
});

test("a process that is killed for want of memory before its command begins is said to be that", async () => {
  await using runtime = newRuntime();
  const bundle = await runtime.bundle(["true"], ({ linux }) => {
    linux["resources"] = { memory: { limit: 8192 } };
  });
  const { code, stderr } = await runtime.oci(["run", "-b", bundle, runtime.id()]);
  expect(code).toBe(1);
  expect(stderr).toContain("its first process was killed before it could run its command");
  expect(stderr).toContain("Its memory is limited to 8192 bytes");
});

test("update changes limits, leaves alone what is 0 and never the devices", async () => {
  await using runtime = newRuntime();
  const { id } = await started(runtime);
  const resources = {
    devices: [{ allow: false, access: "rwm" }],
    memory: { limit: 64 << 20, reservation: 0, swap: 0, kernel: 0 },
    cpu: { shares: 0, quota: 50_000, period: 100_000 },
    pids: { limit: 50 },
    blockIO: { weight: 0 },
  };
  await runtime.ok(["update", "--resources", "-", id], { stdin: JSON.stringify(resources) });
  const stats = async (): Promise<{ memory: { usage: { limit: number } }; pids: { limit: number } }> =>
    (JSON.parse(await runtime.ok(["events", "--stats", id])) as { data: Awaited<ReturnType<typeof stats>> }).data;
  expect(await stats()).toMatchObject({ memory: { usage: { limit: 64 << 20 } }, pids: { limit: 50 } });
  await runtime.ok(["exec", id, "sh", "-c", "echo >/dev/null"]);
  await runtime.ok(["update", "--memory", "32M", "--pids-limit", "20", id]);
  expect(await stats()).toMatchObject({ memory: { usage: { limit: 32 << 20 } }, pids: { limit: 20 } });
});

test("update sets back to 0 what 0 is a value of", async () => {
  await using runtime = newRuntime();
  const { id } = await started(runtime);
  const group = cgroupsOf(id).find((path) => existsSync(join(path, "cpu.idle")));
  if (missing("the kernel has no cpu.idle", group === undefined) || group === undefined) return;
  const read = (...names: string[]): string | undefined =>
    names
      .map((name) => join(group, name))
      .filter((path) => existsSync(path))
      .map((path) => readFileSync(path, "utf8").trim())[0];
  const burst = (): string | undefined => read("cpu.cfs_burst_us", "cpu.max.burst");
  const update = (cpu: Record<string, number>): Promise<string> =>
    runtime.ok(["update", "--resources", "-", id], { stdin: JSON.stringify({ cpu }) });
  await runtime.ok(["update", "--cpu-idle", "1", id]);
  expect(read("cpu.idle")).toBe("1");
  await runtime.ok(["update", "--cpu-idle", "0", id]);
  expect(read("cpu.idle")).toBe("0");
  await update({ quota: 20_000, period: 100_000, burst: 1000 });
  expect(burst()).toBe("1000");
  await update({ burst: 0 });
  expect(burst()).toBe("0");
});

test("events tells of processes that were killed for want of memory, and ends with the container", async () => {
  await using runtime = newRuntime();
  const { id } = await started(runtime, ["sleep", "1000"], ({ linux }) => {
    linux["resources"] = { memory: { limit: 16 << 20 }, devices: [{ allow: false, access: "rwm" }] };
  });
  const printed = join(runtime.directory, "events");
  const events = Bun.spawn([...runtime.command, "events", "--interval", "100ms", id], { stdout: Bun.file(printed) });
  const lines = (): { type: string; id: string }[] =>
    readFileSync(printed, "utf8")
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line));
  await until("statistics", () => existsSync(printed) && lines().length > 2);
  // A shell that keeps all that it reads.
  await runtime.oci(["exec", id, "sh", "-c", "x=$(cat /dev/zero | tr '\\0' x)"]);
  await until("what was killed is told of", () => lines().some(({ type }) => type === "oom"));
  await runtime.ok(["kill", id, "KILL"]);
  expect(await events.exited).toBe(0);
  expect(lines().filter(({ type }) => type === "stats").length).toBeGreaterThan(2);
  expect(lines()).toContainEqual({ type: "oom", id });
});

test("kill --all reaches every process of a container that shares the host's", async () => {
  await using runtime = newRuntime();
  const { id, pid } = await started(runtime, ["sh", "-c", "sleep 600 & sleep 600 & wait"], ({ linux }) => {
    linux.namespaces = linux.namespaces.filter(({ type }) => type !== "pid");
  });
  await until("all run", async () => (JSON.parse(await runtime.ok(["ps", "-f", "json", id])) as number[]).length === 3);
  process.kill(pid, "SIGKILL");
  await stopped(runtime, id);
  expect(await runtime.ok(["kill", "--all", id, "9"])).toBe("");
  await until("nobody is left", async () => (await runtime.ok(["ps", "-f", "json", id])) === "[]");
  await runtime.ok(["delete", id]);
});

test("what engines ask first: --version, --help, features", async () => {
  const { stdout: version } = await run([BB_OCI, "--version"]);
  expect(version).toMatch(/^bb-oci version [0-9.]+\n/);
  expect(version).toMatch(/^spec: 1\.2\.0$/m);
  expect((await run([BB_OCI, "update", "--help"])).stdout).toContain("--resources");
  const features = JSON.parse((await run([BB_OCI, "features"])).stdout) as Record<string, unknown>;
  expect(features).toMatchObject({ ociVersionMin: "1.0.0", ociVersionMax: "1.2.0" });
});

test("the root directory is made, closed to others", async () => {
  await using runtime = newRuntime();
  await started(runtime);
  expect(statSync(runtime.root).mode & 0o777).toBe(0o711);
});
