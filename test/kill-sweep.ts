/**
 * kill -9 at system call after system call of a command, by strace.
 *
 * Few points of each call are visited; BANTUBOX_SWEEP=all visits them all, each call by itself (of several that are
 * named together, strace counts each, and the first to get there ends the command), and says how many they were.
 */
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { missing, run, type Store } from "./harness.ts";

export const hasStrace = !missing("strace is not installed", Bun.which("strace") === null);
export const isWhole = process.env["BANTUBOX_SWEEP"] === "all";
const POINTS_MAX = isWhole ? 1000 : 2;

export interface Sweep {
  readonly store: Store;
  /** How `bb` is brought into its mount namespace. */
  readonly prefix?: readonly string[];
  /** Before each point. */
  readonly prepare?: () => Promise<unknown>;
  readonly command: readonly string[];
  /** Names of system calls, several of one kind with commas between. */
  readonly calls: readonly string[];
  /** The distance of points, unless all are visited. */
  readonly step?: number;
  /** What a user does next, and what must come of it. */
  readonly next: (what: string) => Promise<void>;
}

/** Kills the command at points of all these calls. @returns How many points there were. */
export async function sweep(options: Sweep): Promise<number> {
  const { store, prefix = [], prepare, command, step = 3, next } = options;
  const trace = join(tmpdir(), `bb-trace-${process.pid}`);
  const bb = store.command.slice(prefix.length);
  const calls = isWhole ? options.calls.flatMap((each) => each.split(",")) : options.calls;
  let points = 0;
  for (const call of calls) {
    const before = points;
    for (let n = 1, visited = 0; visited < POINTS_MAX; n += isWhole ? 1 : step, visited++) {
      await prepare?.();
      const inject = ["-e", `trace=${call}`, "-e", `inject=${call}:signal=SIGKILL:when=${n}`];
      const strace = ["strace", "-f", "-qq", "-o", trace, ...inject];
      const { stderr } = await run([...prefix, ...strace, ...bb, ...command], { timeoutMs: 60_000 });
      const traced = await Bun.file(trace).text();
      rmSync(trace);
      await next(`a kill at ${call} ${n} of bb ${command.join(" ")}\n${stderr}`);
      if (!traced.includes("killed by SIGKILL")) break;
      points++;
    }
    if (isWhole) console.error(`${command.join(" ")}: ${points - before} points of ${call}`);
  }
  return points;
}
