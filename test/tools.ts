/** What tests and benchmarks do alike: run programs, wait, make a root. */
import { chmodSync, mkdirSync, symlinkSync } from "node:fs";
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
  /** Give up (and kill it) after so long; BB_PATIENCE makes it longer. */
  readonly timeoutMs?: number;
}

/** Runs a program to its end. */
export async function run(
  command: readonly string[],
  { stdin, env, cwd, timeoutMs = 60_000 }: BbOptions = {},
): Promise<Result> {
  const child = Bun.spawn([...command], {
    stdin: stdin === undefined ? "ignore" : new TextEncoder().encode(stdin),
    stdout: "pipe",
    stderr: "pipe",
    timeout: patience(timeoutMs),
    ...(env === undefined ? {} : { env: { ...process.env, ...env } }),
    ...(cwd === undefined ? {} : { cwd }),
  });
  const [stdout, stderr] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, stdout, stderr };
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
