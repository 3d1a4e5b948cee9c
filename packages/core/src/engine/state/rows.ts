import { existsSync, removeTree } from "@bantubox/ffi";
import { containerDirectory, type Engine } from "./engine.ts";

/** How many rows of ended `--rm` containers a start clears away: more than it adds, so that they never pile up. */
const SWEPT_AT_ONCE = 4;

/**
 * Deletes rows of containers that removed themselves: the monitor, which speaks
 * no SQL, has taken their directories away. Part of the caller's transaction, and cheap.
 *
 * @param name A name that the caller wants: its holder is looked at too.
 */
export function sweepRows(engine: Engine, name: string | undefined): void {
  const rows = engine.database
    .query<{ id: string }, [string, number]>(
      `SELECT id FROM container WHERE auto_remove = 1 AND name = ?1 UNION
       SELECT id FROM (SELECT id FROM container WHERE auto_remove = 1 ORDER BY created_ms LIMIT ?2)`,
    )
    .all(name ?? "", SWEPT_AT_ONCE);
  // A container's directory is made before its row, so one without it has ended.
  for (const { id } of rows) if (!existsSync(containerDirectory(engine, id))) removeRows(engine, id);
}

/** Forgets a container: its row, and the anonymous volumes that nobody else uses. */
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
  for (const { name } of volumes) removeTree(`${engine.root}/volumes/${name}`);
  database.transaction(() => {
    database.query("DELETE FROM container WHERE id = ?").run(id);
    for (const { name } of volumes) database.query("DELETE FROM volume WHERE name = ?").run(name);
  })();
}
