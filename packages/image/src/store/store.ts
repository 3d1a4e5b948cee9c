import type { Database } from "bun:sqlite";
import { BoxError, mkdirSync, readIfThere } from "@bantubox/ffi";
import { quote } from "../document/digest.ts";

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
