import type { Garbage } from "./garbage.ts";
import type { InitOptions } from "./init.ts";
import type { PullOptions, PullResult } from "./pull.ts";
import type { Removed, RemoveOptions } from "./remove.ts";
import { type Image, type ImageStore, layersDirectory } from "./store.ts";

export type { Credentials } from "./auth.ts";
export type { Garbage } from "./garbage.ts";
export type { InitOptions } from "./init.ts";
export { type ImageSummary, listImages } from "./list.ts";
export { markImages } from "./marker.ts";
export type { PullOptions, PullPhase, PullProgress, PullResult } from "./pull.ts";
export { familiarName, formatReference, parseReference, type Reference } from "./reference.ts";
export type { Removed, RemoveOptions } from "./remove.ts";
export {
  createImageTables,
  type DriverName,
  driverName,
  findImage,
  getImage,
  type Healthcheck,
  HOST_IMAGE,
  type Image,
  type ImageKind,
  type ImageStore,
  layersDirectory,
  type RunConfig,
  suggestNames,
} from "./store.ts";

// Running a container needs none of what follows, nor what it imports: it is loaded when it is called.

/** Brings an image from its registry; see pull.ts. */
export async function pullImage(store: ImageStore, name: string, options?: PullOptions): Promise<PullResult> {
  return (await import("./pull.ts")).pullImage(store, name, options);
}

/** Makes an image of a directory; see init.ts. */
export async function initImage(
  store: ImageStore,
  directory: string,
  name: string,
  options?: InitOptions,
): Promise<Image> {
  return (await import("./init.ts")).initImage(store, directory, name, options);
}

/** Takes a name away, or deletes an image; see remove.ts. */
export async function removeImage(store: ImageStore, name: string, options?: RemoveOptions): Promise<Removed> {
  return (await import("./remove.ts")).removeImage(store, name, options);
}

/** Deletes what no image needs; see garbage.ts. */
export async function collectGarbage(store: ImageStore): Promise<Garbage> {
  return (await import("./garbage.ts")).collectGarbage(store);
}

/** The tar of a layer that `initImage` made: always the bytes that its digest is of; see archive.ts. */
export async function archiveLayer(store: ImageStore, layer: string): Promise<AsyncGenerator<Uint8Array>> {
  const { archiveTree } = await import("./archive.ts");
  return archiveTree(`${layersDirectory(store)}/${layer}`);
}

/** Makes a copy of an image's whole tree for a container, where the driver has such; see storage/driver.ts. */
export async function copyImage(store: ImageStore, origin: string, path: string): Promise<void> {
  await (await import("./storage/drivers.ts")).driverOf(store).whole?.copy(origin, path);
}

/** Copies a tree into an empty directory, as it is; see copy.ts. */
export async function copyTree(source: string, target: string): Promise<number> {
  return (await import("./copy.ts")).copyTree(source, target);
}
