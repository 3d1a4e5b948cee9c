import {
  chmodSync,
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statfsSync,
} from "node:fs";
import { dirname } from "node:path";
import { BoxError, call, cstr, existsSync, MNT_DETACH, O } from "@bantubox/ffi";
import { type DriverName, driverName } from "@bantubox/image";
import { forgetAll } from "../kept/keep-start.ts";
import { openDatabase } from "../state/database.ts";
import { type Elsewhere, readElsewhere, writeElsewhere } from "../state/elsewhere.ts";
import type { Engine } from "../state/engine.ts";
import { tryLockDirectory } from "../state/lock.ts";
import { mountOf } from "../state/mount-table.ts";

const DEFAULT_BYTES = 10 * 2 ** 30;
/** What mkfs.btrfs takes, and some layers. */
const LEAST_BYTES = 256 * 2 ** 20;

export interface StorageInitOptions {
  /** `overlay`, `btrfs` or `copy`; the store's own, or btrfs when there is a size, when absent. */
  readonly driver?: string | undefined;
  /** Of the file that a btrfs is made in; 10 GiB when absent. */
  readonly sizeBytes?: number | undefined;
  /** Absolute path of that file; beside the root when absent. */
  readonly path?: string | undefined;
}

export interface StorageInitResult {
  readonly driver: DriverName;
  readonly root: string;
  /** `made`: a file system; `mounted`: one that was there; `chosen`: only the driver; `unchanged`: it was so already. */
  readonly status: "made" | "mounted" | "chosen" | "unchanged";
  /** The file that holds the store's file system. */
  readonly file?: string;
  /** The line of /etc/fstab that mounts it at every boot. */
  readonly fstab?: string;
}

/**
 * Decides how a new store keeps layers. For btrfs where the root does not lie on one, a file is made, formatted by
 * mkfs.btrfs and mounted over the root; a later call mounts it again. What fails is undone; what is killed, the next
 * call finishes.
 *
 * @throws {BoxError} `storage-driver`, `storage-unsupported`, `storage-not-empty`, `storage-file-exists`, `no-mkfs`…
 */
export async function initStorage(engine: Engine, options: StorageInitOptions): Promise<StorageInitResult> {
  const { root } = engine;
  using lock = tryLockDirectory(root);
  if (lock === undefined) {
    throw new BoxError("store-busy", `Cannot initialize "${root}": another command is doing it`, { hint: "Try again" });
  }
  const { parseDriver } = await import("@bantubox/image/drivers");
  const wanted = options.driver ?? engine.storageDriver;
  const driver = wanted === undefined ? undefined : parseDriver(wanted);
  if (driver !== undefined && driver !== "btrfs" && (options.sizeBytes ?? options.path) !== undefined) {
    throw new BoxError("bad-option", `Cannot make a file system for the driver "${driver}": only btrfs needs one`, {
      hint: "Leave out --size and --path",
    });
  }
  const elsewhere = readElsewhere(root);
  if (elsewhere !== undefined) {
    if (driver !== undefined && driver !== "btrfs") throw holdsAnother(root, "btrfs");
    return await mountStore(engine, elsewhere);
  }
  const wantsFile = options.sizeBytes !== undefined || options.path !== undefined;
  if ((driver === "btrfs" || (driver === undefined && wantsFile)) && !isBtrfs(root)) {
    const file = options.path ?? `${root}.btrfs`;
    const bytes = options.sizeBytes ?? DEFAULT_BYTES;
    checkEmpty(engine);
    checkFile(root, file, bytes);
    return await mountStore(engine, { file, bytes, isMade: false });
  }
  return await choose(engine, driver);
}

/** Records the driver of a store that needs no file system of its own, or has it. */
async function choose(engine: Engine, wanted: DriverName | undefined): Promise<StorageInitResult> {
  const { hasDriver, settleDriver } = await import("@bantubox/image/drivers");
  const { root, database } = engine;
  const driver = wanted ?? driverName({ root, database });
  const file = mountOf(root)?.target === root ? mountOf(root)?.file : undefined;
  const more = file === undefined ? {} : { file, fstab: fstabLine(file, root) };
  if (hasDriver(engine)) {
    const made = driverName({ root, database });
    if (made === driver) return { driver, root, status: "unchanged", ...more };
    if (hasLayers(engine)) throw holdsAnother(root, made);
    database.run("DELETE FROM storage");
  }
  settleDriver({ root, database, storageDriver: driver });
  return { driver, root, status: "chosen", ...more };
}

/** Makes the file system if it is not there, mounts it over the root, and makes it a btrfs store. */
async function mountStore(engine: Engine, elsewhere: Elsewhere): Promise<StorageInitResult> {
  const { root } = engine;
  const { file } = elsewhere;
  await using undo = new AsyncDisposableStack();
  if (!elsewhere.isMade) {
    const mkfs = findMkfs();
    undo.defer(() => {
      for (const name of ["db.sqlite", "db.sqlite-journal"]) rmSync(`${root}/${name}`, { force: true });
    });
    // From here on nobody takes the root for an empty store.
    for (const suffix of ["-wal", "-shm"]) rmSync(`${root}/db.sqlite${suffix}`, { force: true });
    writeElsewhere(root, elsewhere);
    if (!existsSync(file)) {
      undo.defer(() => rmSync(file, { force: true }));
      await makeFile(mkfs, elsewhere);
    }
    writeElsewhere(root, { ...elsewhere, isMade: true });
  } else if (!existsSync(file)) {
    throw new BoxError("storage-file-missing", `Cannot mount "${root}": its file system "${file}" is not there`, {
      hint: `Put it back, or begin anew by removing "${root}/db.sqlite"`,
    });
  }
  const { mountFile, settleDriver } = await import("@bantubox/image/drivers");
  mountFile(file, root, "btrfs");
  undo.defer(() => void call("umount2", `"${root}"`, cstr(root), MNT_DETACH));
  chmodSync(root, 0o700);
  for (const name of ["containers", "layers"]) mkdirSync(`${root}/${name}`, { mode: 0o700, recursive: true });
  const database = openDatabase(`${root}/db.sqlite`);
  try {
    settleDriver({ root, database, storageDriver: "btrfs" });
  } finally {
    database.close();
  }
  forgetAll(engine);
  undo.move();
  const status = elsewhere.isMade ? "mounted" : "made";
  return { driver: "btrfs", root, status, file, fstab: fstabLine(file, root) };
}

/** Under another name until it is whole. */
async function makeFile(mkfs: string, { file, bytes }: Elsewhere): Promise<void> {
  const aside = `${file}.new`;
  rmSync(aside, { force: true });
  try {
    const fd = openSync(aside, O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW | O.CLOEXEC, 0o600);
    try {
      // Blocks are taken as they are written.
      ftruncateSync(fd, bytes);
    } finally {
      closeSync(fd);
    }
    const child = Bun.spawn([mkfs, "--quiet", "--label", "bantubox", aside], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
    });
    const [said, status] = await Promise.all([new Response(child.stderr).text(), child.exited]);
    if (status !== 0) {
      const line = said.trim().split("\n").at(-1) ?? "";
      throw new BoxError("mkfs-failed", `Cannot make a btrfs in "${file}": mkfs.btrfs says ${JSON.stringify(line)}`);
    }
    renameSync(aside, file);
  } finally {
    rmSync(aside, { force: true });
  }
}

function findMkfs(): string {
  const path = Bun.which("mkfs.btrfs", { PATH: "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin" });
  if (path !== null) return path;
  throw new BoxError("no-mkfs", 'Cannot make a btrfs: the program "mkfs.btrfs" is missing', {
    hint: 'Install it: "apt-get install btrfs-progs", "dnf install btrfs-progs" or "apk add btrfs-progs"',
  });
}

function checkFile(root: string, file: string, bytes: number): void {
  const wrong = (why: string, hint?: string) =>
    new BoxError("bad-option", `Cannot make a file system in "${file}": ${why}`, { hint });
  if (!file.startsWith("/")) throw wrong("it is not an absolute path");
  if (file === root || file.startsWith(`${root}/`)) {
    throw wrong("the store itself will lie over it", "Name a file outside of the root with --path");
  }
  if (existsSync(file)) {
    throw new BoxError("storage-file-exists", `Cannot make a file system in "${file}": the file exists`, {
      hint: "Name another one with --path, or remove it",
    });
  }
  const directory = dirname(file);
  if (!existsSync(directory)) throw wrong(`there is no directory "${directory}"`);
  if (bytes < LEAST_BYTES) throw wrong("btrfs needs more", "Use at least --size 256m");
  const { bavail, bsize } = statfsSync(directory);
  if (bavail * bsize < bytes) {
    throw wrong(
      `"${directory}" has ${Math.floor((bavail * bsize) / 2 ** 20)} MiB left, which is less than its size`,
      "Use a smaller --size, or a --path on another file system",
    );
  }
}

/** Nothing that the mount would hide. */
function checkEmpty({ root }: Engine): void {
  const names = ["containers", "layers", "blobs/sha256", "volumes"];
  const isEmpty = names.every((name) => !existsSync(`${root}/${name}`) || readdirSync(`${root}/${name}`).length === 0);
  if (isEmpty && !hasRows(root)) return;
  throw new BoxError("storage-not-empty", `Cannot make a file system over "${root}": there are images or containers`, {
    hint: "Remove them first, or name another store with --root",
  });
}

function hasRows(root: string): boolean {
  if (!existsSync(`${root}/db.sqlite`)) return false;
  using database = openDatabase(`${root}/db.sqlite`);
  const { n } = database
    .query<{ n: number }, []>("SELECT (SELECT count(*) FROM image) + (SELECT count(*) FROM container) AS n")
    .get() ?? { n: 0 };
  return n > 0;
}

function hasLayers({ database }: Engine): boolean {
  return database.query("SELECT 1 FROM layer UNION SELECT 1 FROM image LIMIT 1").get() !== null;
}

function holdsAnother(root: string, driver: DriverName): BoxError {
  return new BoxError(
    "storage-driver",
    `Cannot change the driver of "${root}": what is there was made with "${driver}"`,
    {
      hint: "Name another store with --root",
    },
  );
}

function isBtrfs(root: string): boolean {
  return mountOf(root)?.type === "btrfs";
}

/** As fstab(5) has it: spaces are octal. */
function fstabLine(file: string, root: string): string {
  const field = (text: string): string =>
    text.replace(/[\\ \t\n]/g, (c) => `\\${c.charCodeAt(0).toString(8).padStart(3, "0")}`);
  return `${field(file)} ${field(root)} btrfs loop,noatime,nofail 0 0`;
}

export interface StorageInfo {
  readonly driver: DriverName;
  readonly root: string;
  /** `ext4`, `btrfs`… */
  readonly fileSystem: string;
  /** The file that holds it, when that is mounted over the root. */
  readonly file?: string;
  readonly totalBytes: number;
  readonly availableBytes: number;
  readonly layers: number;
  readonly containers: number;
  /** Whether `--storage-opt size=` works. */
  readonly sizeLimits: boolean;
}

/** What the store lies on, and how. */
export async function storageInfo(engine: Engine): Promise<StorageInfo> {
  const { hasProjectQuota } = await import("@bantubox/image/drivers");
  const { root, database } = engine;
  const driver = driverName(engine);
  const mount = mountOf(root);
  const { blocks, bavail, bsize } = statfsSync(root);
  const layers = database.query<{ n: number }, []>("SELECT count(*) AS n FROM layer").get()?.n ?? 0;
  return {
    driver,
    root,
    fileSystem: mount?.type ?? "unknown",
    ...(mount?.file === undefined ? {} : { file: mount.file }),
    totalBytes: blocks * bsize,
    availableBytes: bavail * bsize,
    layers,
    containers: readdirSync(`${root}/containers`).filter((name) => !name.startsWith(".")).length,
    sizeLimits: driver === "btrfs" || (driver === "overlay" && hasProjectQuota(root)),
  };
}
