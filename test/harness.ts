/**
 * Drives the real binary on the real kernel, each test with a store of its own.
 * When the store is disposed of, nothing of its containers may be left on the host.
 */
import { afterAll } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { leftBehind } from "./left-behind.ts";
import { type BbOptions, makeBusybox, type Result, run, until } from "./tools.ts";

export { type BbOptions, makeBusybox, type Result, run, until } from "./tools.ts";

export const PROJECT = join(import.meta.dir, "..");
export const BB = process.env["BB"] ?? join(PROJECT, "dist/bb");

/** A store and a run directory of one test. */
export interface Store extends AsyncDisposable {
  readonly root: string;
  readonly runRoot: string;
  /** Runs `bb` with this store; everything it prints is collected. */
  bb(args: readonly string[], options?: BbOptions): Promise<Result>;
  /** As `bb`, for calls that must succeed. @returns Standard output without its last newline. */
  ok(args: readonly string[], options?: BbOptions): Promise<string>;
  /** The arguments before a command of one's own spawning. */
  readonly command: readonly string[];
}

const OWN_PLACE: Place = { seen: tmpdir(), path: tmpdir(), prefix: [] };

/** Where a store is made, when that is not this process's own /tmp. */
export interface Place {
  /** A directory, as this process reaches it and as `bb` does. */
  readonly seen: string;
  readonly path: string;
  /** What `bb` is run by: `nsenter …`. */
  readonly prefix: readonly string[];
  /** Flags before every command. */
  readonly flags?: readonly string[];
}

/** Makes a store; `await using store = await newStore()` checks at its end that nothing leaks. */
export async function newStore({ seen, path, prefix, flags = [] }: Place = OWN_PLACE): Promise<Store> {
  const directory = mkdtempSync(join(seen, "bb-test-"));
  const [root, runRoot] = [join(directory, "lib"), join(directory, "run")];
  const inside = join(path, basename(directory));
  const command = [...prefix, BB, "--root", join(inside, "lib"), "--run-root", join(inside, "run"), ...flags];
  const bb = (args: readonly string[], options?: BbOptions): Promise<Result> => run([...command, ...args], options);
  return {
    root,
    runRoot,
    command,
    bb,
    async ok(args, options) {
      const result = await bb(args, options);
      if (result.code === 0) return result.stdout.replace(/\n$/, "");
      throw new Error(`bb ${args.join(" ")}: status ${result.code}\n${result.stderr}${result.stdout}`);
    },
    async [Symbol.asyncDispose]() {
      const ids = (await bb(["ps", "-aq", "--no-trunc"])).stdout.split("\n").filter((id) => id !== "");
      if (ids.length > 0) await bb(["rm", "-f", ...ids]);
      // A --rm container's files go after its client; whoever waits for more than the container waits here.
      await until(
        "the last files to be removed",
        () => !namesIn(join(root, "containers")).some((n) => n.startsWith(".gone-")),
      );
      const leaks = leaksOf(root, runRoot, ids);
      rmSync(directory, { recursive: true, force: true });
      leftBehind(leaks);
    },
  };
}

/** What is still there of a store's containers: directories, cgroups, mounts, processes, links. */
function leaksOf(root: string, runRoot: string, ids: readonly string[]): string[] {
  const leaks: string[] = [];
  for (const path of [join(root, "containers"), runRoot]) {
    for (const name of idsIn(path)) leaks.push(`directory ${join(path, name)}`);
  }
  const mounts = readFileSync("/proc/self/mountinfo", "utf8");
  for (const line of mounts.split("\n")) if (line.includes(root) || line.includes(runRoot)) leaks.push(`mount ${line}`);
  for (const id of ids) {
    for (const path of cgroupsOf(id)) leaks.push(`cgroup ${path}`);
  }
  for (const pid of readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name))) {
    const command = readText(`/proc/${pid}/cmdline`);
    if (command.includes(root)) leaks.push(`process ${pid} ${command.replaceAll("\0", " ")}`);
  }
  return leaks;
}

/** The containers that have something of theirs in a directory. */
export function idsIn(path: string): string[] {
  return existsSync(path) ? readdirSync(path).filter((name) => /^[0-9a-f]{64}$/.test(name)) : [];
}

/** Directories of a container's cgroups that exist. */
export function cgroupsOf(id: string): string[] {
  const base = "/sys/fs/cgroup";
  const bases = [base, ...readdirSync(base).map((name) => join(base, name))];
  return bases.map((path) => join(path, "bantubox", id)).filter((path) => existsSync(path));
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

let busybox: Promise<string> | undefined;

/** A root directory with busybox and all its applets, made once for the whole run. Not to be written to. */
export function busyboxRoot(): Promise<string> {
  busybox ??= makeBusybox(mkdtempSync(join(tmpdir(), "bb-busybox-")));
  return busybox;
}

// Bun runs no "exit" handlers after tests. With --isolate each file has a harness of its own, and so a root.
afterAll(async () => {
  if (busybox !== undefined) rmSync(await busybox, { recursive: true, force: true });
  busybox = undefined;
});

/** Why a test cannot run here, or false; with BANTUBOX_REQUIRE_ALL=1 that is a failure instead of a skip. */
export function missing(reason: string, isMissing: boolean): boolean {
  if (!isMissing) return false;
  if (process.env["BANTUBOX_REQUIRE_ALL"] === "1") throw new Error(`Cannot test: ${reason}`);
  console.error(`skipped: ${reason}`);
  return true;
}

function namesIn(path: string): string[] {
  return existsSync(path) ? readdirSync(path) : [];
}
