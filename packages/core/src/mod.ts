/**
 * BantuBox as a library: everything that `bb` does is a function here.
 *
 * What a start needs is loaded at once; the rest when it is first called.
 */
export { BoxError, isErrno } from "@bantubox/ffi";
export type {
  Compression,
  Credentials,
  FoundImage,
  ImageFilter,
  ImageStep,
  ImageSummary,
  ImportOptions,
  InitOptions,
  InspectedManifest,
  Loaded,
  LoadOptions,
  LoginResult,
  Pruned,
  PruneOptions,
  PulledTags,
  PullOptions,
  PullProgress,
  PullResult,
  PushOptions,
  PushProgress,
  PushResult,
  RegistryOptions,
  Removed,
  SaveFormat,
  SaveOptions,
  SaveProgress,
  SearchOptions,
} from "@bantubox/image";
export type { PullHooks } from "./engine/create/images.ts";
export type {
  ContainerOptions,
  ExecOptions,
  MountOption,
  ResourceOptions,
  UlimitOption,
} from "./engine/create/options.ts";
export type { CommitContainerOptions } from "./engine/files/commit.ts";
export type { CopyOptions } from "./engine/files/copy.ts";
export type { FileChange } from "./engine/files/diff.ts";
export type { PrunedContainers, PruneFilter } from "./engine/life/prune.ts";
export type { RemoveContainerOptions } from "./engine/life/remove.ts";
export type { StopOptions } from "./engine/life/stop.ts";
export type { ContainerUsage, DiskUsage, ImageUsage, VolumeUsage } from "./engine/look/disk-usage.ts";
export type { Check } from "./engine/look/doctor.ts";
export type { Info, Version } from "./engine/look/info.ts";
export type { ContainerSummary } from "./engine/look/list.ts";
export type { LogEntry, LogOptions } from "./engine/look/logs.ts";
export type { AttachOptions } from "./engine/start/attach.ts";
export { execForeground } from "./engine/start/exec.ts";
export { runForeground } from "./engine/start/run.ts";
export type { RunContainerOptions, RunResult, SpawnedContainer } from "./engine/start/run-in-process.ts";
export { type Engine, type EngineOptions, openEngine } from "./engine/state/engine.ts";
export type { Problem, SystemCheckOptions } from "./engine/store/check.ts";
export type { PruneVolumesOptions, VolumeSummary } from "./engine/store/manage-volumes.ts";
export type { StorageInfo, StorageInitOptions, StorageInitResult } from "./engine/store/storage.ts";

import type {
  Credentials,
  FoundImage,
  ImageFilter,
  ImageStep,
  ImageSummary,
  ImportOptions,
  InitOptions,
  InspectedManifest,
  Loaded,
  LoadOptions,
  LoginResult,
  Pruned,
  PruneOptions,
  PulledTags,
  PullOptions,
  PullResult,
  PushOptions,
  PushResult,
  RegistryOptions,
  Removed,
  SaveOptions,
  SearchOptions,
} from "@bantubox/image";
import type { PullHooks } from "./engine/create/images.ts";
import type { ContainerOptions, ExecOptions } from "./engine/create/options.ts";
import type { CommitContainerOptions } from "./engine/files/commit.ts";
import type { CopyOptions } from "./engine/files/copy.ts";
import type { FileChange } from "./engine/files/diff.ts";
import type { PrunedContainers, PruneFilter } from "./engine/life/prune.ts";
import type { RemoveContainerOptions } from "./engine/life/remove.ts";
import type { StopOptions } from "./engine/life/stop.ts";
import type { DiskUsage } from "./engine/look/disk-usage.ts";
import type { Check } from "./engine/look/doctor.ts";
import type { Info, Version } from "./engine/look/info.ts";
import type { ContainerSummary } from "./engine/look/list.ts";
import type { LogEntry, LogOptions } from "./engine/look/logs.ts";
import type { AttachOptions } from "./engine/start/attach.ts";
import type { RunContainerOptions, RunResult, SpawnedContainer } from "./engine/start/run-in-process.ts";
import type { Engine } from "./engine/state/engine.ts";
import type { Problem, SystemCheckOptions } from "./engine/store/check.ts";
import type { PruneVolumesOptions, VolumeSummary } from "./engine/store/manage-volumes.ts";
import type { StorageInfo, StorageInitOptions, StorageInitResult } from "./engine/store/storage.ts";

/** Runs a container in the background; see engine/start/run-new.ts. */
export async function runDetached(engine: Engine, options: ContainerOptions, hooks?: PullHooks): Promise<string> {
  return (await import("./engine/start/run-new.ts")).runDetached(engine, options, hooks);
}

/** Makes a container that can be started; see engine/start/run-new.ts. */
export async function createContainer(engine: Engine, options: ContainerOptions, hooks?: PullHooks): Promise<string> {
  return (await import("./engine/start/run-new.ts")).createContainer(engine, options, hooks);
}

/** Starts a container in the background; see engine/start/run-new.ts. */
export async function startContainer(engine: Engine, idOrName: string): Promise<string> {
  return (await import("./engine/start/run-new.ts")).startContainer(engine, idOrName);
}

/** Starts a container and becomes its client; see engine/start/run-new.ts. */
export async function startForeground(
  engine: Engine,
  idOrName: string,
  options?: { interactive?: boolean; detachKeys?: string },
): Promise<never> {
  return await (await import("./engine/start/run-new.ts")).startForeground(engine, idOrName, options);
}

/** Runs a command in a running container, in the background; see engine/start/exec-new.ts. */
export async function execDetached(engine: Engine, idOrName: string, options: ExecOptions): Promise<void> {
  return await (await import("./engine/start/exec-new.ts")).execDetached(engine, idOrName, options);
}

/** Brings an image from its registry. */
export async function pullImage(engine: Engine, name: string, options?: PullOptions): Promise<PullResult> {
  return (await import("@bantubox/image")).pullImage(engine, name, options);
}

/** Brings every tag of a repository. */
export async function pullAllTags(engine: Engine, name: string, options?: PullOptions): Promise<PulledTags> {
  return (await import("@bantubox/image")).pullAllTags(engine, name, options);
}

/** Brings an image to a registry. */
export async function pushImage(engine: Engine, name: string, options?: PushOptions): Promise<PushResult> {
  return (await import("@bantubox/image")).pushImage(engine, name, options);
}

/** Brings every tag of a repository that is here to its registry. */
export async function pushAllTags(engine: Engine, name: string, options?: PushOptions): Promise<PushResult[]> {
  return (await import("@bantubox/image")).pushAllTags(engine, name, options);
}

/** Shows a registry who we are, and keeps that in Docker's config.json; Docker Hub when none is named. */
export async function login(
  server: string | undefined,
  credentials: Credentials,
  options?: RegistryOptions,
): Promise<LoginResult> {
  return (await import("@bantubox/image")).login(server, credentials, options);
}

/** As `login`, with what an earlier one has kept. @returns undefined when there is nothing. */
export async function loginAgain(
  server: string | undefined,
  options?: RegistryOptions,
): Promise<{ readonly registry: string; readonly username: string } | undefined> {
  return (await import("@bantubox/image")).loginAgain(server, options);
}

/** Forgets who we are at a registry. */
export async function logout(server: string | undefined): Promise<{ registry: string; wasKnown: boolean }> {
  return (await import("@bantubox/image")).logout(server);
}

/** Looks for images by name, on Docker Hub or in the registry that the term begins with. */
export async function searchImages(term: string, options?: SearchOptions): Promise<FoundImage[]> {
  return (await import("@bantubox/image")).searchImages(term, options);
}

/** What a name stands for in its registry, as it was sent. */
export async function inspectManifest(
  name: string,
  options?: RegistryOptions & { readonly verbose?: boolean | undefined },
): Promise<InspectedManifest[]> {
  return (await import("@bantubox/image")).inspectManifest(name, options);
}

/** The images that are here, the newest first. */
export async function listImages(engine: Engine, filter?: ImageFilter): Promise<ImageSummary[]> {
  return (await import("@bantubox/image")).listImages(engine, filter);
}

/** Gives an image one more name. @returns The name. */
export async function tagImage(engine: Engine, name: string, newName: string): Promise<string> {
  return (await import("@bantubox/image")).tagImage(engine, name, newName);
}

/** How an image was made, the last step first. */
export async function imageHistory(engine: Engine, name: string): Promise<ImageStep[]> {
  return (await import("@bantubox/image")).imageHistory(engine, name);
}

/** Makes an image of a root file system's tar, from a descriptor or a path. @returns Its ID. */
export async function importImage(engine: Engine, from: string | number, options?: ImportOptions): Promise<string> {
  return (await import("@bantubox/image")).importImage(engine, from, options);
}

/** Runs a container to its end, in a program that goes on; see engine/start/run-in-process.ts. */
export async function runContainer(
  engine: Engine,
  options: ContainerOptions,
  more?: RunContainerOptions,
): Promise<RunResult> {
  return (await import("./engine/start/run-in-process.ts")).runContainer(engine, options, more);
}

/** Starts a container beside a program that goes on; see engine/start/run-in-process.ts. */
export async function spawnContainer(engine: Engine, options: ContainerOptions): Promise<SpawnedContainer> {
  return (await import("./engine/start/run-in-process.ts")).spawnContainer(engine, options);
}

/** Becomes another client of a running container; see engine/start/attach.ts. */
export async function attachForeground(engine: Engine, idOrName: string, options?: AttachOptions): Promise<never> {
  return (await import("./engine/start/attach.ts")).attachForeground(engine, idOrName, options);
}

/** The containers, the newest first; see engine/look/list.ts. */
export async function listContainers(engine: Engine, options?: { all?: boolean }): Promise<ContainerSummary[]> {
  return (await import("./engine/look/list.ts")).listContainers(engine, options);
}

/** A container or image in the shape of Docker's JSON; see engine/look/inspect.ts. */
export async function inspect(
  engine: Engine,
  idOrName: string,
  kind?: "container" | "image",
): Promise<Record<string, unknown>> {
  return (await import("./engine/look/inspect.ts")).inspect(engine, idOrName, kind);
}

/** What a container has printed; see engine/look/logs.ts. */
export async function* readLogs(engine: Engine, idOrName: string, options?: LogOptions): AsyncGenerator<LogEntry> {
  yield* (await import("./engine/look/logs.ts")).readLogs(engine, idOrName, options);
}

/** Asks a container to end, and kills it when it does not; see engine/life/stop.ts. */
export async function stopContainer(engine: Engine, idOrName: string, options?: StopOptions): Promise<string> {
  return (await import("./engine/life/stop.ts")).stopContainer(engine, idOrName, options);
}

/** Sends a signal to a container's first process; see engine/life/stop.ts. */
export async function killContainer(engine: Engine, idOrName: string, signal?: string): Promise<string> {
  return (await import("./engine/life/stop.ts")).killContainer(engine, idOrName, signal);
}

/** Waits for a container to end; see engine/life/wait.ts. */
export async function waitContainer(engine: Engine, idOrName: string): Promise<number> {
  return (await import("./engine/life/wait.ts")).waitContainer(engine, idOrName);
}

/** Removes a container; see engine/life/remove.ts. */
export async function removeContainer(
  engine: Engine,
  idOrName: string,
  options?: RemoveContainerOptions,
): Promise<string> {
  return (await import("./engine/life/remove.ts")).removeContainer(engine, idOrName, options);
}

/** Removes the containers that do not run; see engine/life/prune.ts. */
export async function pruneContainers(engine: Engine, filter?: PruneFilter): Promise<PrunedContainers> {
  return await (await import("./engine/life/prune.ts")).pruneContainers(engine, filter);
}

/** What images, containers and volumes take on disk; see engine/look/disk-usage.ts. */
export async function diskUsage(engine: Engine): Promise<DiskUsage> {
  return (await import("./engine/look/disk-usage.ts")).diskUsage(engine);
}

/** Bytes that a container has written; see engine/look/disk-usage.ts. */
export async function containerSize(engine: Engine, id: string): Promise<number> {
  return (await import("./engine/look/disk-usage.ts")).containerSize(engine, id);
}

/** All volumes, sorted by name; see engine/store/manage-volumes.ts. */
export async function listVolumes(engine: Engine): Promise<VolumeSummary[]> {
  return (await import("./engine/store/manage-volumes.ts")).listVolumes(engine);
}

/** One volume; see engine/store/manage-volumes.ts. */
export async function getVolume(engine: Engine, name: string): Promise<VolumeSummary> {
  return (await import("./engine/store/manage-volumes.ts")).getVolume(engine, name);
}

/** Makes a volume; see engine/store/manage-volumes.ts. */
export async function createVolume(engine: Engine, name?: string): Promise<string> {
  return (await import("./engine/store/manage-volumes.ts")).createVolume(engine, name);
}

/** Deletes a volume; see engine/store/manage-volumes.ts. */
export async function removeVolume(engine: Engine, name: string): Promise<void> {
  (await import("./engine/store/manage-volumes.ts")).removeVolume(engine, name);
}

/** Deletes the volumes that no container uses; see engine/store/manage-volumes.ts. */
export async function pruneVolumes(
  engine: Engine,
  options?: PruneVolumesOptions,
): Promise<{ readonly removed: readonly string[]; readonly bytes: number }> {
  return (await import("./engine/store/manage-volumes.ts")).pruneVolumes(engine, options);
}

/** Makes an image of a container; see engine/files/commit.ts. */
export async function commitContainer(
  engine: Engine,
  idOrName: string,
  name?: string,
  options?: CommitContainerOptions,
): Promise<string> {
  return (await import("./engine/files/commit.ts")).commitContainer(engine, idOrName, name, options);
}

/** Copies a file or a directory out of a container; see engine/files/copy.ts. */
export async function copyFromContainer(
  engine: Engine,
  idOrName: string,
  path: string,
  destination: string,
  options?: CopyOptions,
): Promise<number> {
  return (await import("./engine/files/copy.ts")).copyFromContainer(engine, idOrName, path, destination, options);
}

/** Copies a file or a directory into a container; see engine/files/copy.ts. */
export async function copyToContainer(
  engine: Engine,
  source: string,
  idOrName: string,
  path: string,
  options?: CopyOptions,
): Promise<number> {
  return (await import("./engine/files/copy.ts")).copyToContainer(engine, source, idOrName, path, options);
}

/** A file or a directory of a container as a tar stream; see engine/files/copy.ts. */
export async function* archiveFromContainer(
  engine: Engine,
  idOrName: string,
  path: string,
  options?: Pick<CopyOptions, "followLink">,
): AsyncGenerator<Uint8Array> {
  yield* (await import("./engine/files/copy.ts")).archiveFromContainer(engine, idOrName, path, options);
}

/** Unpacks a tar stream in a container; see engine/files/copy.ts. */
export async function extractToContainer(
  engine: Engine,
  stream: AsyncIterable<Uint8Array>,
  idOrName: string,
  path: string,
  options?: Pick<CopyOptions, "onProgress">,
): Promise<number> {
  return (await import("./engine/files/copy.ts")).extractToContainer(engine, stream, idOrName, path, options);
}

/** A container's files as a tar stream; see engine/files/export.ts. */
export async function* exportContainer(engine: Engine, idOrName: string): AsyncGenerator<Uint8Array> {
  yield* (await import("./engine/files/export.ts")).exportContainer(engine, idOrName);
}

/** What a container has changed of its image's files; see engine/files/diff.ts. */
export async function diffContainer(engine: Engine, idOrName: string): Promise<FileChange[]> {
  return (await import("./engine/files/diff.ts")).diffContainer(engine, idOrName);
}

/** Gives a container another name; see engine/life/remove.ts. */
export async function renameContainer(engine: Engine, idOrName: string, name: string): Promise<void> {
  (await import("./engine/life/remove.ts")).renameContainer(engine, idOrName, name);
}

/** Takes an image's name away, or deletes it, unless a container is made of it. */
export async function removeImage(engine: Engine, name: string, options: { force?: boolean } = {}): Promise<Removed> {
  const [{ containersOf }, { sweepAll }] = await Promise.all([
    import("./engine/state/container.ts"),
    import("./engine/state/sweep.ts"),
  ]);
  // Rows of --rm containers that have ended would still hold it.
  sweepAll(engine);
  const { removeImage: deleteImage } = await import("@bantubox/image");
  return await deleteImage(engine, name, { ...options, inUse: (id) => containersOf(engine, id) });
}

/** Deletes images that no container is made of: those without a name, or all of them. */
export async function pruneImages(engine: Engine, options: Omit<PruneOptions, "inUse"> = {}): Promise<Pruned> {
  const [{ containersOf }, { sweepAll }] = await Promise.all([
    import("./engine/state/container.ts"),
    import("./engine/state/sweep.ts"),
  ]);
  // Rows of --rm containers that have ended would still hold some.
  sweepAll(engine);
  const { pruneImages: prune } = await import("@bantubox/image");
  return await prune(engine, { ...options, inUse: (id) => containersOf(engine, id) });
}

/** Makes an image of a directory. @returns Its ID. */
export async function initImage(
  engine: Engine,
  directory: string,
  name: string,
  options?: InitOptions,
): Promise<string> {
  const { initImage: makeImage } = await import("@bantubox/image");
  return (await makeImage(engine, directory, name, options)).id;
}

/** Writes images as an archive to a descriptor or a path; see save.ts of packages/image. */
export async function saveImages(
  engine: Engine,
  names: readonly string[],
  target: number | string,
  options?: SaveOptions,
): Promise<void> {
  await (await import("@bantubox/image")).saveImages(engine, names, target, options);
}

/** Takes in the images of an archive, from a descriptor or a path; see load.ts of packages/image. */
export async function loadImages(engine: Engine, from: string | number, options?: LoadOptions): Promise<Loaded[]> {
  return await (await import("@bantubox/image")).loadImages(engine, from, options);
}

/** Looks whether all that is stored is there and as it should be; see engine/store/check.ts. */
export async function checkSystem(engine: Engine, options?: SystemCheckOptions): Promise<Problem[]> {
  return await (await import("./engine/store/check.ts")).checkSystem(engine, options);
}

/** Decides how a new store keeps layers, and makes and mounts a file system for it; see engine/store/storage.ts. */
export async function initStorage(engine: Engine, options: StorageInitOptions): Promise<StorageInitResult> {
  return await (await import("./engine/store/storage.ts")).initStorage(engine, options);
}

/** What the store lies on; see engine/store/storage.ts. */
export async function storageInfo(engine: Engine): Promise<StorageInfo> {
  return (await import("./engine/store/storage.ts")).storageInfo(engine);
}

/** What this engine holds, and what the host gives it; see engine/look/info.ts. */
export async function info(engine: Engine): Promise<Info> {
  return await (await import("./engine/look/info.ts")).info(engine);
}

/** Versions of everything; see engine/look/info.ts. */
export async function version(): Promise<Version> {
  return (await import("./engine/look/info.ts")).version();
}

/** What the host lacks; see engine/look/doctor.ts. */
export async function doctor(engine: Engine): Promise<{ checks: Check[] }> {
  return (await import("./engine/look/doctor.ts")).doctor(engine);
}

/** Says why a start failed, for the trampoline; see engine/start/failed.ts. */
export async function internalFailed(args: readonly string[]): Promise<never> {
  return (await import("./engine/start/failed.ts")).internalFailed(args);
}
