import { openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { BoxError, cstr, Fd } from "@bantubox/ffi";
import type { Digest } from "../document/digest.ts";
import { type Descriptor, LAYERS_MAX, OCI_LAYER } from "../document/manifest.ts";
import { extractLayer } from "../layer/layer.ts";
import { removeTree } from "../storage/remove.ts";
import type { FetchedBlob } from "../store/blobs.ts";
import { commitLayers, makeLayerDirectory, type PreparedLayer } from "../store/commit.ts";
import { lockForWriting } from "../store/garbage.ts";
import { recordImage } from "../store/record.ts";
import { type ImageStore, ingestDirectory, type RunConfig } from "../store/store.ts";
import { Transfer } from "../transfer/transfer.ts";
import { archiveStored } from "../tree/archive.ts";
import { archiveChanges } from "../tree/archive-changes.ts";
import { archiveMerged } from "../tree/archive-merged.ts";
import { openDirectory } from "../tree/tree.ts";
import { treeChanges } from "../tree/tree-changes.ts";
import type { Passed } from "../tree/upper-changes.ts";
import { EMPTY_BASE, readBase } from "./base-image.ts";
import { applyChanges } from "./config-changes.ts";
import { nameRow, parseNewName, writeDocuments } from "./new-image.ts";

const HERE = cstr(".");
const ITSELF = cstr("");

/** The files of a container, by descriptors of their roots. */
export interface CommittedFiles {
  /**
   * - `layer`: `upper` is the upper directory of an overlay on the image's layers
   * - `tree`: `upper` is complete, and so is `lower`, the image's tree
   * - `all`: there is no image; `upper` may be an overlay's above `lower`
   */
  readonly kind: "layer" | "tree" | "all";
  readonly lower: number | undefined;
  readonly upper: number;
  readonly passed: Passed;
}

export interface CommitOptions {
  /** The image that the container was made of; needed unless all files are taken. */
  readonly base?: Digest | undefined;
  readonly config: RunConfig;
  /** A name for the image; without one it is known by its ID only. */
  readonly name?: string | undefined;
  readonly author?: string | undefined;
  readonly message?: string | undefined;
  /** What the container ran, for the history. */
  readonly createdBy: string;
  /** Instructions of a Dockerfile. */
  readonly changes?: readonly string[] | undefined;
  /** RFC 3339; now when absent. */
  readonly created?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Bytes of files copied so far. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
  /** Called when the container's files are not looked at any more. */
  readonly onCopied?: (() => void) | undefined;
}

/**
 * Makes an image of a container's files: a new layer on its image's.
 *
 * On overlay the upper directory is copied (shared, where the file system can) and hashed from the copy, so that the
 * container waits for the copy alone; the layer's blob is not stored, since `archiveLayer` makes it again.
 *
 * @returns The image's ID.
 * @throws {BoxError} `too-many-layers`, `reference-invalid`, `layer-whiteout`
 */
export async function commitContainer(
  store: ImageStore,
  files: CommittedFiles,
  options: CommitOptions,
): Promise<Digest> {
  const { signal, onCopied, author, message: comment } = options;
  const named = options.name === undefined ? undefined : parseNewName(options.name);
  const config = applyChanges(options.config, options.changes ?? []);
  using _writing = await lockForWriting(store, signal);
  const base = options.base === undefined ? EMPTY_BASE : await readBase(store, options.base);
  if (base.layers.length >= LAYERS_MAX) {
    throw new BoxError("too-many-layers", `Cannot make an image of it: its image has ${base.layers.length} layers`, {
      hint: 'Make one of a single layer: "bb export" it, and "bb import" what comes out',
    });
  }
  const target = makeLayerDirectory(store);
  try {
    const { descriptor, prepared, blobs = [] } = await makeLayer(store, files, target, options);
    onCopied?.();
    const layers = [...base.layers, { descriptor, diffId: prepared.diffId }];
    const created = options.created ?? new Date().toISOString();
    const entry = { created, createdBy: options.createdBy, author, comment };
    const { platform } = base;
    const history = [...base.history, entry];
    const image = writeDocuments(store, { platform, created, author, config, layers, history });
    await commitLayers(store, [prepared], image.diffIds, blobs);
    recordImage(store, image, named && nameRow(named, image));
    return image.id;
  } finally {
    await removeTree(target);
  }
}

interface MadeLayer {
  readonly descriptor: Descriptor;
  readonly prepared: PreparedLayer;
  readonly blobs?: readonly FetchedBlob[];
}

/** Makes the layer's directory as overlay has it, and finds out what its stream is. */
async function makeLayer(
  store: ImageStore,
  files: CommittedFiles,
  target: string,
  { signal, onProgress }: CommitOptions,
): Promise<MadeLayer> {
  const { kind, lower, upper, passed } = files;
  using to = openDirectory(undefined, cstr(target), JSON.stringify(target));
  if (kind === "tree") return await storeChanges(store, files, target, signal);
  if (kind === "all") {
    // The root's own entry, and nothing of what is mounted.
    const stream = archiveMerged({ lower, upper }, { prefix: "", oneMount: true, asLayer: true, passed });
    await extractLayer({ blob: withProgress(stream, onProgress), directory: target, signal });
  } else {
    using from = openDirectory(upper, HERE, "the container's files");
    const transfer = new Transfer({
      privileges: "always",
      devices: "make",
      layers: true,
      exclude: passed,
      onProgress,
      signal,
    });
    await transfer.copyContents(from.raw, to.raw);
    transfer.copyAttributes({ parent: from.raw, name: ITSELF }, { parent: to.raw, name: ITSELF });
  }
  const hash = new Bun.CryptoHasher("sha256");
  let size = 0;
  for await (const chunk of archiveStored(target)) {
    signal?.throwIfAborted();
    hash.update(chunk);
    size += chunk.length;
  }
  return layerOf(`sha256:${hash.digest("hex")}`, size, target);
}

/** Where trees are whole, the stream cannot be made again: it is stored, and what it adds is read from it. */
async function storeChanges(
  store: ImageStore,
  { lower, upper, passed }: CommittedFiles,
  target: string,
  signal: AbortSignal | undefined,
): Promise<MadeLayer> {
  const path = join(ingestDirectory(store), `.tmp-${process.pid}-${crypto.randomUUID()}`);
  const file = new Fd(openSync(path, "wx", 0o600));
  const hash = new Bun.CryptoHasher("sha256");
  let size = 0;
  for await (const chunk of archiveChanges(upper, treeChanges(lower ?? upper, upper, passed))) {
    signal?.throwIfAborted();
    hash.update(chunk);
    for (let at = 0; at < chunk.length; ) at += writeSync(file.raw, chunk, at);
    size += chunk.length;
  }
  const digest: Digest = `sha256:${hash.digest("hex")}`;
  await extractLayer({ blob: path, directory: target, diffId: digest, signal });
  return { ...layerOf(digest, size, target), blobs: [{ digest, ingest: { fd: file, path } }] };
}

function layerOf(digest: Digest, size: number, directory: string): MadeLayer {
  return {
    descriptor: { mediaType: OCI_LAYER, digest, size },
    prepared: { diffId: digest, bytes: size, directory, isRootOpaque: false },
  };
}

async function* withProgress(
  stream: AsyncGenerator<Uint8Array>,
  onProgress: ((bytes: number) => void) | undefined,
): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += chunk.length;
    onProgress?.(bytes);
    yield chunk;
  }
}
