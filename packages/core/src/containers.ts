/** Containers, from their making to their removal. Each function's code is loaded when it is first called. */
import type { CheckpointOptions } from "./engine/checkpoint/checkpoint.ts";
import type { ImportCheckpointOptions } from "./engine/checkpoint/import-checkpoint.ts";
import type { RestoreOptions } from "./engine/checkpoint/restore.ts";
import type { PullHooks } from "./engine/create/images.ts";
import type { ContainerOptions, ExecOptions } from "./engine/create/options.ts";
import type { CommitContainerOptions } from "./engine/files/commit.ts";
import type { CopyOptions } from "./engine/files/copy.ts";
import type { FileChange } from "./engine/files/diff.ts";
import type { PrunedContainers, PruneFilter } from "./engine/life/prune.ts";
import type { RemoveContainerOptions } from "./engine/life/remove.ts";
import type { StopOptions } from "./engine/life/stop.ts";
import type { ContainerSummary } from "./engine/look/list.ts";
import type { LogEntry, LogOptions } from "./engine/look/logs.ts";
import type { AttachOptions } from "./engine/start/attach.ts";
import type { RunContainerOptions, RunResult, SpawnedContainer } from "./engine/start/run-in-process.ts";
import type { Engine } from "./engine/state/engine.ts";

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

/** Bytes that a container has written; see engine/look/disk-usage.ts. */
export async function containerSize(engine: Engine, id: string): Promise<number> {
  return (await import("./engine/look/disk-usage.ts")).containerSize(engine, id);
}

/** Saves what a container's processes are; see engine/checkpoint/checkpoint.ts. */
export async function checkpointContainer(
  engine: Engine,
  idOrName: string,
  options?: CheckpointOptions,
): Promise<string> {
  return (await import("./engine/checkpoint/checkpoint.ts")).checkpointContainer(engine, idOrName, options);
}

/** Lets a container go on from its checkpoint; see engine/checkpoint/restore.ts. */
export async function restoreContainer(engine: Engine, idOrName: string, options?: RestoreOptions): Promise<string> {
  return (await import("./engine/checkpoint/restore.ts")).restoreContainer(engine, idOrName, options);
}

/** Makes a container of an exported checkpoint; see engine/checkpoint/import-checkpoint.ts. */
export async function importCheckpoint(
  engine: Engine,
  file: string,
  options?: ImportCheckpointOptions,
  hooks?: PullHooks,
): Promise<string> {
  return (await import("./engine/checkpoint/import-checkpoint.ts")).importCheckpoint(engine, file, options, hooks);
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
