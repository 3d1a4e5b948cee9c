import { detectCgroups } from "@bantubox/cgroup";
import { AT, BoxError, call, cstr, Fd, mkdirSync, nodeFs, O, writeNewSync } from "@bantubox/ffi";
import { descriptorsOf, dump, externalMounts, externalNamespace, findCriu, REQUEST } from "../../runtime/criu/mod.ts";
import { addressOf } from "../create/network.ts";
import { type Container, getContainer, readSpec } from "../state/container.ts";
import { cgroupPath, containerDirectory, type Engine } from "../state/engine.ts";
import { LOCK_TIMEOUT_MS, tryLockDirectory, waitLock } from "../state/lock.ts";
import { getProcess } from "../state/process.ts";
import {
  type CheckpointRecord,
  checkpointDirectory,
  DUMP,
  NEW_CHECKPOINT,
  RECORD_FILE,
  recordText,
  UPPER,
} from "./checkpoint-files.ts";

const LOG = "dump.log";

export interface CheckpointOptions {
  /** The container goes on. */
  readonly leaveRunning?: boolean;
  /** Open TCP connections are saved too; otherwise they are an error. */
  readonly tcpEstablished?: boolean;
  /** Locks of files are saved too; otherwise they are an error. */
  readonly fileLocks?: boolean;
  /** Gets the whole checkpoint as a tar stream, while the container stands still, instead of its being kept. */
  readonly export?: ((archive: AsyncIterable<Uint8Array>) => Promise<unknown>) | undefined;
  /** CRIU's path; it is looked for in PATH without one. */
  readonly criu?: string | undefined;
}

/**
 * Saves what a container's processes are, so that `restoreContainer` can let them go on, here or elsewhere.
 *
 * Until everything is written, the container stands still; whatever fails, it goes on.
 *
 * @returns Its ID.
 * @throws {BoxError} `no-criu`, `criu-cannot`, `criu-failed`, `container-not-running`, `in-memory`, `checkpoint-lost`
 */
export async function checkpointContainer(
  engine: Engine,
  idOrName: string,
  options: CheckpointOptions = {},
): Promise<string> {
  const container = getContainer(engine, idOrName);
  const { id, name } = container;
  const { pid, pidfd } = getProcess(engine, container, "checkpoint");
  using _ = pidfd;
  checkRoot(container, options);
  const criu = findCriu(options.criu, `checkpoint "${name}"`);
  using directory = makeDirectory(engine, container);
  let isKept = false;
  try {
    mkdirSync(`${directory.path}/${DUMP}`, { mode: 0o700 });
    using images = openDirectory(`${directory.path}/${DUMP}`);
    const record = recordOf(engine, container, pid, criu.version, options);
    await dump(criu, {
      type: REQUEST.DUMP,
      what: `checkpoint "${name}"`,
      log: `${directory.path}/${DUMP}/${LOG}`,
      group: { host: detectCgroups(), path: cgroupPath(id) },
      options: {
        imagesFd: images.raw,
        pid,
        logLevel: 4,
        logFile: LOG,
        root: `${containerDirectory(engine, id)}/rootfs`,
        manageCgroups: true,
        notifyScripts: true,
        orphanTerminals: true,
        leaveRunning: options.leaveRunning === true,
        tcpEstablished: record.tcpEstablished,
        fileLocks: record.fileLocks,
        external: container.launch.network === "host" ? [] : [externalNamespace("net", `/proc/${pid}/ns/net`)],
        mounts: record.mounts.map(({ point }) => [point, point] as const),
      },
      // The processes still stand still, and go on if this fails.
      onNotify: async (script) => {
        if (script !== "post-dump") return;
        complete(engine, container, directory.path, record);
        if (options.export !== undefined) return await exportTo(engine, container, directory.path, options.export);
        keep(engine, container, directory.path);
        isKept = true;
      },
    });
  } catch (error) {
    // CRIU could not end them, or let them go on: they do without a checkpoint.
    if (isKept) nodeFs().renameSync(checkpointDirectory(engine, id), directory.path);
    clear(directory.path, [DUMP]);
    clear(`${directory.path}/${DUMP}`, [LOG]);
    throw error;
  }
  // What has been renamed is another command's by now.
  if (!isKept) nodeFs().rmSync(directory.path, { recursive: true, force: true });
  if (options.leaveRunning !== true) (await waitLock(engine, id, LOCK_TIMEOUT_MS))?.close();
  return id;
}

function checkRoot({ name, image, autoRemove, launch: { root } }: Container, options: CheckpointOptions): void {
  const what = `Cannot checkpoint "${name}"`;
  if (root.kind === "memory-overlay") {
    throw new BoxError("in-memory", `${what}: what it writes lies in memory only`, {
      hint: 'A container of "host" keeps nothing; use an image',
    });
  }
  if (options.export !== undefined && (root.kind !== "overlay" || image.startsWith("/"))) {
    throw new BoxError("export-root", `${what} into a file: its root is not an image's with a layer of its own`, {
      hint: "Only containers of images, with the storage driver overlay, can be exported; leave out --export",
    });
  }
  if (autoRemove && options.leaveRunning !== true && options.export === undefined) {
    throw new BoxError(
      "checkpoint-lost",
      `${what}: it was started with --rm, and goes with all its files when it ends`,
      {
        hint: "Write the checkpoint into a file with --export, or let it go on with --leave-running",
      },
    );
  }
}

/** An empty directory that one checkpoint at a time has. What a killed one has left there goes. */
function makeDirectory(engine: Engine, { id, name }: Container): Disposable & { readonly path: string } {
  const path = `${containerDirectory(engine, id)}/${NEW_CHECKPOINT}`;
  nodeFs().mkdirSync(path, { recursive: true, mode: 0o700 });
  const lock = tryLockDirectory(path);
  if (lock === undefined)
    throw new BoxError("container-busy", `Cannot checkpoint "${name}": another command does so already`);
  clear(path, []);
  return { path, [Symbol.dispose]: () => lock.close() };
}

/** Removes what is in a directory but for these names: a failure's log stays until the next checkpoint. */
function clear(path: string, kept: readonly string[]): void {
  const { existsSync, readdirSync, rmSync } = nodeFs();
  for (const name of existsSync(path) ? readdirSync(path) : [])
    if (!kept.includes(name)) rmSync(`${path}/${name}`, { recursive: true, force: true });
}

function openDirectory(path: string): Fd {
  return new Fd(call("openat", `"${path}"`, AT.FDCWD, cstr(path), O.RDONLY | O.DIRECTORY | O.CLOEXEC));
}

function recordOf(
  engine: Engine,
  container: Container,
  pid: number,
  criu: string,
  { tcpEstablished = false, fileLocks = false }: CheckpointOptions,
): CheckpointRecord {
  const { id, name, image, imageName, autoRemove, launch } = container;
  const address = launch.network === "bridge" ? addressOf(engine, id)?.address : undefined;
  return {
    createdMs: Date.now(),
    criu,
    id,
    name,
    image,
    imageName,
    autoRemove,
    launch,
    root: engine.root,
    ...(address !== undefined && { address }),
    descriptors: descriptorsOf(pid),
    mounts: externalMounts(pid, readSpec(engine, container).mounts),
    tcpEstablished,
    fileLocks,
  };
}

/** Completes what CRIU has written. */
function complete(engine: Engine, { id }: Container, directory: string, record: CheckpointRecord): void {
  nodeFs().copyFileSync(`${containerDirectory(engine, id)}/config.json`, `${directory}/config.json`);
  writeNewSync(`${directory}/${RECORD_FILE}`, recordText(record), 0o600);
}

/** Puts it where it is to be, once it is on disk: the processes end with their memory. */
function keep(engine: Engine, { id }: Container, directory: string): void {
  const { renameSync, rmSync } = nodeFs();
  const kept = checkpointDirectory(engine, id);
  syncFiles(`${directory}/${DUMP}`);
  syncFiles(directory);
  rmSync(kept, { recursive: true, force: true });
  renameSync(directory, kept);
  syncFile(containerDirectory(engine, id));
}

async function exportTo(
  engine: Engine,
  { id }: Container,
  directory: string,
  write: (archive: AsyncIterable<Uint8Array>) => Promise<unknown>,
): Promise<void> {
  const [{ archiveTree }, { pipeline }] = await Promise.all([
    import("@bantubox/image/files"),
    import("node:stream/promises"),
  ]);
  const upper = nodeFs().createWriteStream(`${directory}/${UPPER}`, { mode: 0o600 });
  await pipeline(archiveTree(`${containerDirectory(engine, id)}/upper`), upper);
  await write(archiveTree(directory));
}

/** A directory, and the files that are in it. */
function syncFiles(directory: string): void {
  for (const name of nodeFs().readdirSync(directory)) syncFile(`${directory}/${name}`);
  syncFile(directory);
}

function syncFile(path: string): void {
  using fd = new Fd(call("openat", `"${path}"`, AT.FDCWD, cstr(path), O.RDONLY | O.CLOEXEC));
  call("fsync", `"${path}"`, fd.raw);
}
