import { AT, allocate, attempt, cstr, Fd, isErrno, nodeFs, readIfThere } from "@bantubox/ffi";
import { buildFact } from "@bantubox/ffi/facts";
import { isAlive, parseStat } from "../../runtime/process-stat.ts";
import { RECORD } from "../../runtime/records.ts";
import type { ExecOptions } from "../create/options.ts";
import type { Container } from "../state/container.ts";
import { type Engine, runDirectory } from "../state/engine.ts";
import { NOT_KEPT, readKept, writeKept } from "./kept-file.ts";

/**
 * Plans of `bb exec` are kept in the container's run directory, and go with it
 * when it ends: the same command in the same container differs by nothing but
 * the handle on its process, whose number is always the same.
 *
 * `names/TEXT` remembers which container somebody called TEXT, so that no
 * database has to be asked; `forgetNames` takes it back when that may have changed.
 */
export interface KeptExec {
  readonly id: string;
  readonly pidfd: Fd;
  readonly plan: Uint8Array;
  /** Files of the container's cgroups that say whether it is frozen. */
  readonly freezers: readonly string[];
}

type Facts = Pick<KeptExec, "freezers">;

const ID_LENGTH = 64;
/** What `ps` shows of an ID. */
const SHORT_LENGTH = 12;

/** The key of an exec whose plan can be kept: users are looked up in the container, which may change. */
export function execKey(options: ExecOptions): string | undefined {
  if (options.user !== undefined) return undefined;
  return `${JSON.stringify(options)}\0${buildFact().value}`;
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
  if (isAlive(pid, ticks)) return { id, pidfd, plan: kept.plan, freezers: kept.facts.freezers };
  pidfd.close();
  return undefined;
}

/**
 * Keeps the plan of an exec into a container, which was called `text`.
 *
 * @returns Whether it is remembered under that name from now on: then the caller looks once more whether it still has
 * it, since whoever gave it away may have made all names forgotten just before.
 */
export function keepExec(
  engine: Engine,
  text: string,
  { id, name }: Container,
  key: string,
  facts: Facts,
  plan: Uint8Array,
): boolean {
  const fs = nodeFs();
  try {
    writeKept(runDirectory(engine, id), key, facts, plan);
    // The short beginning of an ID may be another container's too by the next time.
    if (!(text === name || (id.startsWith(text) && text.length >= SHORT_LENGTH)) || readName(engine, text) === id)
      return false;
    fs.mkdirSync(`${engine.runRoot}/names`, { mode: 0o700, recursive: true });
    fs.rmSync(`${engine.runRoot}/names/${text}`, { force: true });
    fs.symlinkSync(id, `${engine.runRoot}/names/${text}`);
    return true;
  } catch (error) {
    // The container ended meanwhile, or another exec was faster: nothing depends on it.
    if (!isErrno(error, "EEXIST", ...NOT_KEPT)) throw error;
  }
  return false;
}

/** Forgets all that containers were called, once one of them is called otherwise: by then everybody finds it so. */
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
