import { detectCgroups } from "@bantubox/cgroup";
import { BoxError, isErrno, nodeFs, readIfThere } from "@bantubox/ffi";
import { findImage, type Image, layersDirectory } from "@bantubox/image";
import { extractLayer } from "@bantubox/image/files";
import { parseConfig } from "../../runtime/config/parse.ts";
import { findCriu } from "../../runtime/criu/mod.ts";
import type { Spec } from "../../runtime/spec.ts";
import { fillDirectory } from "../create/create.ts";
import { findOrPull, type PullHooks } from "../create/images.ts";
import { lowerOf, makeRoot } from "../create/root.ts";
import { linkVolumes } from "../create/volumes.ts";
import { forgetNames } from "../kept/kept-exec.ts";
import { type Container, checkName, findContainer, nameTaken, writeRow } from "../state/container.ts";
import { cgroupPath, containerDirectory, type Engine } from "../state/engine.ts";
import { wishAddress } from "../state/leases.ts";
import { makeLocked } from "../state/lock.ts";
import { removeCompletely } from "../state/sweep.ts";
import { CHECKPOINT, type CheckpointRecord, findOdd, RECORD_FILE, readRecord, UPPER } from "./checkpoint-files.ts";
import { launchRestored, type RestoreOptions } from "./restore.ts";

export interface ImportCheckpointOptions extends RestoreOptions {
  /** The new container's; the former one's without it. */
  readonly name?: string | undefined;
}

/**
 * Makes a container of an exported checkpoint and lets it go on: a new one, of another ID, whose image is the same.
 *
 * The archive decides what the container may do, as config.json does: whoever imports one trusts who made it.
 *
 * @returns The container's ID.
 * @throws {BoxError} `bad-checkpoint`, `image-differs`, `name-taken`, `no-such-path` and as `restoreContainer`
 */
export async function importCheckpoint(
  engine: Engine,
  file: string,
  options: ImportCheckpointOptions = {},
  hooks: PullHooks = {},
): Promise<string> {
  if (options.name !== undefined) checkName(options.name);
  const criu = findCriu(options.criu, `restore "${file}"`);
  const id = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("hex");
  const lock = makeLocked(engine, id);
  const directory = containerDirectory(engine, id);
  const checkpoint = `${directory}/${CHECKPOINT}`;
  try {
    const record = await unpack(file, checkpoint);
    const name = options.name ?? record.name;
    checkName(name);
    if (findContainer(engine, name)?.name === name) throw nameTaken(engine, name);
    const image = await imageOf(engine, record, hooks);
    const container = containerOf(engine, id, name, record, image);
    const spec = specOf(engine, file, checkpoint, record, container);
    await makeRoot(engine, container.launch.root, sourceOfImage(engine, image));
    for (const each of ["rootfs", "upper", "work"]) nodeFs().mkdirSync(`${directory}/${each}`, { mode: 0o755 });
    await extract(file, `${checkpoint}/${UPPER}`, `${directory}/upper`);
    nodeFs().rmSync(`${checkpoint}/${UPPER}`);
    // Not before all its files are there: until then a sweep removes what somebody killed has left.
    insert(engine, container, spec);
    fillDirectory(engine, container, spec, false);
    if (record.address !== undefined) wishAddress(engine, id, record.address);
    await launchRestored(
      engine,
      { container, lock, spec, cgroupHost: detectCgroups(), isFirst: true },
      record,
      criu,
      options,
    );
    return id;
  } catch (error) {
    removeCompletely(engine, id);
    if (!(error instanceof BoxError && error.code === "criu-failed")) throw error;
    // CRIU's log, which the hint names, is gone with the container.
    throw new BoxError(error.code, error.message, { cause: error });
  } finally {
    lock.close();
  }
}

/** What whoever made the archive has written is not looked at before it is known to be plain files. */
async function unpack(file: string, directory: string): Promise<CheckpointRecord> {
  nodeFs().mkdirSync(directory, { mode: 0o700 });
  await extract(file, file, directory);
  const { existsSync } = nodeFs();
  const missing = [RECORD_FILE, UPPER].find((name) => !existsSync(`${directory}/${name}`));
  const fault = missing === undefined ? findOdd(directory) : `it has no ${missing}`;
  if (fault !== undefined) throw badArchive(file, fault);
  const record = readRecord(directory);
  if (record !== undefined && /^sha(?:256|512):[0-9a-f]+$/.test(record.image)) return record;
  throw badArchive(file, "it is not of an image's container");
}

/** @param file The archive that `blob` is, or came in. */
async function extract(file: string, blob: string, directory: string): Promise<void> {
  try {
    await extractLayer({ blob, directory });
  } catch (error) {
    if (isErrno(error, "ENOENT", "EACCES", "EISDIR"))
      throw new BoxError("archive-unreadable", `Cannot read "${file}": ${error.code}`, { cause: error });
    if (error instanceof BoxError) throw badArchive(file, error.message);
    throw error;
  }
}

/** Its layers are what the writable one lies on: no other image will do. */
async function imageOf(engine: Engine, { image: id, imageName }: CheckpointRecord, hooks: PullHooks): Promise<Image> {
  const image = findImage(engine, id) ?? (await findOrPull(engine, imageName, {}, hooks));
  if (image.id === id) return image;
  throw new BoxError(
    "image-differs",
    `Cannot restore: the image "${imageName}" here is not the one of the checkpoint`,
    {
      hint: `It needs ${id}: bring it here with "bb save" and "bb load"`,
    },
  );
}

function sourceOfImage(engine: Engine, image: Image): Parameters<typeof makeRoot>[2] {
  return {
    image,
    id: image.id,
    name: image.name,
    base: layersDirectory(engine),
    layers: image.layers.toReversed(),
  };
}

function containerOf(engine: Engine, id: string, name: string, record: CheckpointRecord, image: Image): Container {
  const directory = containerDirectory(engine, id);
  const now = Date.now();
  return {
    id,
    name,
    image: image.id,
    imageName: image.name,
    createdMs: now,
    startedMs: now,
    autoRemove: record.autoRemove,
    launch: {
      ...record.launch,
      root: {
        kind: "overlay",
        ...lowerOf(sourceOfImage(engine, image), directory),
        directory,
        isVolatile: record.autoRemove,
      },
    },
  };
}

/** The archive's config.json, with the paths of this store and container. */
function specOf(engine: Engine, file: string, checkpoint: string, record: CheckpointRecord, { id }: Container): Spec {
  const text = readIfThere(`${checkpoint}/config.json`);
  if (text === undefined) throw badArchive(file, "it has no config.json");
  const spec = parseConfig(text, checkpoint);
  const former = `${record.root}/containers/${record.id}/`;
  const volumes = `${record.root}/volumes/`;
  const moved = (source: string, from: string, to: string): string => {
    if (source.split("/").includes("..")) throw badArchive(file, `it has a mount of "${source}"`);
    return `${to}${source.slice(from.length)}`;
  };
  const mounts = spec.mounts.map((mount) => {
    const { source } = mount;
    if (source?.startsWith(former))
      return { ...mount, source: moved(source, former, `${containerDirectory(engine, id)}/`) };
    if (source?.startsWith(volumes)) return { ...mount, source: moved(source, volumes, `${engine.root}/volumes/`) };
    return mount;
  });
  return {
    ...spec,
    root: { ...spec.root, path: "rootfs" },
    mounts,
    linux: { ...spec.linux, cgroupsPath: cgroupPath(id) },
  };
}

/** The row, the name, and the volumes, which have to be here: an archive has none. */
function insert(engine: Engine, container: Container, spec: Spec): void {
  const { database } = engine;
  const prefix = `${engine.root}/volumes/`;
  const volumes = spec.mounts.flatMap(({ source, destination }) => {
    if (source?.startsWith(prefix) !== true) return [];
    const name = source.slice(prefix.length).split("/", 1)[0] ?? "";
    if (nodeFs().existsSync(source)) return [{ name, isAnonymous: false, target: destination }];
    throw new BoxError("no-such-volume", `Cannot restore "${container.name}": there is no volume "${name}" here`, {
      hint: "An archive holds no volumes: copy their files first",
    });
  });
  const write = database.transaction(() => {
    if (!writeRow(engine, container, container.imageName)) throw nameTaken(engine, container.name);
    linkVolumes(engine, container.id, volumes);
  });
  write.immediate();
  // Somebody may have called another container so, by the beginning of its ID.
  forgetNames(engine);
}

function badArchive(file: string, why: string): BoxError {
  return new BoxError("bad-checkpoint", `Cannot restore from "${file}": ${why}`, {
    hint: 'It has to be what "bb checkpoint --export" wrote',
  });
}
