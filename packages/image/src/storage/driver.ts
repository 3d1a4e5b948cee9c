import type { DriverName } from "../store/store.ts";

/**
 * How layers and the roots of containers lie on disk.
 *
 * Layers are always extracted the same way, in parallel, as overlay wants them: a directory of what the layer adds,
 * with devices 0:0 for what it deletes. For overlay that is the layer. The other drivers merge it, in the order of
 * the image's layers, over a copy of the tree that lies below: so they show the same files whatever a layer holds.
 */
export interface StorageDriver {
  readonly name: DriverName;
  /** @throws {BoxError} `storage-unsupported` when the file system of `directory` cannot do it. */
  check(directory: string): void;
  /** Makes an empty directory that a layer is extracted into. It may become the layer's tree by being renamed. */
  makeTree(path: string): void;
  /** What drivers do whose trees are whole; undefined where a layer's tree is only what it adds. */
  readonly whole: WholeTrees | undefined;
  /**
   * Limits by how much a container's tree can grow from now on.
   *
   * @param directory The container's own tree; where it is an overlay, the directory with `upper` and `work`, still empty.
   * @throws {BoxError} `storage-no-quota` when the driver, or the file system, cannot.
   */
  limit(directory: string, bytes: number): void;
}

/** Trees that hold all that the containers of an image see. */
export interface WholeTrees {
  /** Copies cost nothing, so that a tree is kept for every layer of an image; else only for its last. */
  readonly keepsEveryLayer: boolean;
  /** A file of one tree can be renamed into another. */
  readonly movesFiles: boolean;
  /** Makes `path`, which is not there yet, a copy that can be written. */
  copy(origin: string, path: string, signal?: AbortSignal): Promise<void>;
}
