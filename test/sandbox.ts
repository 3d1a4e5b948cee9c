/**
 * A machine within the machine for other container engines: network, mounts and processes of its own, over the same
 * files. Their daemons and containers end with it, and so do their links, mounts and firewall rules.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isAlive } from "./processes.ts";
import { makeBusybox, type Result, run, until } from "./tools.ts";

/** The runtime that the engines are given. */
export const BB_OCI = process.env["BB_OCI"] ?? join(import.meta.dir, "../dist/bb-oci");

export interface Sandbox extends AsyncDisposable {
  /** A directory of the host's for everything that an engine keeps. */
  readonly directory: string;
  /** A cgroup below which containers may have theirs, in every hierarchy: `/bb-engines-N`. */
  readonly cgroup: string;
  /** Put before a command, makes it run inside. */
  readonly prefix: readonly string[];
  run(
    command: readonly string[],
    options?: { stdin?: string; env?: Record<string, string>; timeoutMs?: number },
  ): Promise<Result>;
  /** As `run`, for what must succeed. @returns Standard output, without its last newline. */
  ok(
    command: readonly string[],
    options?: { stdin?: string; env?: Record<string, string>; timeoutMs?: number },
  ): Promise<string>;
  /** Starts a daemon that ends with the sandbox; its output goes to `directory/NAME.log`. */
  start(name: string, command: readonly string[], env?: Record<string, string>): void;
}

const TMPFS = 0x0102_1994;

/** PID 1 reaps what daemons leave, says when it stands, and lasts until it is killed. */
const INIT = `
mount --make-rshared /
mount -t tmpfs tmpfs /run
ip link set lo up
trap : CHLD
echo ready
while :; do sleep 1000 & wait; done
`;

export async function newSandbox(): Promise<Sandbox> {
  const directory = mkdtempSync(join(tmpdir(), "bb-engines-"));
  const cgroup = `/bb-engines-${process.pid}-${Date.now()}`;
  const holder = Bun.spawn(
    ["unshare", "--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc", "bash", "-c", INIT],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  await firstLine(holder.stdout);
  const init = readFileSync(`/proc/${holder.pid}/task/${holder.pid}/children`, "utf8").trim();
  const prefix = ["nsenter", "--target", init, "--net", "--mount", "--pid", "--ipc", "--"];
  const runInside: Sandbox["run"] = (command, options) => run([...prefix, ...command], options);
  return {
    directory,
    cgroup,
    prefix,
    run: runInside,
    async ok(command, options) {
      const result = await runInside(command, options);
      if (result.code === 0) return result.stdout.replace(/\n$/, "");
      throw new Error(`${command.join(" ")}: status ${result.code}\n${result.stderr}${result.stdout}`);
    },
    start(name, command, env = {}) {
      const log = Bun.file(join(directory, `${name}.log`));
      Bun.spawn([...prefix, ...command], { stdio: ["ignore", log, log], env: { ...process.env, ...env } });
    },
    async [Symbol.asyncDispose]() {
      holder.kill("SIGKILL");
      await holder.exited;
      await until("the sandbox's last process to end", () => !isAlive(Number(init)), 20_000);
      await until("its cgroups to be removed", () => removeCgroups(cgroup), 20_000);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** An archive of busybox's root directory, to import as an image. */
export async function busyboxArchive(directory: string): Promise<string> {
  const [root, archive] = [mkdtempSync(join(directory, "root-")), join(directory, "busybox.tar")];
  await makeBusybox(root);
  const { code, stderr } = await run(["tar", "-C", root, "-cf", archive, "."]);
  if (code !== 0) throw new Error(stderr);
  return archive;
}

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<void> {
  const reader = stream.getReader();
  await reader.read();
  reader.releaseLock();
}

/** @returns Whether nothing of it is left. */
function removeCgroups(path: string): boolean {
  const base = "/sys/fs/cgroup";
  const tops = [base, ...readdirSync(base).map((name) => join(base, name))].map((top) => top + path);
  const { stdout } = Bun.spawnSync(["find", ...tops, "-depth", "-type", "d"], { stderr: "ignore" });
  const groups = stdout.toString().split("\n").filter(Boolean);
  // Where a controller has no hierarchy, Podman makes plain directories and files.
  for (const top of tops) if (existsSync(top) && statfsSync(top).type === TMPFS) rmSync(top, { recursive: true });
  return groups.length === 0 || Bun.spawnSync(["rmdir", ...groups], { stderr: "ignore" }).exitCode === 0;
}
