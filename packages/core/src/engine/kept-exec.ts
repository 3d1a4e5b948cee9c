import { AT, allocate, attempt, cstr, Fd, isErrno, nodeFs, readIfThere } from "@bantubox/ffi";
import { RECORD } from "../runtime/records.ts";
import { type Engine, runDirectory } from "./engine.ts";
import { buildOf, readKept, writeKept } from "./kept-file.ts";
import type { ExecOptions } from "./options.ts";
import { isAlive, parseStat } from "./status.ts";

/**
 * Plans of `bb exec` are kept in the container's run directory, and go with it
 * when it ends: the same command in the same container differs by nothing but
 * the handle on its process, whose number is always the same.
 *
 * `names/TEXT` remembers which container somebody called TEXT, so that no
 * database has to be asked; `forgetName` takes it back when that may change.
 */
export interface KeptExec {
  readonly pidfd: Fd;
  readonly plan: Uint8Array;
}

interface Facts {
  /** Files of the container's cgroups that say whether it is frozen. */
  readonly freezers: readonly string[];
}

const ID_LENGTH = 64;

/** The key of an exec whose plan can be kept: users are looked up in the container, which may change. */
export function execKey(options: ExecOptions): string | undefined {
  if (options.user !== undefined) return undefined;
  return `${JSON.stringify(options)}\0${buildOf()}`;
}

/** The kept plan of an exec into a container that runs, and is not paused. Whatever else it is, the longer way explains. */
export function recallExec(engine: Engine, text: string, key: string): KeptExec | undefined {
  const id = readName(engine, text);
  if (id === undefined) return undefined;
  const directory = runDirectory(engine, id);
  const kept = readKept<Facts>(directory, key);
  const start = kept && readIfThere(`${directory}/${RECORD.pid}`);
  if (kept === undefined || start === undefined) return undefined;
  for (const path of kept.facts.freezers) if (saysFrozen(readIfThere(path) ?? "")) return undefined;
  const [pid, ticks] = parseStat(start);
  const raw = attempt("pidfd_open", pid, 0);
  if (raw < 0) return undefined;
  const pidfd = new Fd(raw);
  // Only now: before, the pid could have become somebody else's in between.
  if (isAlive(pid, ticks)) return { pidfd, plan: kept.plan };
  pidfd.close();
  return undefined;
}

/** Keeps the plan of an exec into container `id`, which was called `text`. */
export function keepExec(engine: Engine, text: string, id: string, key: string, facts: Facts, plan: Uint8Array): void {
  const fs = nodeFs();
  try {
    writeKept(runDirectory(engine, id), key, facts, plan);
    if (!isPlainName(text) || readName(engine, text) === id) return;
    fs.mkdirSync(`${engine.runRoot}/names`, { mode: 0o700, recursive: true });
    fs.rmSync(`${engine.runRoot}/names/${text}`, { force: true });
    fs.symlinkSync(id, `${engine.runRoot}/names/${text}`);
  } catch (error) {
    // The container ended meanwhile, or another exec was faster: nothing depends on it.
    if (!isErrno(error, "ENOENT", "EEXIST")) throw error;
  }
}

/** Forgets all that containers were called, before any of them is called otherwise. */
export function forgetNames({ runRoot }: Engine): void {
  nodeFs().rmSync(`${runRoot}/names`, { recursive: true, force: true });
}

function readName({ runRoot }: Engine, text: string): string | undefined {
  if (!isPlainName(text)) return undefined;
  const memory = allocate(ID_LENGTH + 1);
  const n = attempt("readlinkat", AT.FDCWD, cstr(`${runRoot}/names/${text}`), memory, memory.length);
  return n === ID_LENGTH ? new TextDecoder().decode(memory.subarray(0, n)) : undefined;
}

function isPlainName(text: string): boolean {
  return text !== "" && !text.startsWith(".") && !text.includes("/") && text.length < 256;
}

/** v1's freezer.state, or v2's cgroup.events. */
function saysFrozen(text: string): boolean {
  return text.startsWith("FR") || text.includes("frozen 1");
}
