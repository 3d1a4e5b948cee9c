import { detectCgroups, freezerFiles } from "@bantubox/cgroup";
import { AT, BoxError, call, cstr, Fd, mkdirSync, nodeFs, O, writeNewSync } from "@bantubox/ffi";
import { descriptorsOf, dump, externalMounts, externalNamespace, findCriu, REQUEST } from "../../runtime/criu/mod.ts";
import { addressOf } from "../create/network.ts";
import { type Container, getContainer, readSpec } from "../state/container.ts";
import { cgroupPath, containerDirectory, type Engine } from "../state/engine.ts";
import { tryLockDirectory, waitLock } from "../state/lock.ts";
import { getProcess } from "../state/process.ts";
import {
  CHECKPOINT,
  type CheckpointRecord,
  DUMP,
  NEW_CHECKPOINT,
  RECORD_FILE,
  recordText,
  UPPER,
} from "./checkpoint-files.ts";

/** For the monitor to write its record and clear up. */
const CLEAR_TIMEOUT_MS = 10_000;
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
  try {
    mkdirSync(`${directory.path}/${DUMP}`, { mode: 0o700 });
    using images = openDirectory(`${directory.path}/${DUMP}`);
    const record = recordOf(engine, container, pid, criu.version, options);
    const [freezer] = freezerFiles(detectCgroups(), cgroupPath(id));
    await dump(criu, {
      type: REQUEST.DUMP,
      what: `checkpoint "${name}"`,
      log: `${directory.path}/${DUMP}/${LOG}`,
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
        freezeCgroup: freezer?.slice(0, freezer.lastIndexOf("/")),
      },
      // The processes still stand still, and go on if this fails.
      onNotify: (script) =>
        script === "post-dump" ? keep(engine, container, directory.path, record, options) : undefined,
    });
  } catch (error) {
    clear(directory.path, [DUMP]);
    clear(`${directory.path}/${DUMP}`, [LOG]);
    throw error;
  }
  nodeFs().rmSync(directory.path, { recursive: true, force: true });
  if (options.leaveRunning !== true) (await waitLock(engine, id, CLEAR_TIMEOUT_MS))?.close();
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

/** Completes what CRIU has written, and puts it where it is to be. */
async function keep(
  engine: Engine,
  container: Container,
  directory: string,
  record: CheckpointRecord,
  options: CheckpointOptions,
): Promise<void> {
  const { copyFileSync, createWriteStream, renameSync, rmSync } = nodeFs();
  const own = containerDirectory(engine, container.id);
  copyFileSync(`${own}/config.json`, `${directory}/config.json`);
  writeNewSync(`${directory}/${RECORD_FILE}`, recordText(record), 0o600);
  if (options.export === undefined) {
    rmSync(`${own}/${CHECKPOINT}`, { recursive: true, force: true });
    renameSync(directory, `${own}/${CHECKPOINT}`);
    return;
  }
  const [{ archiveTree }, { pipeline }] = await Promise.all([
    import("@bantubox/image/files"),
    import("node:stream/promises"),
  ]);
  await pipeline(archiveTree(`${own}/upper`), createWriteStream(`${directory}/${UPPER}`, { mode: 0o600 }));
  await options.export(archiveTree(directory));
}
