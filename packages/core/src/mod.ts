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
export {
  archiveFromContainer,
  attachForeground,
  checkpointContainer,
  commitContainer,
  containerSize,
  copyFromContainer,
  copyToContainer,
  createContainer,
  diffContainer,
  execDetached,
  exportContainer,
  extractToContainer,
  importCheckpoint,
  inspect,
  killContainer,
  listContainers,
  pruneContainers,
  readLogs,
  removeContainer,
  renameContainer,
  restoreContainer,
  runContainer,
  runDetached,
  spawnContainer,
  startContainer,
  startForeground,
  stopContainer,
  waitContainer,
} from "./containers.ts";
export type { CheckpointOptions } from "./engine/checkpoint/checkpoint.ts";
export type { ImportCheckpointOptions } from "./engine/checkpoint/import-checkpoint.ts";
export type { RestoreOptions } from "./engine/checkpoint/restore.ts";
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
export {
  imageHistory,
  importImage,
  initImage,
  inspectManifest,
  listImages,
  loadImages,
  login,
  loginAgain,
  logout,
  pruneImages,
  pullAllTags,
  pullImage,
  pushAllTags,
  pushImage,
  removeImage,
  saveImages,
  searchImages,
  tagImage,
} from "./images.ts";
export {
  checkSystem,
  createVolume,
  diskUsage,
  doctor,
  getVolume,
  info,
  initStorage,
  internalFailed,
  listVolumes,
  pruneVolumes,
  removeVolume,
  storageInfo,
  version,
} from "./system.ts";
