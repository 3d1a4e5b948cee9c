/** One step of a longer script: says what it does, and runs it with this very Bun first in PATH. */
import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const ROOT = join(import.meta.dir, "..");

export function say(text: string): void {
  process.stdout.write(`\n==> ${text}\n`);
}

/** Runs `command` in the checkout, its output passed through. @returns Its exit status. */
export function run(command: readonly string[], env: Record<string, string> = {}): number {
  const { exitCode } = Bun.spawnSync([...command], {
    cwd: ROOT,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, PATH: path(), ...env },
  });
  return exitCode;
}

/** As `run`, for what nothing can go on without. */
export function must(command: readonly string[]): void {
  const status = run(command);
  if (status === 0) return;
  console.error(`"${command.join(" ")}" ended with status ${status}`);
  process.exit(1);
}

let bin: string | undefined;

/** Under npx, Bun is neither in PATH for certain nor called "bun". */
function path(): string {
  if (bin === undefined) {
    const directory = join(tmpdir(), `bantubox-bin-${process.pid}`);
    mkdirSync(directory, { mode: 0o700 });
    for (const name of ["bun", "bunx"]) symlinkSync(process.execPath, join(directory, name));
    process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
    bin = directory;
  }
  return `${bin}:${process.env["PATH"] ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}`;
}
