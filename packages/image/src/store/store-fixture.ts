import { Database } from "bun:sqlite";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createImageTables, type ImageStore } from "./store.ts";

/** An empty store in a directory of its own, gone at the end of the test. */
export function temporaryStore(): ImageStore & Disposable {
  const root = mkdtempSync(join(tmpdir(), "bantubox-image-"));
  const database = openDatabase(root);
  return {
    root,
    database,
    [Symbol.dispose]() {
      database.close();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** The store's database as another process would open it. */
export function openDatabase(root: string): Database {
  const database = new Database(join(root, "db.sqlite"), { strict: true });
  database.run("PRAGMA busy_timeout = 5000");
  database.run("PRAGMA journal_mode = WAL");
  createImageTables(database);
  return database;
}

/** What a store has on disk and in its tables, so that a test can say it all at once. */
export function contents({ root, database }: ImageStore) {
  const list = (directory: string) => {
    try {
      return readdirSync(join(root, directory)).sort();
    } catch {
      return [];
    }
  };
  return {
    layers: list("layers"),
    blobs: list("blobs/sha256"),
    ingest: list("ingest"),
    images: database.query<{ n: number }, []>("SELECT count(*) AS n FROM image").get()?.n,
    rows: database.query<{ n: number }, []>("SELECT count(*) AS n FROM layer").get()?.n,
  };
}
