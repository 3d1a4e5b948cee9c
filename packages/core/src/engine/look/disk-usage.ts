import { cstr, isErrno } from "@bantubox/ffi";
import { listImages } from "@bantubox/image";
import { openDirectory, treeSize } from "@bantubox/image/files";
import { findContainer } from "../state/container.ts";
import type { Engine } from "../state/engine.ts";
import { listVolumes, type VolumeSummary, volumeSize } from "../store/manage-volumes.ts";
import { type ContainerSummary, listContainers } from "./list.ts";

export interface ImageUsage {
  readonly id: string;
  /** As people write them; none for one that is only known by its ID. */
  readonly names: readonly string[];
  /** RFC 3339. */
  readonly created: string;
  /** Bytes of all its layers, of those that other images have too, and of those that only it has. */
  readonly bytes: number;
  readonly sharedBytes: number;
  readonly uniqueBytes: number;
  /** How many containers are made of it. */
  readonly containers: number;
}

export interface ContainerUsage extends ContainerSummary {
  /** Bytes that it has written. */
  readonly bytes: number;
}

export interface VolumeUsage extends VolumeSummary {
  readonly bytes: number;
}

/** What lies in the store. */
export interface DiskUsage {
  readonly images: readonly ImageUsage[];
  /** Bytes of all layers, each counted once; and of those that no container needs. */
  readonly layerBytes: number;
  readonly reclaimableLayerBytes: number;
  readonly containers: readonly ContainerUsage[];
  readonly volumes: readonly VolumeUsage[];
}

/** Measures what images, containers and volumes take on disk. */
export function diskUsage(engine: Engine): DiskUsage {
  const containers = listContainers(engine, { all: true });
  const images = imageUsages(engine, containers);
  const sum = (query: string): number => engine.database.query<{ bytes: number | null }, []>(query).get()?.bytes ?? 0;
  const layerBytes = sum("SELECT sum(bytes) AS bytes FROM layer");
  const needed = sum(
    `SELECT sum(bytes) AS bytes FROM layer WHERE id IN
     (SELECT layer FROM image_layer WHERE image IN (SELECT image FROM container))`,
  );
  return {
    images,
    layerBytes,
    reclaimableLayerBytes: layerBytes - needed,
    containers: containers.map((each) => ({ ...each, bytes: containerSize(engine, each.id) })),
    volumes: listVolumes(engine).map((each) => ({ ...each, bytes: volumeSize(engine, each.name) })),
  };
}

function imageUsages(engine: Engine, containers: readonly ContainerSummary[]): ImageUsage[] {
  const unique = new Map(
    engine.database
      .query<{ image: string; bytes: number }, []>(
        `SELECT i.image, sum(l.bytes) AS bytes FROM image_layer i JOIN layer l ON l.id = i.layer
         WHERE (SELECT count(*) FROM image_layer o WHERE o.layer = i.layer) = 1 GROUP BY i.image`,
      )
      .all()
      .map(({ image, bytes }) => [image, bytes]),
  );
  return listImages(engine).map(({ id, names, created, bytes }) => {
    const uniqueBytes = unique.get(id) ?? 0;
    const users = containers.filter(({ imageId }) => imageId === id).length;
    return { id, names, created, bytes, uniqueBytes, sharedBytes: bytes - uniqueBytes, containers: users };
  });
}

/** Bytes that a container has written: on overlay its upper directory, else its whole root. */
export function containerSize(engine: Engine, id: string): number {
  const root = findContainer(engine, id)?.launch.root;
  // It may have removed itself meanwhile.
  if (root === undefined) return 0;
  // What writes through to a directory of the host, or into memory, takes nothing here.
  const isOwn = root.kind === "overlay" || (root.kind === "directory" && root.origin !== undefined);
  if (!isOwn) return 0;
  const path = root.kind === "overlay" ? `${root.directory}/upper` : root.path;
  try {
    using upper = openDirectory(undefined, cstr(path), JSON.stringify(path));
    return treeSize(upper.raw);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return 0;
    throw error;
  }
}
