import { isErrno, nodeFs, readIfThere } from "@bantubox/ffi";
import { isAlive, parseStat } from "../../runtime/process-stat.ts";
import { RECORD } from "../../runtime/records.ts";
import { containerDirectory, type Engine, runDirectory } from "./engine.ts";
import { isLocked } from "./lock.ts";

/** What a container is, as the kernel and the records have it. */
export type Status =
  | {
      readonly state: "created";
      /** 0, or how its first start failed. */
      readonly exitCode: number;
    }
  | { readonly state: "running"; readonly pid: number; readonly startTicks: string }
  | {
      readonly state: "exited";
      /** As a shell has it: 128 + n for a signal. 255 when nobody was left to see it end. */
      readonly exitCode: number;
      readonly finishedMs: number | undefined;
      readonly isOomKilled: boolean;
    };

/** Nobody was left to see it end. */
const ENDED_UNSEEN: Extract<Status, { state: "exited" }> = {
  state: "exited",
  exitCode: 255,
  finishedMs: undefined,
  isOomKilled: false,
};

/** Which containers may run: the others have no run directory. */
export function idsThatMayRun({ runRoot }: Engine): ReadonlySet<string> {
  return new Set(nodeFs().readdirSync(runRoot));
}

/**
 * Looks at the container itself: a row never says whether something runs.
 *
 * The start record holds a pid and when it started; both must still fit, or
 * the pid is somebody else's by now. The run directory does not survive a
 * reboot, after which every pid is somebody else's.
 *
 * @param mayRun Of `idsThatMayRun`, when many are asked for.
 */
export function readStatus(
  engine: Engine,
  { id, startedMs }: { id: string; startedMs: number | undefined },
  mayRun?: ReadonlySet<string>,
): Status {
  const start = mayRun?.has(id) === false ? undefined : readIfThere(`${runDirectory(engine, id)}/${RECORD.pid}`);
  if (start !== undefined) {
    const [pid, ticks] = parseStat(start);
    if (isAlive(pid, ticks)) return { state: "running", pid, startTicks: ticks };
  }
  const path = `${containerDirectory(engine, id)}/${RECORD.exit}`;
  const exit = mayRun === undefined ? readIfThere(path) : readByNode(path);
  const ended = exit === undefined ? undefined : parseExit(exit);
  // Every start writes that it was one before there is anything to end, and takes that back where nothing began.
  if (startedMs === undefined && start === undefined) return { state: "created", exitCode: ended?.exitCode ?? 0 };
  if (ended !== undefined) return ended;
  // Whoever starts a container has its lock before there is a process to see.
  if (startedMs === undefined || isLocked(engine, id)) return { state: "created", exitCode: 0 };
  // Its monitor was killed before it could write the record, or the machine went down.
  return ENDED_UNSEEN;
}

/** As `readIfThere`: the quicker of the two once node:fs is loaded and there are many to read. */
function readByNode(path: string): string | undefined {
  try {
    return nodeFs().readFileSync(path, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}

/** The exit record: `<wait status> <ns since the epoch>`, then the memory group's events. One that a power cut has torn tells nothing. */
function parseExit(text: string): Extract<Status, { state: "exited" }> {
  const [first = "", ...events] = text.split("\n");
  const [, status, ns] = /^([0-9]+) ([0-9]+)$/.exec(first) ?? [];
  if (status === undefined) return ENDED_UNSEEN;
  const oom = events.find((line) => line.startsWith("oom_kill "));
  return {
    state: "exited",
    exitCode: exitCodeOf(Number(status)),
    finishedMs: Math.floor(Number(ns) / 1e6),
    isOomKilled: oom !== undefined && oom !== "oom_kill 0",
  };
}

/** A shell's status of one of wait(2). */
export function exitCodeOf(wait: number): number {
  const signal = wait & 0x7f;
  return signal === 0 ? (wait >> 8) & 0xff : 128 + signal;
}
