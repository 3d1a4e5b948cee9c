import type { Loaded, LoadOptions } from "./archive/load.ts";
import type { SaveOptions } from "./archive/save.ts";
import type { CheckOptions, Problem } from "./check/check.ts";
import type { ImageDescription } from "./document/describe.ts";
import type { ImageStep } from "./document/history.ts";
import type { ImportOptions } from "./make/import.ts";
import type { InitOptions } from "./make/init.ts";
import type { Credentials } from "./registry/auth.ts";
import type { InspectedManifest } from "./registry/inspect-manifest.ts";
import type { LoginResult } from "./registry/login.ts";
import type { RegistryOptions } from "./registry/registry.ts";
import type { FoundImage, SearchOptions } from "./registry/search.ts";
import type { Garbage } from "./store/garbage.ts";
import type { Pruned, PruneOptions, Removed, RemoveOptions } from "./store/remove.ts";
import { type Image, type ImageStore, layersDirectory } from "./store/store.ts";
import type { PullOptions, PullResult } from "./transfer/pull.ts";
import type { PulledTags } from "./transfer/pull-tags.ts";
import type { PushOptions, PushResult } from "./transfer/push.ts";

export type { Loaded, LoadOptions } from "./archive/load.ts";
export type { SaveFormat, SaveOptions, SaveProgress } from "./archive/save.ts";
export type { CheckOptions, Problem } from "./check/check.ts";
export type { ImageDescription } from "./document/describe.ts";
export type { ImageStep } from "./document/history.ts";
export { familiarName, formatReference, parseReference, type Reference } from "./document/reference.ts";
export type { Compression } from "./layer/compress.ts";
export type { ImportOptions } from "./make/import.ts";
export type { InitOptions } from "./make/init.ts";
export type { Credentials } from "./registry/auth.ts";
export type { InspectedManifest } from "./registry/inspect-manifest.ts";
export type { LoginResult } from "./registry/login.ts";
export type { RegistryOptions } from "./registry/registry.ts";
export type { FoundImage, SearchOptions } from "./registry/search.ts";
export { findImage, getImage, suggestNames } from "./store/find.ts";
export type { Garbage } from "./store/garbage.ts";
export { type ImageFilter, type ImageSummary, listImages } from "./store/list.ts";
export { markImages } from "./store/marker.ts";
export type { Pruned, PruneOptions, Removed, RemoveOptions } from "./store/remove.ts";
export {
  createImageTables,
  type DriverName,
  driverName,
  type Healthcheck,
  HOST_IMAGE,
  type Image,
  type ImageKind,
  type ImageStore,
  layersDirectory,
  type RunConfig,
} from "./store/store.ts";
export type { PullOptions, PullPhase, PullProgress, PullResult } from "./transfer/pull.ts";
export type { PulledTags } from "./transfer/pull-tags.ts";
export type { PushOptions, PushProgress, PushResult } from "./transfer/push.ts";
export type { PushPhase } from "./transfer/push-layer.ts";

// Running a container needs none of what follows, nor what it imports: it is loaded when it is called.

/** Brings an image from its registry; see pull.ts. */
export async function pullImage(store: ImageStore, name: string, options?: PullOptions): Promise<PullResult> {
  return (await import("./transfer/pull.ts")).pullImage(store, name, options);
}

/** Brings every tag of a repository; see pull-tags.ts. */
export async function pullAllTags(store: ImageStore, name: string, options?: PullOptions): Promise<PulledTags> {
  return (await import("./transfer/pull-tags.ts")).pullAllTags(store, name, options);
}

/** Brings an image to a registry; see push.ts. */
export async function pushImage(store: ImageStore, name: string, options?: PushOptions): Promise<PushResult> {
  return (await import("./transfer/push.ts")).pushImage(store, name, options);
}

/** Brings every tag of a repository that is here to its registry; see push.ts. */
export async function pushAllTags(store: ImageStore, name: string, options?: PushOptions): Promise<PushResult[]> {
  return (await import("./transfer/push.ts")).pushAllTags(store, name, options);
}

/** Shows a registry who we are, and keeps that; see login.ts. */
export async function login(
  server: string | undefined,
  credentials: Credentials,
  options?: RegistryOptions,
): Promise<LoginResult> {
  return (await import("./registry/login.ts")).login(server, credentials, options);
}

/** Shows a registry who we said to be before; see login.ts. */
export async function loginAgain(
  server: string | undefined,
  options?: RegistryOptions,
): Promise<{ readonly registry: string; readonly username: string } | undefined> {
  return (await import("./registry/login.ts")).loginAgain(server, options);
}

/** Forgets who we are at a registry; see login.ts. */
export async function logout(server: string | undefined): Promise<{ registry: string; wasKnown: boolean }> {
  return (await import("./registry/login.ts")).logout(server);
}

/** Looks for images by name in a registry; see search.ts. */
export async function searchImages(term: string, options?: SearchOptions): Promise<FoundImage[]> {
  return (await import("./registry/search.ts")).searchImages(term, options);
}

/** What a name stands for in its registry; see inspect-manifest.ts. */
export async function inspectManifest(
  name: string,
  options?: RegistryOptions & { readonly verbose?: boolean | undefined },
): Promise<InspectedManifest[]> {
  return (await import("./registry/inspect-manifest.ts")).inspectManifest(name, options);
}

/** Makes an image of a directory; see init.ts. */
export async function initImage(
  store: ImageStore,
  directory: string,
  name: string,
  options?: InitOptions,
): Promise<Image> {
  return (await import("./make/init.ts")).initImage(store, directory, name, options);
}

/** What an image here is made for, where that is not what is wanted; see other-platform.ts. */
export async function otherPlatform(
  store: ImageStore,
  image: Image | undefined,
  wanted: string,
): Promise<string | undefined> {
  return (await import("./store/other-platform.ts")).otherPlatform(store, image, wanted);
}

/** Takes a name away, or deletes an image; see remove.ts. */
export async function removeImage(store: ImageStore, name: string, options?: RemoveOptions): Promise<Removed> {
  return (await import("./store/remove.ts")).removeImage(store, name, options);
}

/** Deletes images that no container needs; see remove.ts. */
export async function pruneImages(store: ImageStore, options?: PruneOptions): Promise<Pruned> {
  return (await import("./store/remove.ts")).pruneImages(store, options);
}

/** Gives an image one more name; see tag.ts. */
export async function tagImage(store: ImageStore, name: string, newName: string): Promise<string> {
  return (await import("./store/tag.ts")).tagImage(store, name, newName);
}

/** How an image was made; see history.ts. */
export async function imageHistory(store: ImageStore, name: string): Promise<ImageStep[]> {
  return (await import("./document/history.ts")).imageHistory(store, name);
}

/** Everything that is known of an image; see describe.ts. */
export async function describeImage(store: ImageStore, image: Image): Promise<ImageDescription> {
  return (await import("./document/describe.ts")).describeImage(store, image);
}

/** Makes an image of a root file system's tar; see import.ts. */
export async function importImage(store: ImageStore, from: string | number, options?: ImportOptions): Promise<string> {
  return (await import("./make/import.ts")).importImage(store, from, options);
}

/** Writes images as an archive; see save.ts. */
export async function saveImages(
  store: ImageStore,
  names: readonly string[],
  target: number | string,
  options?: SaveOptions,
): Promise<void> {
  await (await import("./archive/save.ts")).saveImages(store, names, target, options);
}

/** Takes in all images of an archive; see load.ts. */
export async function loadImages(store: ImageStore, from: string | number, options?: LoadOptions): Promise<Loaded[]> {
  return (await import("./archive/load.ts")).loadImages(store, from, options);
}

/** Looks at everything that images consist of; see check/check.ts. */
export async function checkImages(store: ImageStore, options?: CheckOptions): Promise<Problem[]> {
  return (await import("./check/check.ts")).checkImages(store, options);
}

/** Deletes what no image needs; see garbage.ts. */
export async function collectGarbage(store: ImageStore): Promise<Garbage> {
  return (await import("./store/garbage.ts")).collectGarbage(store);
}

/** The tar of a layer that `initImage` made: always the bytes that its digest is of; see archive.ts. */
export async function archiveLayer(store: ImageStore, layer: string): Promise<AsyncGenerator<Uint8Array>> {
  const { archiveTree } = await import("./tree/archive.ts");
  return archiveTree(`${layersDirectory(store)}/${layer}`);
}

/** Makes a copy of an image's whole tree for a container, where the driver has such; see storage/driver.ts. */
export async function copyImage(store: ImageStore, origin: string, path: string): Promise<void> {
  await (await import("./storage/drivers.ts")).driverOf(store).whole?.copy(origin, path);
}

/**
 * Limits by how much a container's root can grow.
 *
 * @param root A tree that `copyImage` has made, or the directory that holds an overlay's.
 * @throws {BoxError} `storage-no-quota` where that cannot be.
 */
export async function limitSize(
  store: ImageStore,
  root: { readonly isOverlay: boolean; readonly directory: string },
  bytes: number,
): Promise<void> {
  const { driverOf, OVERLAY } = await import("./storage/drivers.ts");
  (root.isOverlay ? OVERLAY : driverOf(store)).limit(root.directory, bytes);
}

/** Copies a tree into an empty directory, as it is; see copy.ts. */
export async function copyTree(source: string, target: string): Promise<number> {
  return (await import("./tree/copy.ts")).copyTree(source, target);
}
