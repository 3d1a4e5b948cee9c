import { readdirSync, renameSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Fd } from "@bantubox/ffi";
import { isErrno } from "@bantubox/ffi";
import { settleDriver } from "../storage/drivers.ts";
import { removeTree } from "../storage/remove.ts";
import { lock, shareLock, tryLock } from "./lock.ts";
import { blobsDirectory, type ImageStore, ingestDirectory, layersDirectory, makeDirectories } from "./store.ts";

/** A download that nobody has gone on with for so long is not waited for any more. */
const INGEST_LIFE_MS = 7 * 24 * 3600 * 1000;

const NAME = /^[a-f0-9]{64}$/;

export interface Garbage {
  /** False when something else was writing images at the time: then the rest is left to a later command. */
  readonly complete: boolean;
  readonly layers: number;
  readonly blobs: number;
  /** What they took up: of layers the length of their tar. */
  readonly bytes: number;
}

/**
 * Takes part in writing: while any such lock is held, nothing is collected, so that layers may stand
 * without an image that needs them yet. What dead processes left behind is swept away first.
 */
export async function lockForWriting(store: ImageStore, signal?: AbortSignal): Promise<Fd> {
  settleDriver(store);
  makeDirectories(store);
  const path = lockPath(store);
  const alone = tryLock(path, "exclusive");
  if (alone === undefined) return lock(path, "shared", { signal });
  try {
    if (isMarked(store)) await collectLocked(store);
    else await sweep(store);
    shareLock(alone);
    return alone;
  } catch (error) {
    alone.close();
    throw error;
  }
}

/**
 * Deletes layers and blobs that no image needs, and what interrupted commands have left. Waits for no other process:
 * while one writes images this is left to the next command that does so, or calls this.
 */
export function collectGarbage(store: ImageStore): Promise<Garbage> {
  const collected = collecting.then(() => collectAlone(store));
  collecting = collected.catch(() => undefined);
  return collected;
}

/** One at a time in this process: of two, the second would find the lock taken. */
let collecting: Promise<unknown> = Promise.resolve();

/** Says, within the caller's transaction, that there is something to collect: whoever is alone next does it. */
export function markGarbage({ database }: ImageStore): void {
  database.run("INSERT OR IGNORE INTO garbage (one) VALUES (1)");
}

function isMarked({ database }: ImageStore): boolean {
  return database.query("SELECT 1 FROM garbage").get() !== null;
}

async function collectAlone(store: ImageStore): Promise<Garbage> {
  makeDirectories(store);
  using alone = tryLock(lockPath(store), "exclusive");
  if (alone !== undefined) return await collectLocked(store);
  markGarbage(store);
  return { complete: false, layers: 0, blobs: 0, bytes: 0 };
}

/** Waits until nobody writes images, and keeps all from it until the lock is closed. */
export async function lockAlone(store: ImageStore, signal?: AbortSignal): Promise<Fd> {
  makeDirectories(store);
  return await lock(lockPath(store), "exclusive", { signal });
}

/** As `collectGarbage`, for who holds the lock alone. */
export async function collectLocked(store: ImageStore): Promise<Garbage> {
  const rows = store.database
    .query<{ bytes: number }, []>("DELETE FROM layer WHERE id NOT IN (SELECT layer FROM image_layer) RETURNING bytes")
    .all();
  let bytes = rows.reduce((sum, row) => sum + row.bytes, 0);
  await sweep(store);
  const needed = new Set(
    store.database
      .query<{ digest: string }, []>("SELECT DISTINCT digest FROM image_blob")
      .all()
      .map(({ digest }) => digest.slice(7)),
  );
  let blobs = 0;
  for (const name of readdirSync(blobsDirectory(store))) {
    if (needed.has(name)) continue;
    const path = join(blobsDirectory(store), name);
    bytes += statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    await rm(path, { force: true });
    blobs++;
  }
  store.database.run("DELETE FROM garbage");
  return { complete: true, layers: rows.length, blobs, bytes };
}

function lockPath({ root }: ImageStore): string {
  return join(root, "images.lock");
}

/** Deletes what no living process can be working on. The caller holds the lock alone. */
async function sweep(store: ImageStore): Promise<void> {
  const layers = layersDirectory(store);
  const known = new Set(
    store.database
      .query<{ id: string }, []>("SELECT id FROM layer")
      .all()
      .map(({ id }) => id),
  );
  for (const name of readdirSync(layers)) {
    if (known.has(name)) continue;
    let path = join(layers, name);
    if (NAME.test(name)) {
      // Renamed first: a deletion that is interrupted must not leave half a layer under a whole one's name.
      const aside = join(layers, `.tmp-${name}`);
      await removeTree(aside);
      renameSync(path, aside);
      path = aside;
    }
    await removeTree(path);
  }
  const ingest = ingestDirectory(store);
  for (const name of readdirSync(ingest)) {
    const path = join(ingest, name);
    if (!NAME.test(name) || ageMs(path) > INGEST_LIFE_MS) await rm(path, { recursive: true, force: true });
  }
}

function ageMs(path: string): number {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return 0;
    throw error;
  }
}
