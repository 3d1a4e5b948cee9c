import { existsSync, readdirSync, renameSync } from "node:fs";
import { BoxError, cstr, isErrno, removeTree } from "@bantubox/ffi";
import { openDirectory, treeSize } from "@bantubox/image/files";
import { makeVolumeDirectory, nameVolume, volumeDirectory } from "../create/volumes.ts";
import type { Engine } from "../state/engine.ts";

/** Names of volumes on their way out begin with it; no volume's own name can. */
const GONE = ".gone-";

export interface VolumeSummary {
  readonly name: string;
  /** Where its files are on the host. */
  readonly mountpoint: string;
  readonly createdMs: number;
  /** Made for one container, without a name of its own. */
  readonly isAnonymous: boolean;
  /** Names of the containers that use it. */
  readonly containers: readonly string[];
}

interface Row {
  readonly name: string;
  readonly created_ms: number;
  readonly anonymous: number;
  readonly containers: string | null;
}

/** All volumes, sorted by name. */
export function listVolumes(engine: Engine): VolumeSummary[] {
  return engine.database
    .query<Row, []>(
      `SELECT v.name, v.created_ms, v.anonymous, group_concat(c.name, ' ') AS containers FROM volume v
       LEFT JOIN container_volume l ON l.volume = v.name LEFT JOIN container c ON c.id = l.container
       GROUP BY v.name ORDER BY v.name`,
    )
    .all()
    .map(({ name, created_ms, anonymous, containers }) => ({
      name,
      mountpoint: volumeDirectory(engine, name),
      createdMs: created_ms,
      isAnonymous: anonymous === 1,
      // Names of containers hold no spaces.
      containers: containers === null ? [] : containers.split(" ").sort(),
    }));
}

/** @throws {BoxError} `no-such-volume` */
export function getVolume(engine: Engine, name: string): VolumeSummary {
  const volume = listVolumes(engine).find((each) => each.name === name);
  if (volume !== undefined) return volume;
  throw new BoxError("no-such-volume", `Cannot find volume ${JSON.stringify(name)}: there is none of that name`, {
    hint: 'List them with "bb volume ls"',
  });
}

/**
 * Makes a volume; one that is there is fine.
 *
 * @param name Without it, one at random.
 * @returns Its name.
 * @throws {BoxError} `bad-name`
 */
export function createVolume(engine: Engine, name = ""): string {
  const own = nameVolume(name);
  engine.database
    .query("INSERT OR IGNORE INTO volume (name, created_ms, anonymous) VALUES (?, ?, ?)")
    .run(own, Date.now(), name === "" ? 1 : 0);
  makeVolumeDirectory(engine, own);
  return own;
}

/**
 * Deletes a volume and its files, unless a container uses it.
 *
 * @throws {BoxError} `no-such-volume`, `volume-in-use`
 */
export function removeVolume(engine: Engine, name: string): void {
  const { containers } = getVolume(engine, name);
  if (containers.length > 0 || !takeAway(engine, name)) {
    throw new BoxError(
      "volume-in-use",
      `Cannot remove volume "${name}": containers use it (${containers.join(", ")})`,
      {
        hint: "Remove these first",
      },
    );
  }
  sweepVolumes(engine);
}

/** Which volumes `pruneVolumes` deletes. */
export interface PruneVolumesOptions {
  /** Also those with a name of their own. */
  readonly all?: boolean | undefined;
}

/** Deletes the volumes that no container uses. */
export function pruneVolumes(
  engine: Engine,
  { all = false }: PruneVolumesOptions = {},
): { readonly removed: readonly string[]; readonly bytes: number } {
  const removed: string[] = [];
  let bytes = 0;
  for (const { name, isAnonymous, containers } of listVolumes(engine)) {
    if (containers.length > 0 || !(all || isAnonymous)) continue;
    const size = volumeSize(engine, name);
    if (!takeAway(engine, name)) continue;
    removed.push(name);
    bytes += size;
  }
  sweepVolumes(engine);
  return { removed, bytes };
}

/** Bytes on disk. */
export function volumeSize(engine: Engine, name: string): number {
  const path = volumeDirectory(engine, name);
  if (!existsSync(path)) return 0;
  using root = openDirectory(undefined, cstr(path), JSON.stringify(path));
  return treeSize(root.raw);
}

/**
 * Forgets a volume that nobody uses, its files set aside: from then on one of its name is another.
 *
 * @returns Whether nobody did.
 */
function takeAway(engine: Engine, name: string): boolean {
  const { database } = engine;
  const path = volumeDirectory(engine, name).slice(0, -"/_data".length);
  const aside = path.replace(/[^/]+$/, `${GONE}${crypto.randomUUID()}`);
  const take = database.transaction(() => {
    const user = database
      .query<{ container: string }, [string]>("SELECT container FROM container_volume WHERE volume = ?")
      .get(name);
    if (user !== null) return false;
    try {
      renameSync(path, aside);
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error;
    }
    database.query("DELETE FROM volume WHERE name = ?").run(name);
    return true;
  });
  return take.immediate();
}

/** Deletes the files of volumes that have been taken away, by whomever. */
function sweepVolumes({ root }: Engine): void {
  const parent = `${root}/volumes`;
  if (!existsSync(parent)) return;
  for (const name of readdirSync(parent)) {
    if (name.startsWith(GONE)) removeTree(`${parent}/${name}`);
  }
}
