import { detectCgroups } from "@bantubox/cgroup";
import { BoxError, isErrno, nodeFs, readTextSync } from "@bantubox/ffi";
import { findImage, type Image, layersDirectory } from "@bantubox/image";
import { extractLayer } from "@bantubox/image/files";
import { findCriu } from "../../runtime/criu/mod.ts";
import type { Spec } from "../../runtime/spec.ts";
import { fillDirectory, lowerOf, makeRoot, nameTaken } from "../create/create.ts";
import { findOrPull, type PullHooks } from "../create/images.ts";
import { linkVolumes } from "../create/volumes.ts";
import { forgetNames } from "../kept/kept-exec.ts";
import { type Container, checkName, writeRow } from "../state/container.ts";
import { cgroupPath, containerDirectory, type Engine } from "../state/engine.ts";
import { wishAddress } from "../state/leases.ts";
import { makeLocked } from "../state/lock.ts";
import { removeCompletely } from "../state/sweep.ts";
import { CHECKPOINT, type CheckpointRecord, readRecord, UPPER } from "./checkpoint-files.ts";
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
    await unpack(file, checkpoint);
    const record = readRecord(checkpoint);
    if (record === undefined) throw badArchive(file, "it has no checkpoint.json");
    const image = await imageOf(engine, record, hooks);
    const container = containerOf(engine, id, record, image, options.name);
    const spec = specOf(engine, file, checkpoint, record, container);
    await makeRoot(engine, container.launch.root, sourceOfImage(engine, image));
    insert(engine, container, spec);
    for (const name of ["rootfs", "upper", "work"]) nodeFs().mkdirSync(`${directory}/${name}`, { mode: 0o755 });
    fillDirectory(engine, container, spec, false);
    if (record.address !== undefined) wishAddress(engine, id, record.address);
    await extractLayer({ blob: `${checkpoint}/${UPPER}`, directory: `${directory}/upper` });
    nodeFs().rmSync(`${checkpoint}/${UPPER}`);
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
    throw error;
  } finally {
    lock.close();
  }
}

async function unpack(file: string, directory: string): Promise<void> {
  nodeFs().mkdirSync(directory, { mode: 0o700 });
  try {
    await extractLayer({ blob: file, directory });
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

function containerOf(
  engine: Engine,
  id: string,
  record: CheckpointRecord,
  image: Image,
  name = record.name,
): Container {
  const directory = containerDirectory(engine, id);
  const now = Date.now();
  return {
    id,
    name,
    image: record.image,
    imageName: record.imageName,
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
  let spec: Spec;
  try {
    spec = JSON.parse(readTextSync(`${checkpoint}/config.json`)) as Spec;
  } catch (error) {
    throw badArchive(file, `its config.json cannot be read: ${error instanceof Error ? error.message : error}`);
  }
  if (!spec.process || !spec.root || !Array.isArray(spec.mounts) || !spec.linux)
    throw badArchive(file, "its config.json is not one of a container");
  const former = `${record.root}/containers/${record.id}/`;
  const volumes = `${record.root}/volumes/`;
  const mounts = spec.mounts.map((mount) => {
    const { source } = mount;
    if (source?.startsWith(former))
      return { ...mount, source: `${containerDirectory(engine, id)}/${source.slice(former.length)}` };
    if (source?.startsWith(volumes))
      return { ...mount, source: `${engine.root}/volumes/${source.slice(volumes.length)}` };
    return mount;
  });
  return { ...spec, mounts, linux: { ...spec.linux, cgroupsPath: cgroupPath(id) } };
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
