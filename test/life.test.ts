import { describe, expect, test } from "bun:test";
import { closeSync, constants, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { busyboxRoot, cgroupsOf, idsIn, newStore, run, type Store, until } from "./harness.ts";
import { patience } from "./patience.ts";
import { descriptorsOf } from "./processes.ts";

const image = await busyboxRoot();
/** What every container here is run with: the network has tests of its own. */
const QUIET = ["--network", "none"] as const;

/** A shell that ends with status 3 on SIGTERM, ready once it has said so. */
const WAITS_FOR_TERM = "trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.05; done";

async function runDetached(store: Store, flags: readonly string[], ...command: string[]): Promise<string> {
  return await store.ok(["run", "-d", ...QUIET, ...flags, image, ...command]);
}

async function waitForLog(store: Store, name: string, text: string): Promise<void> {
  await until(`${text} in the log of ${name}`, async () => (await store.ok(["logs", name])).includes(text));
}

async function inspect(store: Store, name: string, template: string): Promise<string> {
  return await store.ok(["inspect", "-f", template, name]);
}

async function states(store: Store): Promise<Record<string, string>> {
  const lines = (await store.ok(["ps", "-a", "--format", "{{.Names}} {{.State}}"])).split("\n").filter(Boolean);
  return Object.fromEntries(lines.map((line) => line.split(" ") as [string, string]));
}

/** Whether a process has a connection of the kind that the monitors serve: SOCK_SEQPACKET. */
function isConnected(pid: number): boolean {
  const inodes = Object.values(descriptorsOf(pid)).map((link) =>
    link.startsWith("socket:[") ? link.slice(8, -1) : "none",
  );
  const lines = readFileSync("/proc/net/unix", "utf8").split("\n");
  return lines.some((line) => / 0005 03 /.test(line) && inodes.includes(line.trim().split(/ +/)[6] ?? ""));
}

/** Writes to the freezer by hand, as `bb pause` will. */
function freeze(id: string, state: "FROZEN" | "THAWED"): void {
  for (const path of cgroupsOf(id)) {
    if (existsSync(join(path, "freezer.state"))) writeFileSync(join(path, "freezer.state"), state);
    else if (existsSync(join(path, "cgroup.freeze")))
      writeFileSync(join(path, "cgroup.freeze"), state === "FROZEN" ? "1" : "0");
  }
}

describe("run in the foreground", () => {
  test("keeps stdout and stderr apart and ends with the command's status", async () => {
    await using store = await newStore();
    const result = await store.bb(["run", "--rm", ...QUIET, image, "sh", "-c", "echo out; echo err >&2; exit 42"]);
    expect(result).toEqual({ code: 42, stdout: "out\n", stderr: "err\n" });
  });

  test("-i passes standard input on to its end, byte for byte", async () => {
    await using store = await newStore();
    const stdin = `${"0123456789abcdef".repeat(20_000)}\nlast line without an end`;
    const result = await store.bb(["run", "--rm", "-i", ...QUIET, image, "cat"], { stdin });
    expect(result.code).toBe(0);
    expect(result.stdout).toBe(stdin);
  });

  test("without -i the command reads nothing", async () => {
    await using store = await newStore();
    expect(await store.bb(["run", "--rm", ...QUIET, image, "cat"], { stdin: "unread" })).toEqual({
      code: 0,
      stdout: "",
      stderr: "",
    });
  });

  test.each([
    ["a command that is not there", ["/no/such"], 127],
    ["a name that is in no directory of PATH", ["no-such-command"], 127],
    ["a directory", ["/etc"], 126],
    ["a file that is not executable", ["/etc/passwd"], 126],
    ["a command that kills itself", ["sh", "-c", "kill -9 $$; sleep 60"], 0],
  ])("%s ends as Docker has it", async (_, command, status) => {
    await using store = await newStore();
    const result = await store.bb(["run", "--rm", "--init", ...QUIET, image, ...command]);
    // PID 1 of --init tells of the signal as a shell does.
    expect(result.code).toBe(status === 0 ? 137 : status);
    expect(result.stdout).toBe("");
    if (status > 0) expect(result.stderr).toStartWith("bb: Cannot run");
  });

  test.each(["TERM", "INT", "HUP", "USR1"])("SIG%s of the client reaches the command", async (signal) => {
    await using store = await newStore();
    const script = `trap 'echo got ${signal}; exit 9' ${signal}; echo ready; while :; do sleep 0.05; done`;
    const child = Bun.spawn([...store.command, "run", "--rm", ...QUIET, image, "sh", "-c", script], { stdout: "pipe" });
    const reader = child.stdout.getReader();
    const first = await reader.read();
    expect(new TextDecoder().decode(first.value)).toBe("ready\n");
    child.kill(`SIG${signal}` as NodeJS.Signals);
    let rest = "";
    for (let next = await reader.read(); !next.done; next = await reader.read())
      rest += new TextDecoder().decode(next.value);
    expect(rest).toBe(`got ${signal}\n`);
    expect(await child.exited).toBe(9);
  });

  test("a reader that closes the pipe ends the client as any program, and the container goes on", async () => {
    await using store = await newStore();
    // Most of it is printed only when nobody reads any longer.
    const lines = (to: number): string => `while [ $i -lt ${to} ]; do echo line $i; i=$((i+1)); done`;
    const script = `i=0; ${lines(10)}; until [ -e /tmp/go ]; do sleep 0.02; done; ${lines(2000)}; echo all; exit 4`;
    const bb = store.command.join(" ");
    const command = `${bb} run --name piped ${QUIET.join(" ")} ${image} sh -c '${script}'`;
    const reader = `{ head -1; exec <&-; ${bb} exec piped touch /tmp/go; }`;
    const child = Bun.spawn(["bash", "-c", `${command} | ${reader}; echo "\${PIPESTATUS[0]}"`], {
      stdout: "pipe",
      stderr: "pipe",
    });
    expect(await new Response(child.stdout).text()).toBe("line 0\n141\n");
    expect(await new Response(child.stderr).text()).toBe("");
    expect(await store.ok(["wait", "piped"])).toBe("4");
    expect((await store.ok(["logs", "piped"])).split("\n")).toHaveLength(2001);
  });

  test("a client whose reader is stuck does not keep the ended container from being removed", async () => {
    await using store = await newStore();
    const run = [...store.command, "run", "--name", "stuck", ...QUIET, image, "head", "-c", "120000", "/dev/zero"];
    // More than its pipe takes, less than would hold the container up. The reader waits for a line of its own input.
    const child = Bun.spawn(["bash", "-c", `exec 3<&0; ${run.join(" ")} </dev/null | { read -r _ <&3; wc -c; }`], {
      stdin: "pipe",
      stdout: "pipe",
    });
    await until("the container has ended", async () => Object.values(await states(store)).includes("exited"));
    const before = performance.now();
    await store.ok(["rm", "stuck"]);
    expect(performance.now() - before).toBeLessThan(patience(9000));
    child.stdin.write("go\n");
    await child.stdin.end();
    expect(await new Response(child.stdout).text()).toBe("120000\n");
  });

  test("stays as an exited container without --rm, and leaves nothing with it", async () => {
    await using store = await newStore();
    await store.ok(["run", "--name", "stays", ...QUIET, image, "true"]);
    await store.ok(["run", "--name", "goes", "--rm", ...QUIET, image, "true"]);
    expect(await states(store)).toEqual({ stays: "exited" });
    expect(idsIn(join(store.root, "containers"))).toHaveLength(1);
    expect(idsIn(store.runRoot)).toEqual([]);
  });
});

describe("names and IDs", () => {
  test("--cidfile gets the ID, and must not exist", async () => {
    await using store = await newStore();
    const directory = mkdtempSync(join(tmpdir(), "bb-cid-"));
    const path = join(directory, "cid");
    const id = await runDetached(store, ["--cidfile", path], "sleep", "60");
    expect(readFileSync(path, "utf8")).toBe(id);
    const again = await store.bb(["run", ...QUIET, "--cidfile", path, image, "true"]);
    expect(again.code).toBe(125);
    expect(again.stderr).toContain("the file exists");
    expect(Object.keys(await states(store))).toHaveLength(1);
    rmSync(directory, { recursive: true });
  });

  test("a container is found by name, ID and the beginning of its ID", async () => {
    await using store = await newStore();
    const id = await store.ok(["create", "--name", "named", image, "true"]);
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    for (const name of ["named", id, id.slice(0, 12), id.slice(0, 5)]) {
      expect(await inspect(store, name, "{{.Id}}")).toBe(id);
    }
    expect((await store.bb(["inspect", "zzz"])).code).toBe(1);
  });

  test("a name is one container's: exactly one of several at once gets it (F-31)", async () => {
    await using store = await newStore();
    const results = await Promise.all(
      Array.from({ length: 8 }, () => store.bb(["run", "-d", "--name", "one", ...QUIET, image, "sleep", "60"])),
    );
    expect(results.filter(({ code }) => code === 0)).toHaveLength(1);
    for (const { code, stderr } of results.filter((result) => result.code !== 0)) {
      expect(code).toBe(125);
      expect(stderr).toContain('Cannot name the container "one"');
    }
    expect(await states(store)).toEqual({ one: "running" });
    expect(idsIn(join(store.root, "containers"))).toHaveLength(1);
  });

  test("rename gives another name, unless it is taken or not valid", async () => {
    await using store = await newStore();
    await store.ok(["create", "--name", "old", image, "true"]);
    await store.ok(["create", "--name", "other", image, "true"]);
    await store.ok(["rename", "old", "new"]);
    expect(Object.keys(await states(store)).sort()).toEqual(["new", "other"]);
    expect((await store.bb(["rename", "new", "other"])).stderr).toContain("has that name");
    expect((await store.bb(["rename", "new", "../x"])).stderr).toContain("the name is not valid");
    expect((await store.bb(["rename", "old", "newer"])).stderr).toContain('Cannot find container "old"');
  });
});

describe("create, start, stop", () => {
  test("a created container starts in the background, ends, and starts again with its changes", async () => {
    await using store = await newStore();
    await store.ok(["create", "--name", "kept", ...QUIET, image, "sh", "-c", "echo run >> /var/runs; cat /var/runs"]);
    expect(await states(store)).toEqual({ kept: "created" });
    expect(await store.ok(["start", "kept"])).toBe("kept");
    expect(await store.ok(["wait", "kept"])).toBe("0");
    expect(await store.ok(["start", "-a", "kept"])).toBe("run\nrun");
    expect(await store.ok(["logs", "kept"])).toBe("run\nrun\nrun");
  });

  test("start -a -i passes input on and ends as the container", async () => {
    await using store = await newStore();
    await store.ok(["create", "-i", "--name", "reads", ...QUIET, image, "sh", "-c", "cat; exit 6"]);
    expect(await store.bb(["start", "-ai", "reads"], { stdin: "typed\n" })).toEqual({
      code: 6,
      stdout: "typed\n",
      stderr: "",
    });
  });

  test("what runs is not started again, which is no failure, and what is not there is not started", async () => {
    await using store = await newStore();
    await runDetached(store, ["--name", "busy"], "sleep", "60");
    const pid = await inspect(store, "busy", "{{.State.Pid}}");
    expect(await store.ok(["start", "busy"])).toBe("busy");
    expect(await inspect(store, "busy", "{{.State.Pid}}")).toBe(pid);
    expect((await store.bb(["start", "nobody"])).code).toBe(1);
  });

  test("one that is named twice is started once", async () => {
    await using store = await newStore();
    await store.ok(["create", "--name", "twice", ...QUIET, image, "sh", "-c", "echo run; sleep 60"]);
    expect(await store.ok(["start", "twice", "twice"])).toBe("twice\ntwice");
    await until("it has run", async () => (await store.ok(["logs", "twice"])) !== "");
    expect(await store.ok(["logs", "twice"])).toBe("run");
  });

  test("start -a of what runs attaches to it", async () => {
    await using store = await newStore();
    await store.ok([
      "create",
      "-i",
      "--name",
      "reads",
      ...QUIET,
      image,
      "sh",
      "-c",
      "read line; echo got $line; exit 6",
    ]);
    await store.ok(["start", "reads"]);
    expect(await store.bb(["start", "-ai", "reads"], { stdin: "typed\n" })).toEqual({
      code: 6,
      stdout: "got typed\n",
      stderr: "",
    });
  });

  test("a failed start says why and leaves a container that can be removed", async () => {
    await using store = await newStore();
    await store.ok(["create", "--name", "broken", ...QUIET, image, "/no/such"]);
    const result = await store.bb(["start", "broken"]);
    expect(result.stderr).toContain('Cannot run "/no/such"');
    expect(result.code).toBe(1);
    const id = await inspect(store, "broken", "{{.Id}}");
    expect(cgroupsOf(id)).toEqual([]);
    expect(idsIn(store.runRoot)).toEqual([]);
    await store.ok(["rm", "broken"]);
  });

  test("stop asks with SIGTERM and gives time; status and record are the command's", async () => {
    await using store = await newStore();
    await runDetached(store, ["--name", "polite"], "sh", "-c", WAITS_FOR_TERM);
    await waitForLog(store, "polite", "ready");
    expect(await store.ok(["stop", "polite"])).toBe("polite");
    expect(await states(store)).toEqual({ polite: "exited" });
    expect(await inspect(store, "polite", "{{.State.ExitCode}}")).toBe("3");
    expect(await store.ok(["logs", "polite"])).toBe("ready\nterm");
    // One that has ended is stopped already.
    expect(await store.ok(["stop", "polite"])).toBe("polite");
  });

  test("stop kills what does not listen, at once with -t 0", async () => {
    await using store = await newStore();
    await runDetached(
      store,
      ["--name", "deaf", "--stop-timeout", "600"],
      "sh",
      "-c",
      "trap '' TERM; echo ready; while :; do sleep 0.05; done",
    );
    await waitForLog(store, "deaf", "ready");
    const before = performance.now();
    await store.ok(["stop", "-t", "0", "deaf"]);
    expect(performance.now() - before).toBeLessThan(patience(9000));
    expect(await inspect(store, "deaf", "{{.State.ExitCode}}")).toBe("137");
  });

  test("stop -s and --stop-signal choose the signal", async () => {
    await using store = await newStore();
    const script = "trap 'exit 11' USR1; trap 'exit 12' USR2; echo ready; while :; do sleep 0.05; done";
    await runDetached(store, ["--name", "flag"], "sh", "-c", script);
    await runDetached(store, ["--name", "own", "--stop-signal", "USR2"], "sh", "-c", script);
    await Promise.all([waitForLog(store, "flag", "ready"), waitForLog(store, "own", "ready")]);
    await Promise.all([store.ok(["stop", "-s", "USR1", "flag"]), store.ok(["stop", "own"])]);
    expect(await inspect(store, "flag", "{{.State.ExitCode}}")).toBe("11");
    expect(await inspect(store, "own", "{{.State.ExitCode}}")).toBe("12");
  });

  test("a frozen container is shown as paused, and stops, is killed and is removed (F-44)", async () => {
    await using store = await newStore();
    const ids = await Promise.all(
      ["stopped", "killed", "removed"].map((name) => runDetached(store, ["--name", name], "sh", "-c", WAITS_FOR_TERM)),
    );
    await waitForLog(store, "stopped", "ready");
    for (const id of ids) freeze(id, "FROZEN");
    await until("all are paused", async () => Object.values(await states(store)).every((state) => state === "paused"));
    expect(await inspect(store, "stopped", "{{.State.Status}} {{.State.Paused}}")).toBe("paused true");
    const exec = await store.bb(["exec", "stopped", "true"]);
    expect(exec.code).toBe(125);
    expect(exec.stderr).toContain("it is paused");
    await store.ok(["stop", "stopped"]);
    await store.ok(["kill", "killed"]);
    await store.ok(["rm", "-f", "removed"]);
    expect(await states(store)).toEqual({ stopped: "exited", killed: "exited" });
    expect(await inspect(store, "stopped", "{{.State.ExitCode}}")).toBe("3");
    expect(await inspect(store, "killed", "{{.State.ExitCode}}")).toBe("137");
  });

  test("kill sends any signal, and SIGKILL by default", async () => {
    await using store = await newStore();
    await runDetached(store, ["--name", "target"], "sh", "-c", `trap 'echo usr1' USR1; ${WAITS_FOR_TERM}`);
    await waitForLog(store, "target", "ready");
    await store.ok(["kill", "-s", "USR1", "target"]);
    await waitForLog(store, "target", "usr1");
    expect(await states(store)).toEqual({ target: "running" });
    await store.ok(["kill", "target"]);
    expect(await inspect(store, "target", "{{.State.ExitCode}}")).toBe("137");
    const again = await store.bb(["kill", "target"]);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain('Cannot kill "target": it is not running');
  });
});

describe("wait", () => {
  test("prints every container's status in the order of the names", async () => {
    await using store = await newStore();
    await runDetached(store, ["--name", "slow"], "sh", "-c", "sleep 0.3; exit 5");
    await runDetached(store, ["--name", "fast"], "sh", "-c", "exit 7");
    expect(await store.ok(["wait", "slow", "fast"])).toBe("5\n7");
    expect(await store.ok(["wait", "slow"])).toBe("5");
  });

  test("knows the status of a container that removes itself", async () => {
    await using store = await newStore();
    await runDetached(
      store,
      ["--rm", "--name", "gone"],
      "sh",
      "-c",
      "trap 'exit 33' TERM; echo ready; while :; do sleep 0.05; done",
    );
    await waitForLog(store, "gone", "ready");
    const waits = Array.from({ length: 3 }, () => Bun.spawn([...store.command, "wait", "gone"], { stdout: "pipe" }));
    for (const { pid } of waits) await until("the monitor has another client", () => isConnected(pid));
    await store.ok(["stop", "gone"]);
    for (const wait of waits) {
      expect(await new Response(wait.stdout).text()).toBe("33\n");
      expect(await wait.exited).toBe(0);
    }
    expect(await states(store)).toEqual({});
  });

  test("a container that prints much is not slowed down by who waits for it", async () => {
    await using store = await newStore();
    await runDetached(store, ["--rm", "--name", "loud"], "sh", "-c", "head -c 50000000 /dev/zero; exit 8");
    expect(await store.bb(["wait", "loud"], { timeoutMs: 120_000 })).toEqual({ code: 0, stdout: "8\n", stderr: "" });
  }, 150_000);
});

describe("rm", () => {
  test("refuses what runs, removes what has ended, and takes several", async () => {
    await using store = await newStore();
    await runDetached(store, ["--name", "runs"], "sleep", "60");
    await store.ok(["create", "--name", "idle", image, "true"]);
    const refused = await store.bb(["rm", "runs", "idle"]);
    expect(refused.code).toBe(1);
    expect(refused.stdout).toBe("idle\n");
    expect(refused.stderr).toContain('Cannot remove "runs": it is running');
    await store.ok(["rm", "-f", "runs", "not-there"]);
    expect((await store.bb(["rm", "runs"])).code).toBe(1);
    expect(await states(store)).toEqual({});
  });

  test("rm -f ends a whole tree of processes", async () => {
    await using store = await newStore();
    const script = "for i in 1 2 3 4 5; do (trap '' TERM HUP; sleep 1000 & sleep 1000) & done; echo ready; wait";
    const id = await runDetached(store, ["--name", "tree"], "sh", "-c", script);
    await waitForLog(store, "tree", "ready");
    await store.ok(["rm", "-f", "tree"]);
    expect(cgroupsOf(id)).toEqual([]);
  });

  test("several rm -f of one container at once all succeed", async () => {
    await using store = await newStore();
    await runDetached(store, ["--name", "target"], "sleep", "60");
    const results = await Promise.all(Array.from({ length: 4 }, () => store.bb(["rm", "-f", "target"])));
    for (const { code, stderr } of results) expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  });

  test("a tree that a container made deep and odd is removed", async () => {
    await using store = await newStore();
    const script =
      "cd /tmp; for i in $(seq 300); do mkdir d; cd d; touch 'a b' \"$(printf 'x\\ny')\"; done; chmod 000 /tmp/d";
    await store.ok(["run", "--rm", ...QUIET, image, "sh", "-c", script]);
    await store.ok(["run", "--name", "deep", ...QUIET, image, "sh", "-c", script]);
    await store.ok(["rm", "deep"]);
  });
});

describe("ps and inspect", () => {
  test("ps shows what runs, -a all of it; filters, formats and order", async () => {
    await using store = await newStore();
    await store.ok(["create", "--name", "made", "--label", "tier=back", image, "true"]);
    await store.bb(["run", "--name", "ended", "--label", "tier=front", ...QUIET, image, "sh", "-c", "exit 3"]);
    const id = await runDetached(store, ["--name", "up", "--label", "tier=front"], "sleep", "60");
    const names = async (...args: string[]): Promise<string> =>
      await store.ok(["ps", "--format", "{{.Names}}", ...args]);
    expect(await names()).toBe("up");
    expect(await names("-a")).toBe("up\nended\nmade");
    expect(await names("--filter", "status=exited")).toBe("ended");
    expect(await names("--filter", "status=created")).toBe("made");
    expect(await names("-a", "--filter", "exited=3")).toBe("ended");
    expect(await names("-a", "--filter", "label=tier=front")).toBe("up\nended");
    expect(await names("-a", "--filter", "label=tier", "--filter", "name=e")).toBe("ended\nmade");
    expect(await names("-a", "--filter", `id=${id.slice(0, 12)}`)).toBe("up");
    expect(await names("-a", "--filter", "before=up")).toBe("ended\nmade");
    expect(await names("-l")).toBe("up");
    expect(await names("-n", "2")).toBe("up\nended");
    expect(await store.ok(["ps", "-q"])).toBe(id.slice(0, 12));
    expect(await store.ok(["ps", "-q", "--no-trunc"])).toBe(id);
    expect((await store.ok(["ps", "-a"])).split("\n").map((line) => line.split(/ {2,}/).slice(0, 1)[0])).toHaveLength(
      4,
    );
    const rows = (await store.ok(["ps", "-a", "--format", "json"])).split("\n").map((line) => JSON.parse(line));
    expect(rows.map(({ Names, State }) => [Names, State])).toEqual([
      ["up", "running"],
      ["ended", "exited"],
      ["made", "created"],
    ]);
    expect(rows[0].Status).toMatch(/^Up (Less than a second|[0-9]+ seconds?)$/);
    expect(rows[1].Status).toMatch(/^Exited \(3\) (Less than a second|[0-9]+ seconds?) ago$/);
    expect(rows[2].Status).toBe("Created");
    expect((await store.bb(["ps", "--filter", "nonsense=1"])).code).toBe(125);
  });

  test("inspect tells what the kernel has", async () => {
    await using store = await newStore();
    await runDetached(store, ["--name", "seen", "-e", "A=b", "--hostname", "box"], "sleep", "60");
    const [seen] = JSON.parse(await store.ok(["inspect", "seen"]));
    expect(seen.State).toMatchObject({
      Status: "running",
      Running: true,
      Paused: false,
      ExitCode: 0,
      OOMKilled: false,
    });
    expect(readFileSync(`/proc/${seen.State.Pid}/cmdline`, "utf8")).toBe("sleep\0 60\0".replace(" ", ""));
    expect(seen.Name).toBe("/seen");
    expect(seen.Config.Hostname).toBe("box");
    expect(seen.Config.Env).toContain("A=b");
    expect([seen.Path, ...seen.Args]).toEqual(["sleep", "60"]);
    await store.ok(["kill", "seen"]);
    const [after] = JSON.parse(await store.ok(["inspect", "seen"]));
    expect(after.State).toMatchObject({ Status: "exited", Running: false, Pid: 0, ExitCode: 137 });
    expect(Date.parse(after.State.FinishedAt)).toBeGreaterThanOrEqual(Date.parse(after.State.StartedAt));
  });
});

test("create --rm stays until its first end", async () => {
  await using store = await newStore();
  await store.ok(["create", "--rm", "--name", "later", ...QUIET, image, "true"]);
  expect(await states(store)).toEqual({ later: "created" });
  await store.ok(["start", "-a", "later"]);
  await until("it to be gone", async () => Object.keys(await states(store)).length === 0);
});

test("an image that is removed while a container is made of it is missed before anything starts", async () => {
  await using store = await newStore();
  await store.ok(["init", image, "box"]);
  const directory = mkdtempSync(join(tmpdir(), "bb-fifo-"));
  // Whoever makes the container stands still here, between its look at the image and its directory.
  const profile = join(directory, "profile");
  await run(["mkfifo", profile]);
  const command = ["run", "--rm", ...QUIET, "--security-opt", `seccomp=${profile}`, "box", "true"];
  const running = store.bb(command);
  const writer = await until("the command to read the profile", () => openWriter(profile));
  await store.ok(["rmi", "box"]);
  writeFileSync(writer, '{"defaultAction":"SCMP_ACT_ALLOW"}');
  closeSync(writer);
  expect(await running).toMatchObject({ code: 125, stderr: expect.stringContaining("Cannot find image") });
  expect(idsIn(join(store.root, "containers"))).toEqual([]);
  rmSync(directory, { recursive: true });
});

test("ps and inspect show the image's own command where none was given", async () => {
  await using store = await newStore();
  await store.ok(["init", "--cmd", '["sleep","7"]', image, "box"]);
  await store.ok(["create", "--name", "one", ...QUIET, "box"]);
  expect(await store.ok(["ps", "-a", "--format", "{{.Command}}"])).toContain("sleep 7");
  expect(await inspect(store, "one", "{{json .Config.Cmd}}")).toBe('["sleep","7"]');
});

/** Opens a pipe of the file system that somebody reads; undefined as long as nobody does. */
function openWriter(path: string): number | undefined {
  try {
    return openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
}
