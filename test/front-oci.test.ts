/**
 * The front of bb-oci carries out what is like an earlier command but for its IDs. Whether it was the
 * front is told by what only Bun calls: epoll_create1.
 */
import { afterAll, describe, expect, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { allNumbers } from "../ffi/src/nr.ts";
import { busyboxRoot, missing, PROJECT, type Result, run, until } from "./harness.ts";
import { patience } from "./patience.ts";

const BB_OCI = process.env["BB_OCI"] ?? join(PROJECT, "dist/bb-oci");
const cannotTrace = missing("strace is not installed", Bun.which("strace") === null);
const directory = mkdtempSync(join(tmpdir(), "bb-front-oci-"));
const root = join(directory, "state");
/** Below it is what all containers have. */
const GROUP = `bb-front-test-${process.pid}`;
/** Makes a kind of its own of each test's commands, whatever earlier runs have left. */
let salt = "";

function groupTops(): string[] {
  const base = "/sys/fs/cgroup";
  return [base, ...readdirSync(base).map((name) => join(base, name))].map((path) => join(path, GROUP));
}

afterAll(async () => {
  const left = existsSync(root) ? readdirSync(root) : [];
  for (const id of left) await run([BB_OCI, "--root", root, "delete", "--force", id]);
  // What a failed test has left below goes first: of a cgroup only directories are removed.
  for (const group of groupTops())
    if (existsSync(group)) expect((await run(["find", group, "-depth", "-type", "d", "-delete"])).stderr).toBe("");
  rmSync(directory, { recursive: true });
});

interface Traced extends Result {
  readonly byFront: boolean;
}

interface Around {
  readonly env?: Record<string, string>;
  readonly cwd?: string;
  /** Words in front, which execute what follows. */
  readonly prefix?: readonly string[];
  readonly program?: string;
}

async function oci(args: readonly string[], around: Around = {}): Promise<Traced> {
  const { env = {}, cwd, prefix = [], program = BB_OCI } = around;
  const trace = join(directory, "trace");
  // Only the first process: what is created stays.
  const strace = ["strace", "-qq", "-o", trace, "-e", "trace=epoll_create1"];
  // Into files: what is created keeps its streams, and so a pipe would not end.
  const [out, err] = [join(directory, "out"), join(directory, "err")];
  const shell = ["sh", "-c", 'out=$1 err=$2; shift 2; exec "$@" >"$out" 2>"$err"', "sh", out, err];
  const { code } = await run([...prefix, ...shell, ...strace, program, "--root", root, ...args], {
    env,
    ...(cwd && { cwd }),
  });
  const result = { code, stdout: readFileSync(out, "utf8"), stderr: readFileSync(err, "utf8") };
  const byFront = !readFileSync(trace, "utf8").includes("epoll_create1");
  return { ...result, byFront };
}

function newId(): string {
  return `a0${Buffer.from(crypto.getRandomValues(new Uint8Array(31))).toString("hex")}`;
}

/** A bundle as an engine makes it: a directory and a config.json of its own, with the ID in several places. */
async function bundle(
  id: string,
  script: string,
  change: (config: Record<string, never>) => void = () => {},
): Promise<string> {
  const path = join(directory, "bundles", id);
  mkdirSync(path, { recursive: true });
  const config = {
    ociVersion: "1.0.2",
    process: {
      user: { uid: 0, gid: 0 },
      args: ["/bin/sh", "-c", script],
      env: ["PATH=/bin", `HOSTNAME=${id.slice(0, 12)}`, `SALT=${salt}`],
      cwd: "/",
    },
    root: { path: await busyboxRoot(), readonly: true },
    hostname: id.slice(0, 12),
    annotations: { "org.example.container": id },
    mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
    linux: {
      cgroupsPath: `/${GROUP}/${id}`,
      resources: { memory: { limit: 137438953472 }, pids: { limit: 100 } },
      namespaces: ["pid", "mount", "ipc", "uts", "network"].map((type) => ({ type })),
    },
  };
  change(config as never);
  writeFileSync(join(path, "config.json"), JSON.stringify(config));
  return path;
}

async function runOne(
  script: string,
  change?: (config: Record<string, never>) => void,
  around?: Around,
): Promise<Traced & { id: string }> {
  const id = newId();
  return { id, ...(await oci(["run", "--bundle", await bundle(id, script, change), id], around)) };
}

describe.skipIf(cannotTrace)("the front of bb-oci", () => {
  test("runs a container like the last one, with its own ID wherever that stands", async () => {
    salt = "like";
    const script = "hostname; echo $HOSTNAME; cat /proc/self/cgroup; exit 3";
    // The parent of their groups is one of the facts, and is not there before the first.
    await runOne("true");
    const [first, second, third] = [await runOne(script), await runOne(script), await runOne(script)];
    expect([first.byFront, second.byFront, third.byFront]).toEqual([false, true, true]);
    for (const { id, code, stdout } of [first, second, third]) {
      expect(code).toBe(3);
      expect(stdout.split("\n").slice(0, 2)).toEqual([id.slice(0, 12), id.slice(0, 12)]);
      expect(stdout).toContain(`/${GROUP}/${id}`);
    }
    expect(second.stdout).not.toContain(first.id.slice(0, 12));
  });

  test("takes an ID that people chose for one where it is a name of its own", async () => {
    salt = "short";
    await runOne("true");
    const runs: Traced[] = [];
    for (const id of ["sys-1", "sys-2", "sys-3", "web-9"]) {
      const change = (config: { hostname?: string }): void => {
        config.hostname = id;
      };
      runs.push(
        await oci(["run", "--bundle", await bundle(id, "hostname; cat /proc/self/cgroup", change as never), id]),
      );
      expect(runs.at(-1)?.stdout).toStartWith(`${id}\n`);
      expect(runs.at(-1)?.stdout).toContain(`/${GROUP}/${id}`);
    }
    expect(runs.map(({ byFront }) => byFront)).toEqual([false, true, true, true]);
  });

  test("leaves to Bun what differs by more than IDs", async () => {
    salt = "differs";
    const script = "true";
    for (let i = 0; i < 2; i++) await runOne(script);
    expect((await runOne(script)).byFront).toBe(true);
    expect((await runOne("true; true")).byFront).toBe(false);
    const limit = (config: { linux?: { resources: { memory: { limit: number } } } }): void => {
      if (config.linux) config.linux.resources.memory.limit = 137438953473;
    };
    expect((await runOne(script, limit as never)).byFront).toBe(false);
    expect((await runOne(script)).byFront).toBe(true);
    expect((await runOne(script, undefined, { env: { NOTIFY_SOCKET: "/run/none" } })).byFront).toBe(false);
  });

  test("takes no number of config.json for one among the words that is the same", async () => {
    salt = "numbers";
    const numbers = ["7654321", "7654322", "7654323"];
    const change = (config: { process?: { env: string[] } }): void => {
      config.process?.env.push("NUMBER=N7654321");
    };
    for (const id of numbers) {
      const path = await bundle(newId(), "echo $NUMBER", change as never);
      expect(await oci(["run", "--bundle", path, id])).toMatchObject({ code: 0, stdout: "N7654321\n" });
    }
  });

  test("reads the configuration that Bun reads, however it is named", async () => {
    salt = "named";
    for (const flag of [
      (path: string) => ["-bundle", path],
      (path: string) => ["--b", path],
      (path: string) => [`-b=${path}`],
    ]) {
      const path = await bundle(newId(), "echo old");
      const elsewhere = mkdtempSync(join(directory, "elsewhere-"));
      copyFileSync(join(path, "config.json"), join(elsewhere, "config.json"));
      const once = (): Promise<Traced> => oci(["run", ...flag(path), newId()], { cwd: elsewhere });
      for (let i = 0; i < 2; i++) expect(await once()).toMatchObject({ code: 0, stdout: "old\n" });
      const config = join(path, "config.json");
      writeFileSync(config, readFileSync(config, "utf8").replace("echo old", "echo new"));
      expect(await once()).toMatchObject({ code: 0, stdout: "new\n" });
    }
  });

  test("raises the limit of open files as Bun does, or leaves it to Bun", async () => {
    salt = "limits";
    const limited = { prefix: ["prlimit", "--nofile=512:4096"] };
    const fromBun = (await runOne("true; ulimit -n", undefined, limited)).stdout;
    for (let i = 0; i < 2; i++) await runOne("ulimit -n");
    expect((await runOne("ulimit -n")).byFront).toBe(true);
    expect((await runOne("ulimit -n", undefined, limited)).stdout).toBe(fromBun);
  });

  test("carries out nothing that another executable has compiled", async () => {
    salt = "build";
    for (let i = 0; i < 2; i++) await runOne("true");
    expect((await runOne("true")).byFront).toBe(true);
    const program = join(directory, "bb-oci-copy");
    copyFileSync(BB_OCI, program);
    expect((await runOne("true", undefined, { program })).byFront).toBe(false);
  });

  test("creates what Bun starts, shows and deletes", async () => {
    salt = "creates";
    const made: string[] = [];
    for (let i = 0; i < 3; i++) {
      const id = newId();
      const path = await bundle(id, "sleep 100");
      const pidFile = join(path, "init.pid");
      const created = await oci(["create", "--bundle", path, "--pid-file", pidFile, id]);
      expect([created.byFront, created.code, created.stderr]).toEqual([i > 0, 0, ""]);
      const state = JSON.parse((await oci(["state", id])).stdout);
      expect(state).toMatchObject({ id, bundle: path, status: "created", pid: Number(readFileSync(pidFile, "utf8")) });
      expect(Math.abs(Date.parse(state.created) - Date.now())).toBeLessThan(patience(60_000));
      expect(state.annotations).toEqual({ "org.example.container": id });
      made.push(id);
    }
    for (const id of made) {
      expect((await oci(["start", id])).code).toBe(0);
      expect(JSON.parse((await oci(["state", id])).stdout).status).toBe("running");
      expect((await oci(["delete", "--force", id])).code).toBe(0);
      expect((await oci(["state", id])).code).toBe(1);
    }
  });

  test("needs less than 40 MB for a container of a kind that was never made before", async () => {
    salt = newId();
    const profile = {
      defaultAction: "SCMP_ACT_ERRNO",
      architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
      syscalls: [
        { names: allNumbers().map(([name]) => name), action: "SCMP_ACT_ALLOW" },
        { names: ["personality"], action: "SCMP_ACT_ALLOW", args: [{ index: 0, value: 8, op: "SCMP_CMP_EQ" }] },
      ],
    };
    const change = (config: { linux?: Record<string, unknown> }): void => {
      if (config.linux) config.linux["seccomp"] = profile;
    };
    const id = newId();
    const create = [BB_OCI, "--root", root, "create", "--bundle", await bundle(id, "sleep 100", change as never), id];
    // Whoever spawns the command leaves it their own peak: a small one is needed in between.
    const peak = `import os, resource, sys
status = os.waitpid(os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ), 0)[1]
open("${join(directory, "peak")}", "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)`;
    const streams = `exec "$@" </dev/null >${join(directory, "out")} 2>&1`;
    expect((await run(["sh", "-c", streams, "sh", "python3", "-SIc", peak, ...create])).code).toBe(0);
    expect(Number(readFileSync(join(directory, "peak"), "utf8")) * 1024).toBeLessThan(40e6);
    expect((await oci(["delete", "--force", id])).code).toBe(0);
  });

  test("execs into containers like the last one, by words and by a process file", async () => {
    salt = "execs";
    const seen: boolean[] = [];
    for (let i = 0; i < 3; i++) {
      const id = newId();
      await oci(["create", "--bundle", await bundle(id, "sleep 100"), id]);
      await oci(["start", id]);
      const words = await oci(["exec", id, "sh", "-c", "hostname; exit 4"]);
      expect([words.code, words.stdout]).toEqual([4, `${id.slice(0, 12)}\n`]);
      const file = join(directory, `process${Math.floor(Math.random() * 9e8 + 1e8)}`);
      const pidFile = join(directory, "exec.pid");
      // Behind the command, -p is its own.
      for (const name of ["/bin/true", ""]) {
        const own = await oci(["exec", id, "sh", "-c", 'echo "<$1>"', "-p", name]);
        expect(own.stdout).toBe(`<${name}>\n`);
      }
      const args = ["sh", "-c", "id -u; cat /proc/self/cgroup"];
      writeFileSync(file, JSON.stringify({ user: { uid: 1000, gid: 1000 }, args, env: ["PATH=/bin"], cwd: "/" }));
      const whole = await oci(["exec", "--process", file, "--pid-file", pidFile, id]);
      expect([whole.code, whole.stdout]).toEqual([0, expect.stringContaining(`/${GROUP}/${id}`)]);
      expect(whole.stdout).toStartWith("1000\n");
      expect(Number(readFileSync(pidFile, "utf8"))).toBeGreaterThan(1);
      seen.push(words.byFront, whole.byFront);
      await oci(["kill", id, "KILL"]);
      await until("its end", async () => JSON.parse((await oci(["state", id])).stdout).status === "stopped");
      const late = await oci(["exec", id, "sh", "-c", "hostname; exit 4"]);
      expect([late.byFront, late.code, late.stderr]).toEqual([false, 255, expect.stringContaining("stopped")]);
      await oci(["delete", id]);
    }
    expect(seen).toEqual([false, false, true, true, true, true]);
  });

  test("says as ever that an ID is taken, and leaves that container alone", async () => {
    salt = "taken";
    const id = newId();
    const path = await bundle(id, "sleep 100");
    await oci(["create", "--bundle", path, id]);
    const again = await oci(["create", "--bundle", path, id]);
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining("already exists")]);
    expect(JSON.parse((await oci(["state", id])).stdout).status).toBe("created");
    await oci(["delete", "--force", id]);
  });

  test("knows a command that cannot be run only when it is", async () => {
    salt = "fails";
    const change = (config: { process?: { args: string[] } }): void => {
      if (config.process) config.process.args = ["/bin/none"];
    };
    const results = [];
    for (let i = 0; i < 3; i++) results.push(await runOne("", change as never));
    for (const { code, stderr, id } of results) {
      expect(code).not.toBe(0);
      expect(stderr).toContain("/bin/none");
      expect((await oci(["state", id])).code).toBe(1);
    }
  });
});
