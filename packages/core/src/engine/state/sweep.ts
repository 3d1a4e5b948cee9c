import { detectCgroups, killCgroup, removeCgroup } from "@bantubox/cgroup";
import { existsSync, nodeFs } from "@bantubox/ffi";
import { GONE } from "../../runtime/records.ts";
import { removeFiles } from "../life/remove-files.ts";
import { cgroupPath, containerDirectory, type Engine, runDirectory } from "./engine.ts";
import { releaseHeld, sweepAddresses } from "./leases.ts";
import { tryLock, tryLockDirectory } from "./lock.ts";
import { tendReserve } from "./reserve.ts";
import { readRowless } from "./rowless.ts";
import { removeRows } from "./rows.ts";
import { readStatus } from "./status.ts";

const ID = /^[0-9a-f]{64}$/;

/**
 * Finds what killed commands and monitors have left, and clears it away: whoever
 * is responsible for a container holds its lock, the kernel says what runs, and
 * everything that belongs to a container carries its ID.
 *
 * Commands that do not have to be fast call this first; it does nothing when nothing is left.
 */
export function sweepAll(engine: Engine): void {
  const known = new Set<string>();
  for (const { id, auto_remove, started_ms } of allRows(engine)) {
    known.add(id);
    if (auto_remove === 1) sweepEnded(engine, id, started_ms ?? undefined);
  }
  const names = namesIn(`${engine.root}/containers`, "");
  for (const id of names) {
    if (!ID.test(id) || known.has(id)) continue;
    const rowless = readRowless(engine, id);
    if (rowless !== undefined) {
      known.add(id);
      sweepEnded(engine, id, rowless.startedMs);
      continue;
    }
    using lock = tryLock(engine, id);
    if (lock === undefined || hasRow(engine, id)) continue;
    removeCompletely(engine, id);
  }
  for (const name of names) {
    if (!name.startsWith(GONE)) continue;
    const path = `${engine.root}/containers/${name}`;
    // Its monitor is still removing it, unless that was killed.
    using lock = tryLockDirectory(path);
    if (lock !== undefined) removeFiles(path);
  }
  tendReserve(engine.root);
  for (const id of namesIn(engine.runRoot, "")) {
    if (ID.test(id) && !known.has(id) && !existsSync(containerDirectory(engine, id))) removeCompletely(engine, id);
  }
  sweepAddresses(engine);
}

/** Removes a `--rm` container that has ended, and that nobody is responsible for. */
function sweepEnded(engine: Engine, id: string, startedMs: number | undefined): void {
  if (!existsSync(containerDirectory(engine, id))) {
    removeRows(engine, id);
    return;
  }
  // Made by `create --rm`, it waits for its first start.
  if (startedMs === undefined) return;
  using lock = tryLock(engine, id);
  // A container whose monitor was killed goes on without it.
  if (lock === undefined || readStatus(engine, { id, startedMs }).state === "running") return;
  removeCompletely(engine, id);
}

interface Row {
  readonly id: string;
  readonly auto_remove: number;
  readonly started_ms: number | null;
}

/** No more than is needed: of a thousand containers, reading what they run takes longer than all else. */
function allRows({ database }: Engine): Row[] {
  return database.query<Row, []>("SELECT id, auto_remove, started_ms FROM container").all();
}

/**
 * Kills, frees and removes everything of a container, whatever of it there is. The caller holds its lock.
 *
 * The row goes before the directory: a directory without one is swept, and until it is gone nobody can make
 * another of its name.
 */
export function removeCompletely(engine: Engine, id: string, withVolumes = true): void {
  const host = detectCgroups();
  killCgroup(host, cgroupPath(id));
  removeCgroup(host, cgroupPath(id));
  nodeFs().rmSync(runDirectory(engine, id), { recursive: true, force: true });
  removeRows(engine, id, withVolumes);
  releaseHeld(engine, id);
  removeFiles(containerDirectory(engine, id));
}

function hasRow({ database }: Engine, id: string): boolean {
  return database.query<{ id: string }, [string]>("SELECT id FROM container WHERE id = ?").get(id) !== null;
}

function namesIn(parent: string, beginning: string): string[] {
  return existsSync(parent)
    ? nodeFs()
        .readdirSync(parent)
        .filter((name) => name.startsWith(beginning))
    : [];
}
