import { detectCgroups, killCgroup, removeCgroup } from "@bantubox/cgroup";
import { existsSync, nodeFs } from "@bantubox/ffi";
import { GONE } from "../runtime/records.ts";
import { allContainers } from "./container.ts";
import { cgroupPath, containerDirectory, type Engine, runDirectory } from "./engine.ts";
import { tryLock, tryLockDirectory } from "./lock.ts";
import { removeFiles } from "./remove-files.ts";
import { removeRows } from "./rows.ts";
import { readStatus } from "./status.ts";

/**
 * Finds what killed commands and monitors have left, and clears it away: whoever
 * is responsible for a container holds its lock, the kernel says what runs, and
 * everything that belongs to a container carries its ID.
 *
 * Commands that do not have to be fast call this first; it does nothing when nothing is left.
 */
export function sweepAll(engine: Engine): void {
  const known = new Set<string>();
  for (const container of allContainers(engine)) {
    known.add(container.id);
    if (!container.autoRemove) continue;
    if (!existsSync(containerDirectory(engine, container.id))) {
      removeRows(engine, container.id);
      continue;
    }
    // Made by `create --rm`, it waits for its first start.
    if (container.startedMs === undefined) continue;
    using lock = tryLock(engine, container.id);
    // A container whose monitor was killed goes on without it.
    if (lock === undefined || readStatus(engine, container).state === "running") continue;
    removeCompletely(engine, container.id);
  }
  for (const id of idsIn(`${engine.root}/containers`)) {
    if (known.has(id)) continue;
    using lock = tryLock(engine, id);
    if (lock === undefined || hasRow(engine, id)) continue;
    removeCompletely(engine, id);
  }
  for (const name of namesIn(`${engine.root}/containers`, GONE)) {
    const path = `${engine.root}/containers/${name}`;
    // Its monitor is still removing it, unless that was killed.
    using lock = tryLockDirectory(path);
    if (lock !== undefined) removeFiles(path);
  }
  for (const id of idsIn(engine.runRoot)) {
    if (!known.has(id) && !existsSync(containerDirectory(engine, id))) removeCompletely(engine, id);
  }
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
  removeFiles(containerDirectory(engine, id));
}

function hasRow({ database }: Engine, id: string): boolean {
  return database.query<{ id: string }, [string]>("SELECT id FROM container WHERE id = ?").get(id) !== null;
}

/** Names of containers' directories in `parent`. */
function idsIn(parent: string): string[] {
  return namesIn(parent, "").filter((name) => /^[0-9a-f]{64}$/.test(name));
}

function namesIn(parent: string, beginning: string): string[] {
  return existsSync(parent)
    ? nodeFs()
        .readdirSync(parent)
        .filter((name) => name.startsWith(beginning))
    : [];
}
