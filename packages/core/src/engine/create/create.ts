import { type CgroupHost, detectCgroups } from "@bantubox/cgroup";
import { BoxError, type Fd, isErrno, mkdirSync, writeNewSync } from "@bantubox/ffi";
import { getImage } from "@bantubox/image";
import { FILE_OPTION } from "../../runtime/mount-options.ts";
import type { Mount, Spec } from "../../runtime/spec.ts";
import { forgetNames } from "../kept/kept-exec.ts";
import { removeFiles } from "../life/remove-files.ts";
import { type Container, checkName, findContainer, type Launch, nameTaken, writeRow } from "../state/container.ts";
import { cgroupPath, containerDirectory, type Engine } from "../state/engine.ts";
import { makeLocked } from "../state/lock.ts";
import { nameOf, randomName } from "../state/names.ts";
import { recordPath, recordText } from "../state/rowless.ts";
import { removeRows, sweepRows } from "../state/rows.ts";
import { buildSpec, entrypointAndCommand, hostnameOf } from "./build-spec.ts";
import { DEFAULT_DETACH_KEYS, DEFAULT_STOP_TIMEOUT_SEC } from "./defaults.ts";
import { openDirectory, openLayers } from "./image-root.ts";
import type { PullHooks } from "./images.ts";
import type { ContainerOptions } from "./options.ts";
import { limitRoot, makeRoot, rootOf } from "./root.ts";
import { parseSignal } from "./signals.ts";
import { findSource, pathIn, type Source } from "./source.ts";
import { resolveMounts, type UserMounts } from "./user-mounts.ts";
import { type Identity, resolveUser } from "./users.ts";
import { linkVolumes, makeVolumeDirectory, type VolumeMount, volumeDirectory } from "./volumes.ts";

/** A container that exists, and what its start would otherwise have to read again. */
export interface Created {
  readonly container: Container;
  /** The container's lock, which the monitor takes over; whoever does not start it closes it. */
  readonly lock: Fd;
  readonly spec: Spec;
  readonly cgroupHost: CgroupHost;
  /** It has never been started before. */
  readonly isFirst: boolean;
}

/**
 * Makes a container: its row, its directory, its config.json. Nothing runs yet.
 *
 * The directory comes first, locked: one without a row and without a holder of
 * its lock is left over from something that was killed, and is swept.
 *
 * @param isStarted Whether the caller starts it at once, so that the row says so from the beginning.
 */
export async function makeContainer(
  engine: Engine,
  options: ContainerOptions,
  hooks: PullHooks = {},
  isStarted = false,
): Promise<Created> {
  if (options.name !== undefined) checkName(options.name);
  const source = await findSource(engine, options, hooks);
  const id = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("hex");
  const { config } = source.image;
  const identity = identify(engine, source, options.user ?? config.user);
  const hostname = hostnameOf(options, id);
  const network = networkOf(engine, options.network ?? "bridge");
  const cgroupHost = detectCgroups();
  const launch = launchOf(engine, options, source, { id, hostname, network });
  const userMounts = resolveMounts(engine, options.mounts ?? [], config.volumes);
  const spec = await buildSpec({
    id,
    options,
    config,
    identity,
    hostname,
    network,
    mounts: [...fileMounts(engine, id, userMounts.mounts), ...userMounts.mounts],
    cgroupHost,
    cgroupsPath: cgroupPath(id),
    // A directory of the host shows everything but the engine's own store.
    maskedPaths:
      source.image.kind === "host" ? [engine.root, engine.runRoot].flatMap((path) => pathIn(source, path)) : [],
  });
  const lock = makeLocked(engine, id);
  try {
    await makeRoot(engine, launch.root, source);
    for (const name of ["rootfs", "upper", "work"])
      mkdirSync(`${containerDirectory(engine, id)}/${name}`, { mode: 0o755 });
    if (options.storageSizeBytes !== undefined) await limitRoot(engine, launch.root, options.storageSizeBytes);
    const row = { id, source, isStarted, volumes: userMounts.volumes };
    const isRowless = isStarted && needsNoRow(options, userMounts);
    const container = isRowless ? rowlessContainer(launch, row) : insertRow(engine, options, launch, row);
    fillDirectory(engine, container, spec, isRowless);
    // Whoever removes the image either sees the container from here on, or has removed it before this: a mere reader
    // would see it until that is committed.
    if (source.image.kind !== "host") engine.database.transaction(() => getImage(engine, source.id)).immediate();
    for (const { name } of userMounts.volumes) makeVolumeDirectory(engine, name);
    await fillVolumes(engine, source, id, userMounts.volumes);
    if (options.cidfile !== undefined) writeCidfile(options.cidfile, id);
    return { container, lock, spec, cgroupHost, isFirst: true };
  } catch (error) {
    using _lock = lock;
    // Killed in between, this leaves a directory without a row, which is swept.
    removeRows(engine, id);
    removeFiles(containerDirectory(engine, id));
    throw error;
  }
}

/** An image's users never change, so they are looked up once; a directory's may, so they are always. */
function identify(engine: Engine, source: Source, user: string): Identity {
  const isFixed = source.image.kind !== "host";
  if (isFixed) {
    const row = engine.database
      .query<{ identity: string }, [string, string]>("SELECT identity FROM image_user WHERE image = ? AND user = ?")
      .get(source.id, user);
    if (row !== null) return JSON.parse(row.identity) as Identity;
  }
  using root: Fd = isFixed ? openLayers(source.base, source.layers) : openDirectory(source.layers[0] ?? "/");
  const identity = resolveUser(root.raw, user);
  if (isFixed) {
    engine.database
      // Not of an image that was removed meanwhile: what was read may have been half of it.
      .query(
        "INSERT OR IGNORE INTO image_user (image, user, identity) SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM image WHERE id = ?1)",
      )
      .run(source.id, user, JSON.stringify(identity));
  }
  return identity;
}

function networkOf(engine: Engine, text: string): string {
  if (text === "none" || text === "host" || text === "bridge") return text;
  if (text === "default") return "bridge";
  if (text.startsWith("container:")) {
    const other = findContainer(engine, text.slice("container:".length));
    if (other !== undefined) return `container:${other.id}`;
  }
  throw new BoxError("no-such-network", `Cannot join the network ${JSON.stringify(text)}: there is none of that name`, {
    hint: 'Known are "bridge", "host", "none" and "container:NAME"',
  });
}

function launchOf(
  engine: Engine,
  options: ContainerOptions,
  source: Source,
  { id, hostname, network }: { id: string; hostname: string; network: string },
): Launch {
  const { config } = source.image;
  const stopSignal = options.stopSignal ?? (config.stopSignal === "" ? "SIGTERM" : config.stopSignal);
  parseSignal(stopSignal);
  return {
    root: rootOf(engine, options, source, containerDirectory(engine, id)),
    tty: options.tty === true,
    interactive: options.interactive === true,
    init: options.init === true,
    network,
    hostname,
    detachKeys: options.detachKeys ?? DEFAULT_DETACH_KEYS,
    stopSignal,
    stopTimeoutSec: options.stopTimeoutSec ?? DEFAULT_STOP_TIMEOUT_SEC,
    ...entrypointAndCommand(options, config),
    labels: [
      ...config.labels.filter(([key]) => !Object.hasOwn(options.labels ?? {}, key)),
      ...Object.entries(options.labels ?? {}),
    ],
    privileged: options.privileged === true,
  };
}

/** Files that the engine writes at each start, unless the user mounts something there. */
function fileMounts(engine: Engine, id: string, own: readonly Mount[]): Mount[] {
  const directory = containerDirectory(engine, id);
  const mounts: Mount[] = [];
  for (const name of ["resolv.conf", "hostname", "hosts"]) {
    const destination = `/etc/${name}`;
    if (own.some((mount) => mount.destination === destination)) continue;
    mounts.push({
      destination,
      type: "bind",
      source: `${directory}/${name}`,
      options: ["bind", "rprivate", FILE_OPTION],
    });
  }
  return mounts;
}

interface NewRow {
  readonly id: string;
  readonly source: Source;
  readonly isStarted: boolean;
  readonly volumes: readonly VolumeMount[];
}

/** Whether nothing of the container has to be unique, or is of the database. */
function needsNoRow({ autoRemove, name }: ContainerOptions, { volumes }: UserMounts): boolean {
  return autoRemove === true && name === undefined && volumes.length === 0;
}

function rowlessContainer(launch: Launch, { id, source }: NewRow): Container {
  const now = Date.now();
  const imageName = source.name === "" ? source.id : source.name;
  return {
    id,
    name: nameOf(id),
    image: source.id,
    imageName,
    createdMs: now,
    startedMs: now,
    autoRemove: true,
    launch,
  };
}

/** Names are unique by the table's constraint; a name held by something that has ended for good is freed first. */
function insertRow(
  engine: Engine,
  options: ContainerOptions,
  launch: Launch,
  { id, source, isStarted, volumes }: NewRow,
): Container {
  const { database } = engine;
  const createdMs = Date.now();
  const container = {
    id,
    name: options.name ?? randomName(),
    image: source.id,
    imageName: source.name,
    createdMs,
    startedMs: isStarted ? createdMs : undefined,
    autoRemove: options.autoRemove === true,
    launch,
  };
  const write = database.transaction(() => {
    sweepRows(engine, options.name);
    for (let i = 0; !writeRow(engine, container, source.name); i++) {
      if (options.name !== undefined) throw nameTaken(engine, options.name);
      container.name = `${randomName()}${i}`;
    }
    linkVolumes(engine, id, volumes);
  });
  write.immediate();
  // Somebody may have called another container so, by the beginning of its ID.
  if (options.name !== undefined) forgetNames(engine);
  return container;
}

export function fillDirectory(engine: Engine, container: Container, spec: Spec, isRowless: boolean): void {
  const directory = containerDirectory(engine, container.id);
  writeNewSync(`${directory}/config.json`, JSON.stringify(spec), 0o600);
  if (isRowless) writeNewSync(recordPath(engine, container.id), recordText(container), 0o600);
}

/** Copies what the image has at an empty volume's place into it, as Docker does. */
async function fillVolumes(engine: Engine, source: Source, id: string, volumes: readonly VolumeMount[]): Promise<void> {
  if (volumes.length === 0 || source.image.kind === "host") return;
  const { fillVolume } = await import("./fill-volume.ts");
  using root = openLayers(source.base, source.layers);
  const others = engine.database.query("SELECT 1 FROM container_volume WHERE volume = ? AND container <> ?");
  for (const { name, target } of volumes) {
    const directory = volumeDirectory(engine, name).slice(0, -"/_data".length);
    await fillVolume(root.raw, target, directory, () => others.get(name, id) !== null);
  }
}

function writeCidfile(path: string, id: string): void {
  if (!path.startsWith("/"))
    throw new BoxError("bad-cidfile", `Cannot write the ID to "${path}": it is not an absolute path`);
  try {
    writeNewSync(path, id, 0o644);
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
    throw new BoxError("cidfile-exists", `Cannot write the ID to "${path}": the file exists`, {
      cause: error,
      hint: "Remove it, or check that its container is not the one you want",
    });
  }
}
