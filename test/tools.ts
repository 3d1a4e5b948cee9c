/** What tests and benchmarks do alike: run programs, wait, make a root. */
import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { patience } from "./patience.ts";

export interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface BbOptions {
  readonly stdin?: string | undefined;
  readonly env?: Record<string, string> | undefined;
  readonly cwd?: string | undefined;
  /** Give up (and kill it, with all that it runs) after so long; BB_PATIENCE makes it longer. */
  readonly timeoutMs?: number;
}

/** Runs a program to its end, and to that of its output. @throws {Error} After `timeoutMs`. */
export async function run(
  command: readonly string[],
  { stdin, env, cwd, timeoutMs = 60_000 }: BbOptions = {},
): Promise<Result> {
  const child = Bun.spawn([...command], {
    stdin: stdin === undefined ? "ignore" : new TextEncoder().encode(stdin),
    stdout: "pipe",
    stderr: "pipe",
    ...(env === undefined ? {} : { env: { ...process.env, ...env } }),
    ...(cwd === undefined ? {} : { cwd }),
  });
  const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)];
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    for (const pid of [...descendants(child.pid), child.pid]) end(pid);
    // What has left the family may keep its output open.
    stdout.stop();
    stderr.stop();
  }, patience(timeoutMs));
  const code = await child.exited;
  await Promise.all([stdout.end, stderr.end]);
  clearTimeout(timer);
  if (!isLate) return { code, stdout: stdout.text(), stderr: stderr.text() };
  throw new Error(
    `Waited ${patience(timeoutMs)} ms for: ${command.join(" ")}\n${stderr.text().slice(-2000)}${stdout.text().slice(-2000)}`,
  );
}

interface Collected {
  readonly end: Promise<void>;
  text(): string;
  /** Reads no further. */
  stop(): void;
}

function collect(stream: ReadableStream<Uint8Array>): Collected {
  const parts: Uint8Array[] = [];
  const reader = stream.getReader();
  const read = async (): Promise<void> => {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      parts.push(value);
    }
  };
  return {
    end: read(),
    text: () => new TextDecoder().decode(Buffer.concat(parts)),
    stop: () => void reader.cancel(),
  };
}

/** Every process below one, also where each has been put into a namespace of its own. */
function descendants(pid: number): number[] {
  try {
    const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").split(" ").filter(Boolean).map(Number),
    );
    return children.flatMap((child) => [...descendants(child), child]);
  } catch {
    // It has ended.
    return [];
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}

/** Waits until `check` gives something. @throws {Error} After `timeoutMs`, which BB_PATIENCE makes longer. */
export async function until<T>(what: string, check: () => T | Promise<T>, timeoutMs = 10_000): Promise<NonNullable<T>> {
  const deadline = performance.now() + patience(timeoutMs);
  for (;;) {
    const value = await check();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`Waited ${patience(timeoutMs)} ms for: ${what}`);
    await Bun.sleep(20);
  }
}

/** Fills `root` with busybox, an /etc with a few users, and the directories of a small distribution. */
export async function makeBusybox(root: string): Promise<string> {
  chmodSync(root, 0o755);
  for (const name of ["bin", "etc", "tmp", "root", "home/user", "var", "usr/bin"])
    mkdirSync(join(root, name), { recursive: true });
  await copyFile("/bin/busybox", join(root, "bin/busybox"));
  const { stdout } = await run(["/bin/busybox", "--list"]);
  for (const name of stdout.split("\n")) {
    if (name !== "" && name !== "busybox") symlinkSync("busybox", join(root, "bin", name));
  }
  await Bun.write(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n");
  await Bun.write(join(root, "etc/group"), "root:x:0:\nwheel:x:10:root,user\nuser:x:1000:\nextra:x:2000:user\n");
  return root;
}
