import type { Database } from "bun:sqlite";
import { BoxError, existsSync, mkdirSync, readIfThere } from "@bantubox/ffi";
import { type Digest, quote, sha256 } from "../document/digest.ts";
import { familiarName, formatReference, parseReference, repositoryName } from "../document/reference.ts";
import { imagesChanged } from "./marker.ts";

/** Where images live: files below `root`, facts about them in `database`. */
export interface ImageStore {
  /** Absolute, and nobody's but root's (0700): layers hold other people's setuid programs. */
  readonly root: string;
  readonly database: Database;
  /** The driver that was asked for; what the store was made with when absent. */
  readonly storageDriver?: string | undefined;
}

/** How layers and containers' roots lie on disk; see storage/driver.ts. */
export type DriverName = "overlay" | "btrfs" | "copy";

export interface Healthcheck {
  readonly test: readonly string[];
  /** 0 leaves it to the engine, as everywhere here. */
  readonly intervalNs: number;
  readonly timeoutNs: number;
  readonly startPeriodNs: number;
  readonly startIntervalNs: number;
  readonly retries: number;
}

/** What an image says about how its containers run. Untrusted, but of these types. Absent things are empty. */
export interface RunConfig {
  readonly env: readonly string[];
  readonly cmd: readonly string[];
  readonly entrypoint: readonly string[];
  readonly user: string;
  readonly workdir: string;
  /** `80/tcp` */
  readonly exposedPorts: readonly string[];
  readonly volumes: readonly string[];
  /** Pairs, since a label may be called `__proto__`. */
  readonly labels: readonly (readonly [string, string])[];
  readonly stopSignal: string;
  readonly shell: readonly string[];
  readonly onBuild: readonly string[];
  readonly healthcheck?: Healthcheck | undefined;
}

/** Of an image that says nothing. */
export const EMPTY_CONFIG: RunConfig = {
  env: [],
  cmd: [],
  entrypoint: [],
  user: "",
  workdir: "",
  exposedPorts: [],
  volumes: [],
  labels: [],
  stopSignal: "",
  shell: [],
  onBuild: [],
};

/** `host` is built in: the host's own root. */
export type ImageKind = "pulled" | "local" | "host";

export interface Image {
  /** The config's digest; `host` for the built-in image. */
  readonly id: string;
  readonly kind: ImageKind;
  /** As people write it; empty when it was found by its ID and has no name. */
  readonly name: string;
  readonly config: RunConfig;
  /** Names of directories in `layersDirectory(store)`, from bottom to top. */
  readonly layers: readonly string[];
}

/** The host's own root as an image. It needs no store: a fresh machine has it. */
export const HOST_IMAGE: Image = {
  id: "host",
  kind: "host",
  name: "host",
  config: { ...EMPTY_CONFIG, cmd: ["/bin/sh"] },
  layers: [],
};

/**
 * Makes the tables, if they are missing.
 *
 * - image: one row each config; `layers` is what the hot path reads, `image_layer` and `image_blob` what counts references
 * - image_name: what it is called; `digest` is what the registry answered for the name (an index's digest, maybe)
 * - layer: extracted directories; a directory without a row does not exist
 * - garbage: a row, while there may be layers or blobs that no image needs, see garbage.ts
 * - storage: one row, once something was stored: the driver that all of it is for (stores of before had overlay alone)
 */
export function createImageTables(database: Database): void {
  database.run(`
    CREATE TABLE IF NOT EXISTS image (
      id TEXT PRIMARY KEY,
      kind TEXT NOT NULL,
      manifest TEXT NOT NULL,
      platform TEXT NOT NULL,
      created TEXT NOT NULL,
      bytes INTEGER NOT NULL,
      config TEXT NOT NULL,
      layers TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS image_name (
      name TEXT PRIMARY KEY,
      repository TEXT NOT NULL,
      image TEXT NOT NULL REFERENCES image (id) ON DELETE CASCADE,
      digest TEXT NOT NULL,
      requested TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS image_name_image ON image_name (image);
    CREATE INDEX IF NOT EXISTS image_name_digest ON image_name (digest);
    CREATE TABLE IF NOT EXISTS layer (
      id TEXT PRIMARY KEY,
      bytes INTEGER NOT NULL,
      opaque INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS image_layer (
      image TEXT NOT NULL REFERENCES image (id) ON DELETE CASCADE,
      layer TEXT NOT NULL REFERENCES layer (id),
      PRIMARY KEY (image, layer)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS image_layer_layer ON image_layer (layer);
    CREATE TABLE IF NOT EXISTS image_blob (
      image TEXT NOT NULL REFERENCES image (id) ON DELETE CASCADE,
      digest TEXT NOT NULL,
      PRIMARY KEY (image, digest)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS image_blob_digest ON image_blob (digest);
    CREATE TABLE IF NOT EXISTS storage (one INTEGER PRIMARY KEY CHECK (one = 1), driver TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS garbage (one INTEGER PRIMARY KEY CHECK (one = 1)) STRICT;
    INSERT OR IGNORE INTO storage SELECT 1, 'overlay' WHERE EXISTS (SELECT 1 FROM layer);
  `);
}

/** Where the host's administrator says what new stores are to be like. */
const CONFIGURATION = "/etc/bantubox/storage.json";
const DRIVER_NAMES: readonly string[] = ["overlay", "btrfs", "copy"];

/**
 * The store's driver: what it was made with; a new one gets what was asked for, what is configured, or overlay.
 *
 * @throws {BoxError} `storage-driver` when another one was asked for than the store has, or there is none of that name.
 */
export function driverName(store: ImageStore): DriverName {
  const wanted = store.storageDriver;
  if (wanted !== undefined) checkDriverName(wanted, "--storage-driver");
  const made = storedDriver(store);
  if (made === undefined) return wanted ?? configuredDriver() ?? "overlay";
  if (wanted === undefined || wanted === made) return made;
  throw new BoxError(
    "storage-driver",
    `Cannot use the storage driver ${quote(wanted)}: what is in "${store.root}" was made with "${made}"`,
    { hint: "Leave out --storage-driver, or name another store with --root" },
  );
}

/** Whether the store has decided on its driver. */
export function hasDriver(store: ImageStore): boolean {
  return storedDriver(store) !== undefined;
}

function storedDriver({ database }: ImageStore): DriverName | undefined {
  return database.query<{ driver: DriverName }, []>("SELECT driver FROM storage").get()?.driver;
}

function configuredDriver(): DriverName | undefined {
  const text = readIfThere(CONFIGURATION);
  if (text === undefined) return undefined;
  let driver: unknown;
  try {
    driver = (JSON.parse(text) as { driver?: unknown } | null)?.driver;
  } catch (cause) {
    throw new BoxError("bad-config", `Cannot read "${CONFIGURATION}": it is not JSON`, { cause });
  }
  if (driver === undefined) return undefined;
  const name = String(driver);
  checkDriverName(name, CONFIGURATION);
  return name;
}

function checkDriverName(name: string, where: string): asserts name is DriverName {
  if (DRIVER_NAMES.includes(name)) return;
  throw new BoxError("storage-driver", `Cannot use the storage driver ${quote(name)} of ${where}: there is none`, {
    hint: `They are ${DRIVER_NAMES.join(", ")}`,
  });
}

export function layersDirectory({ root }: ImageStore): string {
  return `${root}/layers`;
}

export function blobsDirectory({ root }: ImageStore): string {
  return `${root}/blobs/sha256`;
}

/** Downloads that are not complete, each named after the digest that it shall have. */
export function ingestDirectory({ root }: ImageStore): string {
  return `${root}/ingest`;
}

export function makeDirectories(store: ImageStore): void {
  for (const directory of [layersDirectory(store), blobsDirectory(store), ingestDirectory(store)]) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }
}

/**
 * Finds an image by name, digest, ID or the beginning of an ID. By name it is one query.
 *
 * @throws {BoxError} `reference-invalid`, or `image-ambiguous` when several IDs begin so.
 */
export function findImage(store: ImageStore, text: string): Image | undefined {
  if (text === "host") return HOST_IMAGE;
  return toImage(findByName(store, text) ?? findById(store, text));
}

/** As `findImage`. @throws {BoxError} Also `no-such-image`, with names that are near. */
export function getImage(store: ImageStore, text: string): Image {
  const image = findImage(store, text);
  if (image !== undefined) return image;
  const near = suggestNames(store, text);
  throw new BoxError("no-such-image", `Cannot find image ${quote(text)}: there is none of that name here`, {
    hint: near.length === 0 ? undefined : `Did you mean ${near.map(quote).join(" or ")}?`,
  });
}

/** Names of images here that `text` may have been meant to be: at most three, the nearest first. */
export function suggestNames(store: ImageStore, text: string): string[] {
  const rows = store.database.query<{ name: string }, []>("SELECT name FROM image_name").all();
  const wanted = text
    .slice(0, 128)
    .toLowerCase()
    .replace(/:latest$/, "");
  const [wantedRepository = ""] = wanted.split(/[:@]/);
  const near: { name: string; distance: number }[] = [];
  for (const full of [...rows.map(({ name }) => familiarName(name)), "host"]) {
    const name = full.replace(/:latest$/, "");
    const [repository = ""] = name.split(/[:@]/);
    // Another tag of the same repository is what people miss most.
    const distance =
      repository === wantedRepository
        ? 0
        : Math.min(editDistance(wanted, name), editDistance(wantedRepository, repository));
    if (distance <= Math.max(1, Math.floor(wantedRepository.length / 3))) near.push({ name, distance });
  }
  near.sort((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1));
  return near.slice(0, 3).map(({ name }) => name);
}

interface ImageRow {
  readonly id: string;
  readonly kind: ImageKind;
  readonly name: string | null;
  readonly config: string;
  readonly layers: string;
}

function toImage(row: ImageRow | undefined): Image | undefined {
  if (row === undefined) return undefined;
  return {
    id: row.id,
    kind: row.kind,
    name: row.name === null ? "" : familiarName(row.name),
    // Our own writing, typed when it was written.
    config: JSON.parse(row.config) as RunConfig,
    layers: row.layers === "" ? [] : row.layers.split(" "),
  };
}

function findByName(store: ImageStore, text: string): ImageRow | undefined {
  // 64 digits are an ID, which the grammar of names rules out.
  if (text.length === 64 && !/[^0-9a-f]/.test(text)) return undefined;
  const reference = parseReference(text);
  const row = store.database
    .query<ImageRow, [string]>(
      "SELECT i.id, i.kind, n.name, i.config, i.layers FROM image_name n JOIN image i ON i.id = n.image WHERE n.name = ?1",
    )
    .get(formatReference(reference));
  if (row !== null || reference.digest === undefined) return row ?? undefined;
  return (
    store.database
      .query<ImageRow, [string, string]>(
        "SELECT i.id, i.kind, n.name, i.config, i.layers FROM image_name n JOIN image i ON i.id = n.image WHERE (n.digest = ?1 OR i.manifest = ?1) AND n.repository = ?2 LIMIT 1",
      )
      .get(reference.digest, repositoryName(reference)) ?? undefined
  );
}

function findById(store: ImageStore, text: string): ImageRow | undefined {
  const hex = text.startsWith("sha256:") ? text.slice(7) : text;
  if (!/^[0-9a-f]{1,64}$/.test(hex)) return undefined;
  const rows = store.database
    .query<ImageRow, [string, string]>(
      `SELECT i.id, i.kind, (SELECT min(name) FROM image_name WHERE image = i.id) AS name, i.config, i.layers
       FROM image i WHERE i.id >= ?1 AND i.id < ?2 LIMIT 4`,
    )
    .all(`sha256:${hex}`, `sha256:${hex}g`);
  if (rows.length > 1) throw ambiguous(text, hex, rows);
  return rows[0];
}

/** Shows as much of each ID as tells it from the others, and one digit more. */
function ambiguous(text: string, hex: string, rows: readonly ImageRow[]): BoxError {
  const ids = rows.map(({ id }) => id.slice(7));
  let length = hex.length + 1;
  while (new Set(ids.map((id) => id.slice(0, length))).size < ids.length) length++;
  const candidates = rows.slice(0, 3).map(({ name }, at) => {
    const id = ids[at]?.slice(0, Math.max(12, length + 1));
    return name === null ? id : `${id} (${familiarName(name)})`;
  });
  const more = rows.length > 3 ? " or others" : "";
  return new BoxError("image-ambiguous", `Cannot tell which image ${quote(text)} is: several IDs begin so`, {
    hint: `Write more of the ID: it could be ${candidates.join(" or ")}${more}`,
  });
}

/** A layer that is on disk, or about to be. */
export interface StoredLayer {
  readonly diffId: Digest;
  /** Length of its tar, for people. */
  readonly bytes: number;
  /** Hides all layers below it. Overlay does not look for that at a layer's root, so those are left out of its stack. */
  readonly isRootOpaque: boolean;
}

export interface NewImage {
  readonly id: Digest;
  readonly kind: "pulled" | "local";
  readonly manifest: Digest;
  readonly platform: string;
  readonly created: string;
  readonly config: RunConfig;
  /** From bottom to top, as in the config; all of them have rows. */
  readonly diffIds: readonly Digest[];
  /** Every blob that the image needs: index, manifest, config, layers. */
  readonly blobs: readonly Digest[];
}

export interface NewName {
  /** Full: `docker.io/library/alpine:latest`. */
  readonly name: string;
  readonly repository: string;
  /** What the registry answered for it. */
  readonly digest: Digest;
  /** The platform that was asked for. */
  readonly requested: string;
}

/** @param tree Its directory's name. */
export function hasTree({ database }: ImageStore, tree: string): boolean {
  return database.query<{ id: string }, [string]>("SELECT id FROM layer WHERE id = ?1").get(tree) !== null;
}

/**
 * Names of the trees that hold the beginnings of a chain of layers, from bottom to top: the OCI's chain IDs.
 *
 * @see https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid
 */
export function chainOf(diffIds: readonly Digest[]): string[] {
  const chain: string[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    chain.push((below === undefined ? diffId : sha256(Buffer.from(`sha256:${below} ${diffId}`))).slice(7));
  }
  return chain;
}

interface Trees {
  /** Those that the image counts as its own; all have rows. */
  readonly needed: readonly string[];
  /** What its containers' roots are made of, if that is not all of these. */
  readonly root?: readonly string[];
  /** The last of them counts the bytes of all layers. */
  readonly isCumulative?: boolean;
}

function treesOf(store: ImageStore, { diffIds, blobs }: NewImage): Trees {
  const driver = driverName(store);
  if (driver === "overlay") return { needed: uniqueLayers(diffIds) };
  const chain = chainOf(diffIds);
  const root = chain.slice(-1);
  if (driver === "btrfs") return { needed: chain, root };
  // A layer that was made of a directory has no blob: its tree is all there is of it by itself.
  const [bottom, [tree = ""]] = [diffIds[0], chain];
  const isAlone = bottom !== undefined && blobs.includes(bottom) && !existsSync(`${blobsDirectory(store)}/${tree}`);
  return { needed: isAlone && hasTree(store, tree) ? [...new Set([tree, ...root])] : root, root, isCumulative: true };
}

/** What `recordImages` writes: an image, or one that is there already, and its names. */
export interface ImageRows {
  readonly image: NewImage | undefined;
  readonly names: readonly (NewName & { readonly image: Digest })[];
}

/** Writes the rows of an image whose layers and blobs are all in place. From here on it exists. */
export function recordImage(store: ImageStore, image: NewImage, name?: NewName): void {
  recordImages(store, [{ image, names: name === undefined ? [] : [{ ...name, image: image.id }] }]);
}

/**
 * As `recordImage` for several at once: all of them exist then, or none.
 *
 * @throws {BoxError} `image-layer-missing`; `no-such-image` when one that was there has just been removed.
 */
export function recordImages(store: ImageStore, rows: readonly ImageRows[]): void {
  const { database } = store;
  database
    .transaction(() => {
      imagesChanged(store);
      for (const { image, names } of rows) {
        if (image !== undefined) insertImage(store, image);
        for (const name of names) insertName(store, name);
      }
    })
    .immediate();
}

function insertImage(store: ImageStore, image: NewImage): void {
  const { database } = store;
  const findLayer = database.query<{ bytes: number; opaque: number }, [string]>(
    "SELECT bytes, opaque FROM layer WHERE id = ?1",
  );
  const trees = treesOf(store, image);
  const rows = trees.needed.map((tree) => findLayer.get(tree));
  if (rows.includes(null)) {
    throw new BoxError("image-layer-missing", `Cannot record image ${image.id}: a layer of it is gone`, {
      hint: "Pull it again",
    });
  }
  const bottom = Math.max(
    0,
    rows.findLastIndex((row) => row?.opaque === 1),
  );
  const total = (trees.isCumulative ? rows.slice(-1) : rows).reduce((sum, row) => sum + (row?.bytes ?? 0), 0);
  database
    .query(
      `INSERT INTO image (id, kind, manifest, platform, created, bytes, config, layers) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
       ON CONFLICT (id) DO UPDATE SET manifest = ?3, config = ?7, layers = ?8`,
    )
    .run(
      image.id,
      image.kind,
      image.manifest,
      image.platform,
      image.created,
      total,
      JSON.stringify(image.config),
      (trees.root ?? trees.needed.slice(bottom)).join(" "),
    );
  database.query("DELETE FROM image_blob WHERE image = ?1").run(image.id);
  for (const layer of trees.needed) {
    database.query("INSERT OR IGNORE INTO image_layer (image, layer) VALUES (?1, ?2)").run(image.id, layer);
  }
  for (const blob of image.blobs) {
    database.query("INSERT OR IGNORE INTO image_blob (image, digest) VALUES (?1, ?2)").run(image.id, blob);
  }
}

function insertName({ database }: ImageStore, name: NewName & { readonly image: Digest }): void {
  if (database.query("SELECT 1 FROM image WHERE id = ?1").get(name.image) === null) {
    throw new BoxError("no-such-image", `Cannot name image ${name.image}: it has been removed`, {
      hint: "Load it again",
    });
  }
  database
    .query(
      `INSERT INTO image_name (name, repository, image, digest, requested) VALUES (?1, ?2, ?3, ?4, ?5)
       ON CONFLICT (name) DO UPDATE SET image = ?3, digest = ?4, requested = ?5`,
    )
    .run(name.name, name.repository, name.image, name.digest, name.requested);
}

/**
 * Directory names from bottom to top, each once: overlay refuses the same directory twice. The upper
 * one of two stays; it hides all that the lower one has.
 */
function uniqueLayers(diffIds: readonly Digest[]): string[] {
  const names = diffIds.map((diffId) => diffId.slice(7));
  return names.filter((name, index) => names.lastIndexOf(name) === index);
}

/** How many letters were typed wrongly, left out, added or swapped with their neighbour. For short strings. */
function editDistance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, index) => index)];
  const at = (i: number, j: number) => rows[i]?.[j] ?? 0;
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j++) {
      const replaced = at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let best = Math.min(replaced, at(i - 1, j) + 1, at(i, j - 1) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, at(i - 2, j - 2) + 1);
      row.push(best);
    }
  }
  return at(a.length, b.length);
}
