import { detectCgroups, killCgroup, removeCgroup } from "@bantubox/cgroup";
import { existsSync, nodeFs } from "@bantubox/ffi";
import { releaseAddress } from "@bantubox/net";
import { GONE } from "../runtime/records.ts";
import { allContainers } from "./container.ts";
import { cgroupPath, containerDirectory, type Engine, runDirectory } from "./engine.ts";
import { tryLock, tryLockDirectory } from "./lock.ts";
import { readStatus } from "./status.ts";

/** How many rows of ended `--rm` containers a start clears away: more than it adds, so that they never pile up. */
const SWEPT_AT_ONCE = 4;

/**
 * Deletes rows of containers that removed themselves: the monitor, which speaks
 * no SQL, has taken their directories away. Part of the caller's transaction, and cheap.
 *
 * @param name A name that the caller wants: its holder is looked at too.
 */
export function sweepEnded(engine: Engine, name: string | undefined): void {
  const rows = engine.database
    .query<{ id: string }, [string, number]>(
      `SELECT id FROM container WHERE auto_remove = 1 AND name = ?1 UNION
       SELECT id FROM (SELECT id FROM container WHERE auto_remove = 1 ORDER BY created_ms LIMIT ?2)`,
    )
    .all(name ?? "", SWEPT_AT_ONCE);
  // A container's directory is made before its row, so one without it has ended.
  for (const { id } of rows) if (!existsSync(containerDirectory(engine, id))) removeRows(engine, id);
}

/** Forgets a container: its row, its lease, and the anonymous volumes that nobody else uses. */
export function removeRows(engine: Engine, id: string, withVolumes = true): void {
  const { database } = engine;
  const volumes = withVolumes
    ? database
        .query<{ name: string }, [string]>(
          `SELECT v.name FROM volume v JOIN container_volume c ON c.volume = v.name WHERE c.container = ?1 AND v.anonymous = 1
           AND NOT EXISTS (SELECT 1 FROM container_volume o WHERE o.volume = v.name AND o.container <> ?1)`,
        )
        .all(id)
    : [];
  // Files first: as long as the rows are there, the next command knows what is to be finished.
  for (const { name } of volumes) nodeFs().rmSync(`${engine.root}/volumes/${name}`, { recursive: true, force: true });
  database.transaction(() => {
    releaseAddress(database, id);
    database.query("DELETE FROM container WHERE id = ?").run(id);
    for (const { name } of volumes) database.query("DELETE FROM volume WHERE name = ?").run(name);
  })();
}

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
    if (lock !== undefined) nodeFs().rmSync(path, { recursive: true, force: true });
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
  nodeFs().rmSync(containerDirectory(engine, id), { recursive: true, force: true });
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
