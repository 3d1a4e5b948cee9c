import type { Database } from "bun:sqlite";
import { BoxError, existsSync, mkdirSync, statIfThere } from "@bantubox/ffi";
import type { ImageStore } from "@bantubox/image";
import { takeRunRoot } from "./boot.ts";
import { openDatabase } from "./database.ts";

const GROUP_AND_OTHERS_WRITE = 0o022;

export interface EngineOptions {
  /** What outlives a reboot: images, containers, volumes. */
  readonly root?: string | undefined;
  /** What does not: pids and sockets. */
  readonly runRoot?: string | undefined;
  /** `overlay`, `btrfs` or `copy`; what the store was made with when absent. */
  readonly storageDriver?: string | undefined;
}

/** Where this engine keeps what; nothing runs behind it. */
export interface Engine extends ImageStore {
  readonly root: string;
  readonly runRoot: string;
  readonly database: Database;
}

/**
 * Opens the engine's directories, and makes them where they are missing.
 *
 * @throws {BoxError} `not-root` for anyone else, `bad-root` for a relative path, one where others can write, or the run directory of another store.
 */
export function openEngine({
  root = "/var/lib/bantubox",
  runRoot = "/run/bantubox",
  storageDriver,
}: EngineOptions = {}): Engine {
  if (process.geteuid?.() !== 0) {
    throw new BoxError("not-root", "Cannot run containers: this needs root", { hint: "Run it with sudo" });
  }
  for (const path of [root, runRoot]) {
    if (!path.startsWith("/")) {
      throw new BoxError("bad-root", `Cannot keep state in "${path}": it is not an absolute path`);
    }
  }
  makeDirectories(root, runRoot);
  for (const path of [root, runRoot]) checkOwner(path);
  takeRunRoot(runRoot, root);
  let database: Database | undefined;
  return {
    root,
    runRoot,
    storageDriver,
    get database() {
      database ??= openDatabase(`${root}/db.sqlite`);
      return database;
    },
  };
}

function makeDirectories(root: string, runRoot: string): void {
  for (const path of [root, `${root}/containers`, `${root}/layers`, runRoot]) {
    if (existsSync(path)) continue;
    try {
      mkdirSync(path, { mode: 0o700, recursive: true });
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : error;
      throw new BoxError("bad-root", `Cannot keep state in "${path}": ${code}`, {
        hint: "Name other directories with --root and --run-root",
        cause: error,
      });
    }
  }
}

/** What lies there is carried out as root, without a question. */
function checkOwner(path: string): void {
  const stat = statIfThere(path);
  if (stat === undefined || (stat.uid === 0 && (stat.mode & GROUP_AND_OTHERS_WRITE) === 0)) return;
  throw new BoxError("bad-root", `Cannot keep state in "${path}": others than root can write there`, {
    hint: `Name another directory, or make it root's alone: chown root "${path}" && chmod 700 "${path}"`,
  });
}

/** `containers/<id>` of the store. */
export function containerDirectory({ root }: Engine, id: string): string {
  return `${root}/containers/${id}`;
}

/** `<id>` of the run directory: only there while the container is starting, running or ending. */
export function runDirectory({ runRoot }: Engine, id: string): string {
  return `${runRoot}/${id}`;
}

/** The container's group below every hierarchy. */
export function cgroupPath(id: string): string {
  return `bantubox/${id}`;
}
