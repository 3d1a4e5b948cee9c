import { Database } from "bun:sqlite";
import { existsSync } from "@bantubox/ffi";
import { ELSEWHERE_VERSION } from "./database.ts";

/**
 * A store may lie on a file system of its own, which is mounted over its directory. Below the mount there is this: a
 * database whose version says so, and which no command takes for an empty store.
 */
export interface Elsewhere {
  readonly file: string;
  readonly bytes: number;
  /** False while it is being made. */
  readonly isMade: boolean;
}

/** Where the store of `root` is, if what is in `root` now says that it is somewhere else. */
export function readElsewhere(root: string): Elsewhere | undefined {
  const path = `${root}/db.sqlite`;
  if (!existsSync(path)) return undefined;
  using database = new Database(path, { create: false, readwrite: true, strict: true });
  const version = database.query<{ user_version: number }, []>("PRAGMA user_version").get()?.user_version;
  return version === ELSEWHERE_VERSION ? rowOf(database) : undefined;
}

/** Writes it, in place of an empty store's database or of an earlier one. */
export function writeElsewhere(root: string, { file, bytes, isMade }: Elsewhere): void {
  using database = new Database(`${root}/db.sqlite`, { create: true, strict: true });
  database.run("PRAGMA journal_mode = DELETE");
  database.run("PRAGMA synchronous = FULL");
  database
    .transaction(() => {
      database.run("CREATE TABLE IF NOT EXISTS elsewhere (file TEXT, bytes INTEGER, is_made INTEGER) STRICT");
      database.run("DELETE FROM elsewhere");
      database.query("INSERT INTO elsewhere VALUES (?, ?, ?)").run(file, bytes, isMade ? 1 : 0);
      database.run(`PRAGMA user_version = ${ELSEWHERE_VERSION}`);
    })
    .immediate();
}

function rowOf(database: Database): Elsewhere | undefined {
  const row = database
    .query<{ file: string; bytes: number; is_made: number }, []>("SELECT file, bytes, is_made FROM elsewhere")
    .get();
  return row === null ? undefined : { file: row.file, bytes: row.bytes, isMade: row.is_made === 1 };
}
