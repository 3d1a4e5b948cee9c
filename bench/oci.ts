/**
 * Measures bb-oci against runc, alone and below dockerd, in one interleaved run.
 *
 *     bun bench/oci.ts [--only NAME]... [--runs N] [--json FILE]
 *
 * Run it as root, on a quiet machine.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BB_OCI } from "../test/sandbox.ts";
import { startDockerd } from "./dockerd.ts";
import { interleave, peakMemory, type Sample, type Subject, time } from "./measure.ts";
import { type Benchmark, runBenchmarks } from "./report.ts";
import { makeRoot } from "./root.ts";

interface Contender {
  readonly name: string;
  /** The program and its `--root`. */
  readonly command: readonly string[];
}

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true },
    runs: { type: "string", default: "25" },
    json: { type: "string" },
  },
});
const runs = Number(values.runs);
if (!Number.isInteger(runs) || runs < 1) throw new Error(`--runs takes a number from 1, not "${values.runs}"`);
const runc = Bun.which("runc");
if (runc === null) throw new Error("runc is not installed: there is nothing to compare with");

const directory = mkdtempSync(join(tmpdir(), "bb-bench-"));
const root = makeRoot(join(directory, "root"));
const contenders: readonly Contender[] = [
  { name: "bb-oci", command: [BB_OCI, "--root", join(directory, "bb-oci-state")] },
  { name: "runc", command: [runc, "--root", join(directory, "runc-state")] },
];
/** What the containers' cgroups lie in. */
const GROUP = `/bb-bench-${process.pid}`;
const missing: string[] = [];
let containers = 0;
try {
  await runBenchmarks(benchmarks(), { only: values.only, runs, missing, json: values.json });
} finally {
  removeGroups();
  rmSync(directory, { recursive: true, force: true });
}

function benchmarks(): Benchmark[] {
  const against = (atMost: number) => [{ subject: "bb-oci", peer: "runc", atMost }];
  return [
    { name: "run", title: "run of true", unit: "ms", targets: against(0.4), run: measureRun },
    { name: "life", title: "create, start and delete of true", unit: "ms", targets: against(0.6), run: measureLife },
    { name: "exec", title: "exec of true", unit: "ms", targets: against(0.4), run: measureExec },
    {
      name: "memory",
      title: "peak memory of create: the first of its kind, and the next ones",
      unit: "MB",
      targets: [
        { subject: "first", peer: "40 MB", atMost: 1 },
        { subject: "next", peer: "40 MB", atMost: 1 },
      ],
      run: measureMemory,
    },
    { name: "docker", title: "docker run --rm of true", unit: "ms", targets: against(1), run: measureDocker },
  ];
}

function newId(): string {
  return new Bun.CryptoHasher("sha256").update(`${process.pid} ${containers++}`).digest("hex");
}

function removeGroups(): void {
  const base = "/sys/fs/cgroup";
  for (const top of [base, ...readdirSync(base).map((name) => join(base, name))]) {
    if (existsSync(top + GROUP)) rmdirSync(top + GROUP);
  }
}

/** A bundle of the container's own, as engines make them. */
function bundleOf(id: string, args: readonly string[]): string {
  const bundle = join(directory, "bundles", id);
  mkdirSync(bundle, { recursive: true });
  time([runc as string, "spec"], bundle);
  const path = join(bundle, "config.json");
  const config = JSON.parse(readFileSync(path, "utf8"));
  config.process.terminal = false;
  config.process.args = args;
  config.root = { path: root, readonly: false };
  config.hostname = id.slice(0, 12);
  config.linux.cgroupsPath = `${GROUP}/${id}`;
  writeFileSync(path, JSON.stringify(config));
  return bundle;
}

function subjects(once: (contender: Contender) => number): Subject[] {
  return contenders.map((contender) => ({ name: contender.name, once: () => once(contender) }));
}

function measureRun(): Promise<Sample[]> {
  const once = ({ command }: Contender): number => {
    const id = newId();
    const bundle = bundleOf(id, ["/bin/true"]);
    return time([...command, "run", "--bundle", bundle, id]);
  };
  return interleave(subjects(once), runs);
}

function measureLife(): Promise<Sample[]> {
  const once = ({ command }: Contender): number => {
    const id = newId();
    const bundle = bundleOf(id, ["/bin/true"]);
    const created = time([...command, "create", "--bundle", bundle, id]);
    const started = time([...command, "start", id]);
    untilStopped(command, id);
    return created + started + time([...command, "delete", id]);
  };
  return interleave(subjects(once), runs);
}

function untilStopped(command: readonly string[], id: string): void {
  for (let i = 0; i < 1000; i++) {
    const { stdout } = Bun.spawnSync([...command, "state", id]);
    if (JSON.parse(stdout.toString()).status === "stopped") return;
    Bun.sleepSync(2);
  }
  throw new Error(`Container ${id} does not end`);
}

async function measureExec(): Promise<Sample[]> {
  const ids = new Map(contenders.map(({ name }) => [name, newId()]));
  for (const { name, command } of contenders) {
    const id = ids.get(name) as string;
    time([...command, "run", "--detach", "--bundle", bundleOf(id, ["/bin/sleep", "100000"]), id]);
  }
  try {
    return await interleave(
      subjects(({ name, command }) => time([...command, "exec", ids.get(name) as string, "/bin/true"])),
      runs,
    );
  } finally {
    for (const { name, command } of contenders) time([...command, "delete", "--force", ids.get(name) as string]);
  }
}

/** What was carried out before is not there in a new state directory's first create. */
async function measureMemory(): Promise<Sample[]> {
  let kinds = 0;
  const create = (args: readonly string[]): number => {
    const id = newId();
    const bundle = bundleOf(id, args);
    const [{ command }] = contenders as [Contender];
    const megabytes = peakMemory([...command, "create", "--bundle", bundle, id]);
    time([...command, "delete", "--force", id]);
    return megabytes;
  };
  return await interleave(
    [
      { name: "first", once: () => create(["/bin/true", `${process.pid}-${kinds++}`]) },
      { name: "next", once: () => create(["/bin/true"]) },
      { name: "40 MB", once: () => 40 },
    ],
    Math.min(runs, 10),
  );
}

async function measureDocker(): Promise<Sample[]> {
  await using dockerd = await startDockerd(root, ["--add-runtime", `bb=${BB_OCI}`]);
  if (dockerd === undefined) {
    missing.push("docker run (dockerd is not installed)");
    return [];
  }
  const run = (name: string, runtime: string): Subject => ({
    name,
    once: () => time([...dockerd.docker, "run", "--rm", "--runtime", runtime, "busybox", "true"]),
  });
  return await interleave([run("bb-oci", "bb"), run("runc", "runc")], runs);
}
