/** Runs a program to its end, for a limited time. */
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { patience } from "../../test/patience.ts";

interface Options {
  readonly cwd: string;
  readonly env: Record<string, string>;
  /** Where its output may lie meanwhile. */
  readonly scratch: string;
  readonly timeoutSeconds: number;
  /**
   * What it mounts is seen by itself alone, and ends with it: mistakes of a runtime, and what tests mount to be seen
   * from outside (default true).
   */
  readonly ownMounts?: boolean;
}

export interface Finished {
  /** Both streams, as they came. */
  readonly output: string;
  readonly code: number;
  readonly seconds: number;
  readonly timedOut: boolean;
}

const IN_OWN_MOUNTS = ["unshare", "--mount", "--propagation", "private"];

/** The status of timeout(1) when it had to end the program. */
const TIMED_OUT = 124;

let count = 0;

export async function finish(command: readonly string[], options: Options): Promise<Finished> {
  const began = performance.now();
  // A file, not a pipe: a container that outlives the program would hold the pipe open.
  const log = join(options.scratch, `output-${++count}`);
  const fd = openSync(log, "a");
  const limit = ["timeout", "--kill-after=5", String(patience(options.timeoutSeconds))];
  const child = Bun.spawn([...(options.ownMounts === false ? [] : IN_OWN_MOUNTS), ...limit, ...command], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ["ignore", fd, fd],
  });
  closeSync(fd);
  const code = await child.exited;
  const seconds = (performance.now() - began) / 1000;
  return { output: readFileSync(log, "utf8"), code, seconds, timedOut: code === TIMED_OUT };
}
