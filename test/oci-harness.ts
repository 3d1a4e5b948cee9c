/**
 * Drives dist/bb-oci as an engine would: bundles with a busybox root, and a directory of state of each test's own.
 * When that is disposed of, nothing of its containers may be left on the host.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BbOptions, busyboxRoot, PROJECT, type Result, run, until } from "./harness.ts";
import { leftBehind } from "./left-behind.ts";

export const BB_OCI = process.env["BB_OCI"] ?? join(PROJECT, "dist/bb-oci");

/** What tests change of a default config.json. */
export interface Config {
  process: { args: string[]; terminal: boolean; env: string[]; user: { uid: number; gid: number } } & Record<
    string,
    unknown
  >;
  root: { path: string; readonly: boolean };
  mounts: Record<string, unknown>[];
  hooks?: Record<string, Record<string, unknown>[]>;
  linux: Record<string, unknown> & { namespaces: { type: string; path?: string }[]; cgroupsPath?: string };
  [name: string]: unknown;
}

export interface Runtime extends AsyncDisposable {
  readonly root: string;
  /** A directory of this test, for sockets and files. */
  readonly directory: string;
  /** The arguments before a command of one's own spawning. */
  readonly command: readonly string[];
  /** Makes a bundle whose container runs `args`. @returns Its path. */
  bundle(args: readonly string[], change?: (config: Config) => void): Promise<string>;
  /** Runs bb-oci; everything it prints is collected. */
  oci(args: readonly string[], options?: BbOptions): Promise<Result>;
  /** As `oci`, for calls that must succeed. @returns Standard output without its last newline. */
  ok(args: readonly string[], options?: BbOptions): Promise<string>;
  /** As `state` has it. */
  status(id: string): Promise<string>;
  /** A container name that nobody else has. */
  id(): string;
}

let next = 0;

/** Makes a directory of state; `await using runtime = newRuntime()` checks at its end that nothing leaks. */
export function newRuntime(): Runtime {
  const directory = mkdtempSync(join(tmpdir(), "bb-oci-test-"));
  const root = join(directory, "root");
  const command = [BB_OCI, "--root", root];
  const ids: string[] = [];
  const oci = (args: readonly string[], options?: BbOptions): Promise<Result> =>
    args.some((arg) => arg === "create" || arg === "--detach")
      ? runLeaving([...command, ...args], join(directory, "out"), options)
      : run([...command, ...args], options);
  const ok = async (args: readonly string[], options?: BbOptions): Promise<string> => {
    const { code, stdout, stderr } = await oci(args, options);
    if (code === 0) return stdout.replace(/\n$/, "");
    throw new Error(`bb-oci ${args.join(" ")}: status ${code}\n${stderr}${stdout}`);
  };
  return {
    root,
    directory,
    command,
    oci,
    ok,
    async bundle(args, change) {
      const bundle = mkdtempSync(join(directory, "bundle-"));
      await ok(["spec", "--bundle", bundle]);
      const path = join(bundle, "config.json");
      const config = JSON.parse(readFileSync(path, "utf8")) as Config;
      config.process.args = [...args];
      config.process.terminal = false;
      config.root = { path: await busyboxRoot(), readonly: true };
      change?.(config);
      writeFileSync(path, JSON.stringify(config));
      return bundle;
    },
    async status(id) {
      return (JSON.parse(await ok(["state", id])) as { status: string }).status;
    },
    id() {
      const id = `bb-test-${process.pid}-${next++}`;
      ids.push(id);
      return id;
    },
    async [Symbol.asyncDispose]() {
      const left = existsSync(root) ? readdirSync(root) : [];
      for (const id of left) await oci(["delete", "--force", id]);
      const leaks = [...leaksOf(directory), ...[...ids, ...left].flatMap(cgroupsOf)];
      rmSync(directory, { recursive: true, force: true });
      leftBehind(leaks);
    },
  };
}

/** What is left behind keeps its streams: they are files, or their readers would wait for it. */
async function runLeaving(command: readonly string[], out: string, options?: BbOptions): Promise<Result> {
  const script = `exec "$@" >${out}.1 2>${out}.2 </dev/null`;
  const { code } = await run(["sh", "-c", script, "sh", ...command], options);
  return { code, stdout: readFileSync(`${out}.1`, "utf8"), stderr: readFileSync(`${out}.2`, "utf8") };
}

/** Directories of a container's cgroups that exist. */
export function cgroupsOf(id: string): string[] {
  const base = "/sys/fs/cgroup";
  const bases = [base, ...readdirSync(base).map((name) => join(base, name))];
  return bases.map((path) => join(path, id)).filter((path) => existsSync(path));
}

function leaksOf(directory: string): string[] {
  const root = join(directory, "root");
  const left = existsSync(root) ? readdirSync(root).map((name) => `directory ${name}`) : [];
  const mounts = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => line.includes(directory));
  return [...left, ...mounts];
}

/** Makes and starts a container that stays. */
export async function started(
  runtime: Runtime,
  args: readonly string[] = ["sleep", "1000"],
  change?: (config: Config) => void,
): Promise<{ id: string; pid: number; bundle: string }> {
  const id = runtime.id();
  const bundle = await runtime.bundle(args, change);
  await runtime.ok(["run", "--detach", "--bundle", bundle, id]);
  const { pid } = JSON.parse(await runtime.ok(["state", id])) as { pid: number };
  return { id, pid, bundle };
}

/** Waits for a container's end. */
export async function stopped(runtime: Runtime, id: string): Promise<void> {
  await until(`${id} to stop`, async () => (await runtime.status(id)) === "stopped");
}

/** A directory that a container's bind mount may write to. */
export function sharedDirectory(runtime: Runtime): { path: string; mount: Record<string, unknown> } {
  const path = join(runtime.directory, "shared");
  mkdirSync(path, { recursive: true, mode: 0o777 });
  return { path, mount: { destination: "/tmp", type: "bind", source: path, options: ["rbind", "rw"] } };
}
