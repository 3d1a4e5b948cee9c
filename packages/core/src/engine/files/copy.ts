import { BoxError, call, close, cstr, isErrno, O } from "@bantubox/ffi";
import {
  archiveMerged,
  S,
  type Stat,
  statIfThereAt,
  Transfer,
  type TransferOptions,
  unpack,
} from "@bantubox/image/files";
import { openDirectory } from "../create/image-root.ts";
import { getContainer } from "../state/container.ts";
import { containerDirectory, type Engine } from "../state/engine.ts";
import { openRoot } from "./container-root.ts";
import { INSIDE, type Located, locate, type World } from "./locate.ts";

export interface CopyOptions {
  /** Owners stay as they are; else files belong to root in a container, and to the caller outside. */
  readonly archive?: boolean | undefined;
  /** If the source is a link, what it leads to is copied. */
  readonly followLink?: boolean | undefined;
  /** Bytes of files so far. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
  /** Told of what is left out: `a socket`, `the device 8:0`. */
  readonly onSkipped?: ((path: Buffer, what: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Copies a file or a directory out of a container, as `docker cp` does: into a directory that is there, else to that
 * name; of `directory/.` what is in it. Paths are resolved inside the container, whatever it does meanwhile.
 *
 * setuid, setgid and capabilities come along only with `archive`; devices and sockets never do.
 *
 * @param path In the container, from its root.
 * @param destination Absolute, on the host.
 * @returns Bytes of all files.
 * @throws {BoxError} `no-such-container`, `no-such-path`, `copy-type`, `in-memory`
 */
export async function copyFromContainer(
  engine: Engine,
  idOrName: string,
  path: string,
  destination: string,
  options: CopyOptions = {},
): Promise<number> {
  const container = getContainer(engine, idOrName);
  await using opened = await openRoot(engine, container);
  using host = openDirectory("/");
  const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  return await copy(
    { world: inContainer(container.name, opened.root), path, followLink: options.followLink === true },
    { world: onHost(host.raw), path: destination },
    {
      ...(options.archive ? {} : { owner }),
      privileges: options.archive ? "always" : "never",
      devices: "skip",
      throughOverlay: true,
      onProgress: options.onProgress,
      onSkipped: options.onSkipped,
      signal: options.signal,
    },
  );
}

/**
 * Copies a file or a directory into a container, as `docker cp` does; see `copyFromContainer`. What is mounted in a
 * container that runs is written to as it sees it.
 *
 * @param source Absolute, on the host.
 * @param path In the container, from its root.
 * @throws {BoxError} As `copyFromContainer`, and `read-only`.
 */
export async function copyToContainer(
  engine: Engine,
  source: string,
  idOrName: string,
  path: string,
  options: CopyOptions = {},
): Promise<number> {
  const container = getContainer(engine, idOrName);
  await using opened = await openRoot(engine, container);
  using host = openDirectory("/");
  try {
    return await copy(
      { world: onHost(host.raw), path: source, followLink: options.followLink === true },
      { world: inContainer(container.name, opened.root), path },
      {
        ...(options.archive ? {} : { owner: { uid: 0, gid: 0 } }),
        privileges: options.archive ? "always" : "same-owner",
        devices: "make",
        exclude: ownFiles(host.raw, containerDirectory(engine, container.id), options.onSkipped),
        onProgress: options.onProgress,
        onSkipped: options.onSkipped,
        signal: options.signal,
      },
    );
  } catch (error) {
    throw readOnly(container.name, path, error);
  }
}

/** Where what is written in the container comes to lie on the host: below the source it would be copied without an end. */
function ownFiles(
  host: number,
  directory: string,
  onSkipped: CopyOptions["onSkipped"],
): NonNullable<TransferOptions["exclude"]> {
  const own = statIfThereAt(host, cstr(directory.slice(1)))?.identity;
  return (path, stat) => {
    if (own === undefined || stat.identity !== own) return false;
    onSkipped?.(path, "the container's own directory");
    return true;
  };
}

/** A file or a directory of a container as a tar stream. @param path As for `copyFromContainer`. */
export async function* archiveFromContainer(
  engine: Engine,
  idOrName: string,
  path: string,
  { followLink = false }: Pick<CopyOptions, "followLink"> = {},
): AsyncGenerator<Uint8Array> {
  const container = getContainer(engine, idOrName);
  await using opened = await openRoot(engine, container);
  const from = { world: inContainer(container.name, opened.root), path, followLink };
  using source = locateSource(from);
  if (isDirectory(source.stat)) {
    using directory = openInside(source);
    const prefix = wantsContents(path) ? "" : baseName(path);
    yield* archiveMerged({ lower: undefined, upper: directory.fd }, { prefix });
  } else {
    const only = { name: source.name, path: Buffer.from(baseName(path)) };
    yield* archiveMerged({ lower: undefined, upper: source.parent }, { only });
  }
}

/**
 * Unpacks a tar stream, also one that gzip or zstd has compressed, in a directory of a container. Owners are the
 * archive's.
 *
 * @param path A directory in the container, from its root.
 */
export async function extractToContainer(
  engine: Engine,
  stream: AsyncIterable<Uint8Array>,
  idOrName: string,
  path: string,
  { onProgress }: Pick<CopyOptions, "onProgress"> = {},
): Promise<number> {
  const container = getContainer(engine, idOrName);
  await using opened = await openRoot(engine, container);
  const world = inContainer(container.name, opened.root);
  {
    using target = locate(world, path, true);
    if (target.stat === undefined || !isDirectory(target.stat)) {
      const why = target.stat === undefined ? "there is no such directory" : "it is not a directory";
      throw new BoxError("no-such-path", `Cannot unpack into ${world.show(path)}: ${why}`);
    }
  }
  try {
    return await unpack(opened.root, Buffer.from(path), stream, onProgress);
  } catch (error) {
    throw readOnly(container.name, path, error);
  }
}

interface Source {
  readonly world: World;
  readonly path: string;
  readonly followLink: boolean;
}

interface Target {
  readonly world: World;
  readonly path: string;
}

async function copy(from: Source, to: Target, options: TransferOptions): Promise<number> {
  using source = locateSource(from);
  using target = locate(to.world, to.path, true);
  const transfer = new Transfer({
    ...options,
    onSkipped(path, what) {
      // What was asked for by its name is not left out with a word of warning.
      if (path.length === 0)
        throw new BoxError("copy-type", `Cannot copy ${from.world.show(from.path)}: it is ${what}`);
      options.onSkipped?.(path, what);
    },
  });
  const isTree = isDirectory(source.stat);
  if (isTree && target.stat !== undefined && !isDirectory(target.stat)) {
    throw new BoxError(
      "copy-type",
      `Cannot copy the directory ${from.world.show(from.path)} to ${to.world.show(to.path)}: that is a file`,
    );
  }
  if (target.stat === undefined && !isTree && /\/\.?$/.test(to.path)) {
    throw new BoxError("no-such-path", `Cannot copy to ${to.world.show(to.path)}: there is no such directory`, {
      hint: "Without the slash at its end it becomes the file's name",
    });
  }
  if (!isDirectory(target.stat)) await copyAs(transfer, source, target);
  else {
    using into = openInside(target);
    if (isTree && (wantsContents(from.path) || source.name.length === 1)) {
      using directory = openInside(source);
      await transfer.copyContents(directory.fd, into.fd);
    } else await transfer.copy(source, { parent: into.fd, name: cstr(baseName(from.path)) });
  }
  return transfer.bytes;
}

/** To a name that is free, or a file's. */
async function copyAs(transfer: Transfer, source: Located, target: Located): Promise<void> {
  if (source.name.length > 1) {
    await transfer.copy(source, target);
    return;
  }
  call("mkdirat", JSON.stringify(Buffer.from(target.name).toString()), target.parent, target.name, 0o700);
  using into = openInside(target);
  using directory = openInside(source);
  await transfer.copyContents(directory.fd, into.fd);
  const itself = cstr("");
  transfer.copyAttributes({ parent: directory.fd, name: itself }, { parent: into.fd, name: itself });
}

function locateSource({ world, path, followLink }: Source): Located & { readonly stat: Stat } {
  const found = locate(world, path, followLink);
  if (found.stat !== undefined) return found as Located & { readonly stat: Stat };
  found[Symbol.dispose]();
  throw new BoxError("no-such-path", `Cannot copy ${world.show(path)}: there is no such file or directory`);
}

function openInside({ parent, name }: Pick<Located, "parent" | "name">): Disposable & { readonly fd: number } {
  const own = name.length === 1 ? cstr(".") : name;
  const flags = O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC;
  const fd = call("openat", JSON.stringify(Buffer.from(own.subarray(0, -1)).toString()), parent, own, flags);
  return { fd, [Symbol.dispose]: () => close(fd) };
}

/** Whether the path ends so that what is in the directory is meant, and not the directory. */
function wantsContents(path: string): boolean {
  return /(^|\/)\.$/.test(path);
}

/** What a copy of it is called. */
function baseName(path: string): string {
  return process
    .getBuiltinModule("node:path")
    .posix.basename(process.getBuiltinModule("node:path").posix.normalize(path));
}

function isDirectory(stat: Stat | undefined): boolean {
  return stat !== undefined && (stat.mode & S.FMT) === S.DIR;
}

function inContainer(name: string, root: number): World {
  return { root, resolve: INSIDE, show: (path) => JSON.stringify(`${name}:${path}`) };
}

function onHost(root: number): World {
  return { root, resolve: 0, show: (path) => JSON.stringify(path) };
}

function readOnly(name: string, path: string, error: unknown): unknown {
  if (!isErrno(error, "EROFS")) return error;
  return new BoxError("read-only", `Cannot copy into "${name}:${path}": it is mounted read-only there`, {
    cause: error,
  });
}
