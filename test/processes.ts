/** What /proc says of processes that may end at any moment. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { run } from "./tools.ts";

/** Whether a process runs; one that has ended, and that nobody has taken note of, does not. */
export function isAlive(pid: number): boolean {
  const status = statusOf(pid);
  return status !== "" && !/^State:\t[ZX]/m.test(status);
}

/** A process's parent. @throws {Error} When there is no such process: to a signal, 0 would be everybody. */
export function parentOf(pid: number): number {
  const parent = /^PPid:\t([0-9]+)$/m.exec(statusOf(pid))?.[1];
  if (parent === undefined) throw new Error(`There is no process ${pid}`);
  return Number(parent);
}

/** Who becomes the parent of those that our children leave: PID 1, or a subreaper that we run below. */
export async function adopter(): Promise<number> {
  const { stdout } = await run(["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"]);
  const orphan = Number(stdout);
  try {
    return parentOf(orphan);
  } finally {
    process.kill(orphan, "SIGKILL");
  }
}

/** Where a process's descriptors lead; without those that are closed meanwhile. */
export function descriptorsOf(pid: number): Record<string, string> {
  const directory = `/proc/${pid}/fd`;
  const targets: Record<string, string> = {};
  for (const fd of readdirSync(directory)) {
    try {
      targets[fd] = readlinkSync(`${directory}/${fd}`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  return targets;
}

function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    return "";
  }
}
