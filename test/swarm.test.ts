/** The example: a Docker Swarm of three machines, every container of which is run by our OCI runtime. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { missing, PROJECT, until } from "./harness.ts";
import { patience } from "./patience.ts";
import { BB_OCI } from "./sandbox.ts";

const absent = ["dockerd", "containerd", "docker", "ip", "iptables", "busybox"].filter((name) => !Bun.which(name));
const isMissing = missing(`${absent.join(", ")} not installed`, absent.length > 0) || missing(...vxlan());

/** What one run of the example is, and what it may leave. */
interface Run {
  readonly child: Bun.Subprocess<"ignore", "pipe", "inherit">;
  readonly directory: string;
}

/** A replica as the example lists it. */
interface Replica {
  readonly task: string;
  readonly machine: string;
  readonly runtime: string;
  readonly state: string;
}

describe.skipIf(isMissing)("a swarm of three machines", () => {
  let sections: Map<string, string>;
  let started: Run;

  beforeAll(async () => {
    started = start();
    sections = split(await new Response(started.child.stdout).text());
  }, 400_000);
  afterAll(async () => {
    // Interrupted by the limit above, it has things of its own to end first.
    started.child.kill("SIGTERM");
    await started.child.exited;
    rmSync(started.directory, { recursive: true, force: true });
  }, 120_000);

  test("the example ends well, and leaves nothing", async () => {
    expect(await started.child.exited).toBe(0);
    expect(leftovers(started)).toEqual([]);
  });

  test("replicas are spread over all machines, and bb-oci runs each", () => {
    const replicas = replicasOf(section("A service"));
    expect(replicas.map(({ task }) => task).sort()).toEqual(tasks);
    expect([...new Set(replicas.map(({ machine }) => machine))]).toEqual(["one", "two", "three"]);
    expectOurs(replicas);
  });

  test("a container reaches those of other machines by the service's name", () => {
    const placed = replicasOf(section("A service")).map(({ task, machine }) => `${task} on ${machine}`);
    expect(section("A container on machine one asks").split("\n")).toEqual(placed.sort());
  });

  test("a replica that the runtime kills is replaced", () => {
    const replicas = replicasOf(section("A replica is killed"));
    expect(replicas.map(({ task }) => task).sort()).toEqual(tasks);
    expectOurs(replicas);
  });

  test.each([
    ["a drained machine's replicas move to the others", "Machine two is drained", ["one", "three"]],
    ["a lost machine's replicas are started elsewhere", "Machine three loses its network", ["one"]],
  ])("%s", (_, title, machines) => {
    const replicas = replicasOf(section(title));
    expect(replicas.map(({ task }) => task).sort()).toEqual(tasks);
    expect([...new Set(replicas.map(({ machine }) => machine))]).toEqual(machines);
    expectOurs(replicas);
  });

  test("interrupted, the example ends all that it started", async () => {
    const run = start();
    await until("its machines", () => existsSync(join(run.directory, place(run), "three/dockerd.log")), 60_000);
    run.child.kill("SIGTERM");
    expect(await run.child.exited).toBe(143);
    expect(leftovers(run)).toEqual([]);
    rmSync(run.directory, { recursive: true });
  }, 120_000);

  function section(title: string): string {
    const found = [...sections].find(([name]) => name.startsWith(title));
    if (found === undefined) throw new Error(`The example did not get as far as: ${title}`);
    return found[1];
  }
});

const tasks = ["web.1", "web.2", "web.3", "web.4", "web.5", "web.6"];

function start(): Run {
  const directory = mkdtempSync(join(tmpdir(), "bb-swarm-test-"));
  const child = Bun.spawn([join(PROJECT, "examples/swarm/swarm.sh"), BB_OCI], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, TMPDIR: directory, PATIENCE: String(patience(120)) },
  });
  return { child, directory };
}

/** The example's own directory below the one it was given. */
function place({ directory }: Run): string {
  return readdirSync(directory)[0] ?? "none yet";
}

function leftovers({ child, directory }: Run): string[] {
  const groups = ["", ...readdirSync("/sys/fs/cgroup")].map((name) => join("/sys/fs/cgroup", name));
  const processes = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && commandOf(name).includes(directory));
  return [
    ...readdirSync(directory),
    ...groups.map((group) => join(group, `bb-swarm-${child.pid}`)).filter(existsSync),
    ...processes.map((pid) => `process ${pid} ${commandOf(pid)}`),
  ];
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
}

/** What follows each line `== TITLE`. */
function split(output: string): Map<string, string> {
  const parts = output.split(/^== /m).slice(1);
  return new Map(parts.map((part) => [part.slice(0, part.indexOf("\n")), part.slice(part.indexOf("\n") + 1).trim()]));
}

function replicasOf(text: string): Replica[] {
  const rows = text.matchAll(/^(?<task>web\.\d) +(?<machine>\w+) +(?<runtime>\w+) +(?<state>\w*)$/gm);
  return [...rows].map(({ groups = {} }) => {
    const { task = "", machine = "", runtime = "", state = "" } = groups;
    return { task, machine, runtime, state };
  });
}

function expectOurs(replicas: readonly Replica[]): void {
  for (const { runtime, state } of replicas) expect(`${runtime} ${state}`).toBe("bantubox running");
}

/** @returns A reason to skip, and whether there is one: overlay networks are made of VXLAN links. */
function vxlan(): [string, boolean] {
  const command = "ip link add vxlan0 type vxlan id 1 dstport 4789";
  const { exitCode } = Bun.spawnSync(["unshare", "--net", "sh", "-c", command], { stderr: "ignore" });
  return ["the kernel has no VXLAN, of which Docker's overlay networks are made", exitCode !== 0];
}
