import { Database } from "bun:sqlite";
import { BoxError, existsSync, isErrno, writeNewSync } from "@bantubox/ffi";
import { createImageTables } from "@bantubox/image/store";
import { tendReserve, withReserve } from "./reserve.ts";

/** Raised with every change of the tables; an engine refuses a store that is newer than itself. */
const VERSION = 2;
/** The version of what lies below the mount of a store that has a file system of its own; see elsewhere.ts. */
export const ELSEWHERE_VERSION = 0x6d6e74;
/** With a hundred commands at once on a slow machine each has its turn late; SQLite itself asks every 100 ms. */
const BUSY_TIMEOUT_MS = 60_000;

/**
 * Opens the rows of everything that needs a name or an allocation: uniqueness is
 * a constraint there, and any number of `bb` processes may run at once.
 *
 * WAL with synchronous=NORMAL: a crash of ours loses nothing, a power cut at
 * most the last commands, whose files are collected then.
 */
export function openDatabase(path: string): Database {
  // SQLite gives its other files the mode of this one.
  if (!existsSync(path)) writeNew(path);
  return withReserve(path.slice(0, path.lastIndexOf("/")), () => {
    const database = new Database(path, { create: true, strict: true });
    try {
      return prepare(database, path);
    } catch (error) {
      database.close();
      throw error;
    }
  });
}

function prepare(database: Database, path: string): Database {
  database.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
  database.run("PRAGMA journal_mode = WAL");
  database.run("PRAGMA synchronous = NORMAL");
  database.run("PRAGMA foreign_keys = ON");
  const row = database.query<{ user_version: number }, []>("PRAGMA user_version").get();
  const version = row?.user_version ?? 0;
  if (version === ELSEWHERE_VERSION) throw notMounted(database, path);
  if (version > VERSION) {
    throw new BoxError("newer-store", `Cannot use "${path}": a newer BantuBox has written it`, {
      hint: "Update this one, or name another store with --root",
    });
  }
  if (version < VERSION) {
    database.transaction(() => createTables(database)).immediate();
    tendReserve(path.slice(0, path.lastIndexOf("/")));
  }
  return database;
}

/**
 * - container: what was intended; whether it runs is read from the kernel (status.ts)
 * - volume: named directories below `volumes/`; anonymous ones go with `rm -v` and with `--rm`
 */
function createTables(database: Database): void {
  createImageTables(database);
  database.run(`
    CREATE TABLE IF NOT EXISTS container (
      id TEXT PRIMARY KEY,
      name TEXT NOT NULL UNIQUE,
      image TEXT NOT NULL,
      image_name TEXT NOT NULL,
      created_ms INTEGER NOT NULL,
      started_ms INTEGER,
      auto_remove INTEGER NOT NULL,
      launch TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS container_image ON container (image);
    CREATE INDEX IF NOT EXISTS container_auto_remove ON container (created_ms) WHERE auto_remove = 1;
    CREATE TABLE IF NOT EXISTS volume (
      name TEXT PRIMARY KEY,
      created_ms INTEGER NOT NULL,
      anonymous INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS container_volume (
      container TEXT NOT NULL REFERENCES container (id) ON DELETE CASCADE,
      volume TEXT NOT NULL REFERENCES volume (name),
      PRIMARY KEY (container, volume)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS container_volume_volume ON container_volume (volume);
    CREATE TABLE IF NOT EXISTS image_user (
      image TEXT NOT NULL,
      user TEXT NOT NULL,
      identity TEXT NOT NULL,
      PRIMARY KEY (image, user)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS network (
      name TEXT PRIMARY KEY,
      bridge TEXT NOT NULL UNIQUE,
      subnet TEXT NOT NULL,
      gateway TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = ${VERSION};
  `);
}

function notMounted(database: Database, path: string): BoxError {
  const file = database.query<{ file: string }, []>("SELECT file FROM elsewhere").get()?.file;
  const root = path.slice(0, path.lastIndexOf("/"));
  return new BoxError("store-not-mounted", `Cannot use "${root}": its file system, in "${file}", is not mounted`, {
    hint: 'Mount it with "bb storage init"; it prints a line for /etc/fstab, too',
  });
}

/** Its rows hold what people pass to containers: nobody else reads them, wherever the store lies. */
function writeNew(path: string): void {
  try {
    writeNewSync(path, "", 0o600);
  } catch (error) {
    // Another command was first.
    if (!isErrno(error, "EEXIST")) throw error;
  }
}
