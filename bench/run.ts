/**
 * Measures BantuBox against whatever peers this host has, in one interleaved run.
 *
 *     bun bench/run.ts [--only NAME]... [--runs N] [--json FILE] [--layer FILE.tar.gz]
 *
 * What counts are the ratios: milliseconds say more about the machine. Run it as root, on a quiet one.
 */
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Glob } from "bun";
import { openEngine, runContainer } from "../packages/core/src/mod.ts";
import { startDockerd } from "./dockerd.ts";
import { cpuTime, interleave, type Sample, type Subject, summarize, time } from "./measure.ts";
import { findBwrap, findPodman, findRuntime, type Runtime } from "./peers.ts";
import { type Benchmark, runBenchmarks } from "./report.ts";
import { makeRoot } from "./root.ts";

const PROJECT = join(import.meta.dir, "..");
const BB = process.env["BB"] ?? join(PROJECT, "dist/bb");
const IMAGE = "bench";
const NAMESPACE_MARK = "BANTUBOX_BENCH_NAMESPACE";

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true },
    runs: { type: "string", default: "25" },
    json: { type: "string" },
    layer: { type: "string" },
  },
});
const runs = Number(values.runs);
if (!Number.isInteger(runs) || runs < 1) throw new Error(`--runs takes a number from 1, not "${values.runs}"`);

// The bridge and its rules are made in a network namespace that goes with this program.
if (process.env[NAMESPACE_MARK] !== "1") {
  const command = ["unshare", "--net", process.execPath, ...process.argv.slice(1)];
  const child = Bun.spawnSync(command, {
    env: { ...process.env, [NAMESPACE_MARK]: "1" },
    stdio: ["inherit", "inherit", "inherit"],
  });
  process.exit(child.exitCode);
}

const directory = mkdtempSync(join(tmpdir(), "bb-bench-"));
const [storeRoot, runRoot] = [join(directory, "lib"), join(directory, "run")];
const bb = [BB, "--root", storeRoot, "--run-root", runRoot];
const missing: string[] = [];
try {
  await main();
} finally {
  rmSync(directory, { recursive: true, force: true });
}

async function main(): Promise<void> {
  const root = makeRoot(join(directory, "root"));
  const floor = buildFloor();
  time([...bb, "init", root, IMAGE]);
  await runBenchmarks(benchmarks(root, floor, findRuntimes(root)), {
    only: values.only,
    runs,
    missing,
    json: values.json,
  });
}

function buildFloor(): string {
  const program = join(directory, "floor");
  const compiler = Bun.which("cc") ?? Bun.which("gcc");
  if (compiler === null) throw new Error("A C compiler is needed for the floor program: install gcc");
  time([
    compiler,
    "-O2",
    "-static",
    "-Wall",
    "-Wextra",
    "-Wno-format-truncation",
    "-o",
    program,
    join(import.meta.dir, "floor.c"),
  ]);
  return program;
}

function findRuntimes(root: string): Runtime[] {
  const runtimes: Runtime[] = [];
  for (const name of ["runc", "crun"] as const) {
    const runtime = findRuntime(name, root, directory);
    if (runtime === undefined) missing.push(`${name} (not installed)`);
    else if (Bun.spawnSync([...runtime.run("try")]).exitCode !== 0) missing.push(`${name} (it does not run here)`);
    else runtimes.push(runtime);
  }
  return runtimes;
}

function benchmarks(root: string, floor: string, runtimes: readonly Runtime[]): Benchmark[] {
  return [
    {
      name: "start",
      title: "cold: run --rm --network none IMAGE true",
      unit: "ms",
      targets: [
        { subject: "bb", peer: "runc", atMost: 0.35 },
        { subject: "bb", peer: "crun", atMost: 1 },
      ],
      run: () => measureStart(root, floor, runtimes),
    },
    {
      name: "bridge",
      title: "cold: run --rm IMAGE true, with an address on the bridge",
      unit: "ms",
      targets: [
        { subject: "bb", peer: "docker", atMost: 0.06 },
        { subject: "bb", peer: "podman", atMost: 0.06 },
      ],
      run: () => measureBridge(root),
    },
    {
      name: "exec",
      title: "cold: exec CONTAINER true",
      unit: "ms",
      targets: [
        { subject: "bb", peer: "runc", atMost: 0.3 },
        { subject: "bb", peer: "crun", atMost: 1 },
      ],
      run: () => measureExec(runtimes),
    },
    {
      name: "warm",
      title: "in process: runContainer() of true",
      unit: "ms",
      targets: [{ subject: "library", peer: "floor", atMost: 1.5 }],
      run: () => measureWarm(root, floor),
    },
    {
      name: "monitor",
      title: "memory of an idle container's monitor",
      unit: "KB PSS",
      targets: [{ subject: "bb", peer: "100 KB", atMost: 1 }],
      run: measureMonitor,
    },
    {
      name: "extract",
      title: "extraction of a gzip layer",
      unit: "CPU s",
      targets: [{ subject: "bb", peer: "tar -xzf", atMost: 0.5 }],
      run: measureExtraction,
    },
  ];
}

function measureStart(root: string, floor: string, runtimes: readonly Runtime[]): Promise<Sample[]> {
  const state = join(directory, "floor-cold");
  mkdirSync(state);
  const subjects = [
    command("bb", [...bb, "run", "--rm", "--network", "none", IMAGE, "true"]),
    command("bb ./dir", [...bb, "run", "--rm", "--network", "none", root, "true"]),
    command("floor", [floor, root, state, "/bin/true", "1"]),
  ];
  let id = 0;
  for (const { name, run } of runtimes) subjects.push({ name, once: () => time(run(`start${id++}`)) });
  const bwrap = findBwrap(root);
  if (bwrap === undefined) missing.push("bwrap (not installed)");
  else subjects.push(command("bwrap", bwrap));
  return interleave(subjects, runs);
}

async function measureBridge(root: string): Promise<Sample[]> {
  const run = ["run", "--rm", IMAGE, "true"];
  const subjects = [
    command("bb", [...bb, ...run]),
    command("bb none", [...bb, ...run.toSpliced(2, 0, "--network", "none")]),
  ];
  await using dockerd = await startDockerd(root);
  if (dockerd === undefined) missing.push("docker (not installed)");
  else subjects.push(command("docker", [...dockerd.docker, "run", "--rm", "busybox", "true"]));
  const podman = findPodman(root);
  if (typeof podman === "string") missing.push(`podman (${podman})`);
  else subjects.push(command("podman", podman.run));
  try {
    return await interleave(subjects, runs);
  } finally {
    if (typeof podman !== "string") podman.remove();
  }
}

async function measureExec(runtimes: readonly Runtime[]): Promise<Sample[]> {
  time([...bb, "run", "-d", "--name", "exec", "--network", "none", IMAGE, "sleep", "100000"]);
  const subjects = [command("bb", [...bb, "exec", "exec", "true"])];
  const ends = [(): void => void time([...bb, "rm", "--force", "exec"])];
  for (const runtime of runtimes) {
    runtime.start("exec");
    subjects.push({ name: runtime.name, once: () => time(runtime.exec("exec")) });
    ends.push(() => runtime.remove("exec"));
  }
  const samples = await interleave(subjects, runs);
  for (const end of ends) end();
  return samples;
}

/** Warm means compiled by the JIT: this takes some hundred runs. */
async function measureWarm(root: string, floor: string): Promise<Sample[]> {
  const WARM_UP = 100;
  const engine = openEngine({ root: storeRoot, runRoot });
  const state = join(directory, "floor-warm");
  mkdirSync(state);
  await using child = Bun.spawn([floor, root, state, "/bin/true"], { stdin: "pipe", stdout: "pipe" });
  const answers = child.stdout.getReader();
  const ask = async (): Promise<number> => {
    child.stdin.write("\n");
    await child.stdin.flush();
    const { value } = await answers.read();
    return Number(new TextDecoder().decode(value)) / 1e6;
  };
  const library = async (): Promise<number> => {
    const before = Bun.nanoseconds();
    const { exitCode } = await runContainer(engine, { image: IMAGE, command: ["true"], network: "none" });
    if (exitCode !== 0) throw new Error(`runContainer: status ${exitCode}`);
    return (Bun.nanoseconds() - before) / 1e6;
  };
  for (let i = 0; i < WARM_UP; i++) await library();
  const samples = await interleave(
    [
      { name: "library", once: library },
      { name: "floor", once: ask },
    ],
    runs * 4,
  );
  await child.stdin.end();
  await child.exited;
  return samples;
}

async function measureMonitor(): Promise<Sample[]> {
  const COUNT = 5;
  const pss: number[] = [];
  for (let i = 0; i < COUNT; i++) {
    const name = `monitor${i}`;
    time([...bb, "run", "-d", "--name", name, "--network", "none", IMAGE, "sleep", "100000"]);
  }
  for (let i = 0; i < COUNT; i++) {
    const { stdout } = Bun.spawnSync([...bb, "inspect", `monitor${i}`]);
    const [{ State }] = JSON.parse(stdout.toString());
    const parent = field(`/proc/${State.Pid}/status`, "PPid");
    pss.push(field(`/proc/${parent}/smaps_rollup`, "Pss"));
  }
  for (let i = 0; i < COUNT; i++) time([...bb, "rm", "--force", `monitor${i}`]);
  return [summarize("bb", pss), summarize("100 KB", [100])];
}

async function measureExtraction(): Promise<Sample[]> {
  const layer = values.layer ?? makeLayer();
  // What a disk does with dirty pages, and when, is not extraction's doing.
  const parent = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : directory, "bb-bench-"));
  const target = join(parent, "layer");
  const extracted = (name: string, command: readonly string[], makesDirectory: boolean): Subject => ({
    name,
    once: () => {
      if (!makesDirectory) mkdirSync(target);
      const { cpuSec, wallSec } = cpuTime(command);
      walls.set(name, [...(walls.get(name) ?? []), wallSec]);
      rmSync(target, { recursive: true });
      return cpuSec;
    },
  });
  const walls = new Map<string, number[]>();
  const subjects = [
    extracted("bb", [compileExtract(), layer, target], true),
    extracted("tar -xzf", ["tar", "-xzf", layer, "-C", target], false),
  ];
  const samples = await interleave(subjects, Math.min(runs, 5)).finally(() => rmSync(parent, { recursive: true }));
  const bytes = Number(Bun.spawnSync(["sh", "-c", `gzip -dc '${layer}' | wc -c`]).stdout.toString());
  for (const [name, seconds] of walls) {
    const best = Math.min(...seconds);
    console.log(`${name}: ${(bytes / 1e6 / best).toFixed(0)} MB/s at best, of ${(bytes / 1e6).toFixed(0)} MB unpacked`);
  }
  return samples;
}

/** extract.ts as an executable, which is what runs when people pull. */
function compileExtract(): string {
  const program = join(directory, "extract");
  const entries = ["extract.ts", "../packages/image/src/layer/layer-worker.ts"].map((name) =>
    join(import.meta.dir, name),
  );
  const compile = ["build", "--compile", "--minify", "--bytecode", "--format=esm", "--splitting"];
  // By their bare names, as in scripts/build.ts.
  time([process.execPath, ...compile, "--entry-naming=[name].[ext]", ...entries, "--outfile", program]);
  return program;
}

/** A layer as distributions have them: libraries and programs of this host, and its many small settings. */
function makeLayer(): string {
  const LIMIT_BYTES = 256 << 20;
  const layer = join(directory, "layer.tar.gz");
  const list = join(directory, "layer.list");
  const names: string[] = [];
  const inodes = new Set<number>();
  let bytes = 0;
  for (const part of ["etc", "usr/sbin", `usr/lib/${process.arch === "arm64" ? "aarch64" : "x86_64"}-linux-gnu`]) {
    const found = [...new Glob("**").scanSync({ cwd: join("/", part), onlyFiles: false, dot: true })].toSorted();
    for (const name of [part, ...found.map((child) => join(part, child))]) {
      const { size, ino } = lstatSync(join("/", name));
      // Hard links are stored once.
      const added = inodes.has(ino) ? 0 : size;
      if (bytes + added > LIMIT_BYTES) continue;
      bytes += added;
      inodes.add(ino);
      names.push(name);
    }
  }
  writeFileSync(list, names.join("\n"));
  time(["tar", "-C", "/", "-czf", layer, "--no-recursion", "-T", list]);
  return layer;
}

function command(name: string, words: readonly string[]): Subject {
  return { name, once: () => time(words) };
}

/** The number behind `name:` in a file of /proc. */
function field(path: string, name: string): number {
  const line = readFileSync(path, "utf8")
    .split("\n")
    .find((text) => text.startsWith(`${name}:`));
  return Number.parseInt(line?.slice(name.length + 1) ?? "", 10);
}
