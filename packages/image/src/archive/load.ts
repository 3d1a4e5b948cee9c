import { closeSync, constants, existsSync, fstatSync, mkdtempSync, openSync, readSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { BoxError, call, Fd } from "@bantubox/ffi";
import { type Digest, digestHex } from "../document/digest.ts";
import { formatPlatform, parsePlatform } from "../document/platform.ts";
import { familiarName, parseReference, repositoryName } from "../document/reference.ts";
import { extractLayer } from "../layer/layer.ts";
import { detectCompression, readFile } from "../layer/layer-stream.ts";
import { removeTree } from "../storage/remove.ts";
import { blobPath, type FetchedBlob, hasBlob, writeBlob } from "../store/blobs.ts";
import { commitLayers, makeLayerDirectory, missingLayers, type PreparedLayer } from "../store/commit.ts";
import { collectGarbage, lockForWriting } from "../store/garbage.ts";
import { isKnownLayer } from "../store/known-layer.ts";
import { missingBlobs } from "../store/missing-blobs.ts";
import { type ImageRows, type NewImage, recordImages } from "../store/record.ts";
import { type ImageStore, ingestDirectory } from "../store/store.ts";
import { inParallel } from "../transfer/parallel.ts";
import type { PullProgress } from "../transfer/pull.ts";
import { type ArchivedImage, findImages } from "./archive-images.ts";
import { type ArchiveFile, type ArchiveSource, openForReading, openLayout, readBytes } from "./archive-source.ts";
import { indexTar, otherCompression, spoolTar } from "./archive-tar.ts";
import { readDescriptor } from "./file-stream.ts";
import { writeAll } from "./save-output.ts";

const SEEK_CUR = 1;
const PARALLEL_LAYERS = 3;

export interface LoadOptions {
  /** Of archives for several: `linux/arm64`. */
  readonly platform?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: PullProgress) => void) | undefined;
}

/** An image that an archive held. */
export interface Loaded {
  readonly id: Digest;
  /** As people write them. */
  readonly names: readonly string[];
}

/**
 * Takes in all images of an archive that docker, podman, skopeo, umoci, containerd or `saveImages` made: a
 * docker-archive or an OCI archive, plain or compressed by gzip or zstd, or an OCI layout in a directory. Images get
 * the names that the archive gives them, and no others change.
 *
 * Nothing of the archive is believed: every byte is verified before an image exists, and either all of them exist
 * afterwards or none.
 *
 * @param from A path, or a descriptor that is open for reading.
 * @throws {BoxError} `archive-unreadable`, `archive-invalid`, `archive-limit`, `tar-corrupt`, `manifest-invalid`,
 *   `config-invalid`, `blob-corrupt`, `platform-missing`, and what unpacking a layer throws.
 */
export async function loadImages(
  store: ImageStore,
  from: string | number,
  options: LoadOptions = {},
): Promise<Loaded[]> {
  try {
    return await loadLocked(store, from, options);
  } catch (error) {
    // Layers that were complete when another one turned out to be bad. If even that fails, the next command does it.
    await collectGarbage(store).catch(() => undefined);
    throw error;
  }
}

async function loadLocked(store: ImageStore, from: string | number, options: LoadOptions): Promise<Loaded[]> {
  const wanted = options.platform === undefined ? undefined : parsePlatform(options.platform);
  using _writing = await lockForWriting(store, options.signal);
  const scratch = mkdtempSync(join(ingestDirectory(store), ".tmp-load-"));
  try {
    await using source = await openSource(from, scratch, options.signal);
    const images = await findImages(source, wanted);
    if (images.length === 0) throw new BoxError("archive-invalid", "Cannot load the archive: it has no images");
    const rows: ImageRows[] = [];
    for (const image of images) rows.push(await bringIn({ store, scratch, options }, image));
    recordImages(store, rows);
    return images.map(({ config, names }) => ({ id: config.digest, names: names.map(familiarName) }));
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** A plain tar that is a file is read where it lies; what comes as a stream, or compressed, goes by way of `scratch`. */
async function openSource(from: string | number, scratch: string, signal?: AbortSignal): Promise<ArchiveSource> {
  if (typeof from === "string" && statSync(from, { throwIfNoEntry: false })?.isDirectory() === true) {
    return openLayout(from);
  }
  await using stack = new AsyncDisposableStack();
  const fd = typeof from === "number" ? from : openForReading(from);
  if (typeof from === "string") stack.defer(() => closeSync(fd));
  if (!isPlainTar(fd)) return await spoolTar(readDescriptor(fd), scratch, signal);
  const source = indexTar(fd);
  const held = stack.move();
  return { find: (name) => source.find(name), [Symbol.asyncDispose]: () => held.disposeAsync() };
}

/** Whether the file can be read anywhere, and begins where it is read. */
function isPlainTar(fd: number): boolean {
  if (!fstatSync(fd).isFile() || call("lseek", "the archive", fd, 0, SEEK_CUR) !== 0) return false;
  const head = Buffer.alloc(6);
  readSync(fd, head, 0, head.length, 0);
  return detectCompression(head) === "none" && otherCompression(head) === undefined;
}

interface Context {
  readonly store: ImageStore;
  /** Goes at the end, with all that is still in it. */
  readonly scratch: string;
  readonly options: LoadOptions;
}

type Layer = ArchivedImage["layers"][number];

/** Makes an image's documents, blobs and layers exist. @returns What is to be recorded. */
async function bringIn(context: Context, image: ArchivedImage): Promise<ImageRows> {
  const { store, options } = context;
  const known = knownManifest(store, image);
  if (known !== undefined) {
    for (const layer of image.layers) report(options, layer, "exists", layer.descriptor.size);
    return { image: undefined, names: namesOf(image, known) };
  }
  const { diffIds } = image.document;
  const missing = new Set(missingLayers(store, diffIds));
  const work = new Map<string, Layer>();
  for (const layer of image.layers) {
    const { descriptor, diffId } = layer;
    const isStored = !missing.has(diffId) && hasBlob(store, descriptor.digest);
    if (isStored && (await isKnownLayer(store, descriptor.digest, diffId))) {
      report(options, layer, "exists", descriptor.size);
    } else work.set(`${diffId} ${descriptor.digest}`, layer);
  }
  const prepared: Prepared[] = [];
  try {
    await inParallel([...work.values()], { limit: PARALLEL_LAYERS, signal: options.signal }, async (layer, signal) => {
      prepared.push(await prepare({ ...context, options: { ...options, signal } }, layer, missing.has(layer.diffId)));
    });
    writeBlob(store, image.manifest.digest, image.manifest.bytes);
    writeBlob(store, image.config.digest, image.config.bytes);
    await commitLayers(
      store,
      prepared.flatMap(({ layer }) => layer ?? []),
      diffIds,
      prepared.map(({ blob }) => blob),
    );
  } finally {
    for (const { layer, blob } of prepared) {
      blob.ingest.fd.close();
      if (layer !== undefined) await removeTree(layer.directory);
    }
  }
  return { image: rowOf(image), names: namesOf(image, image.manifest.digest) };
}

/**
 * The manifest of an image that is here already and stays as it is: the archive has the same one, or none of its own,
 * and nothing of it is missing.
 */
function knownManifest(
  store: ImageStore,
  { config, manifest, hasManifest, document }: ArchivedImage,
): Digest | undefined {
  const known = store.database
    .query<{ manifest: Digest }, [string]>("SELECT manifest FROM image WHERE id = ?1")
    .get(config.digest)?.manifest;
  if (known === undefined || (hasManifest && known !== manifest.digest)) return undefined;
  const isWhole =
    missingLayers(store, document.diffIds).length === 0 && missingBlobs(store, config.digest).length === 0;
  return isWhole ? known : undefined;
}

interface Prepared {
  /** Absent when the layer's tree is here already. */
  readonly layer: PreparedLayer | undefined;
  readonly blob: FetchedBlob;
}

/** Verifies a layer's bytes, puts them into a file that can become a blob, and unpacks them unless its tree is here. */
async function prepare({ store, scratch, options }: Context, work: Layer, isMissing: boolean): Promise<Prepared> {
  const { descriptor, diffId, file } = work;
  const { digest } = descriptor;
  const { signal } = options;
  if (file.own !== undefined && file.own.digest !== digest) {
    throw corrupt(digest, `its bytes have the digest ${file.own.digest}`);
  }
  const own = file.own && placeOf(store, file.own);
  const path = own ?? join(scratch, `blob-${digestHex(digest)}-${crypto.randomUUID()}`);
  using fd = new Fd(openSync(path, own === undefined ? WRITE_NEW : constants.O_RDONLY | constants.O_NOFOLLOW, 0o600));
  const source = own === undefined ? copied(file, fd.raw) : readFile(own);
  const directory = isMissing ? makeLayerDirectory(store) : undefined;
  try {
    const { bytes, isRootOpaque } = await extractLayer({
      blob: source,
      mediaType: descriptor.mediaType,
      directory,
      digest,
      diffId,
      onProgress: (current) => report(options, work, "extracting", current),
      signal,
    });
    report(options, work, "done", descriptor.size);
    const layer = directory === undefined ? undefined : { diffId, directory, bytes, isRootOpaque };
    return { layer, blob: { digest, ingest: { path, fd: new Fd(fd.take()) } } };
  } catch (error) {
    if (directory !== undefined) await removeTree(directory);
    throw error;
  }
}

/** Where a file of its own lies: as a blob, once another image of the archive has taken it. */
function placeOf(store: ImageStore, { path, digest }: NonNullable<ArchiveFile["own"]>): string {
  return existsSync(path) ? path : blobPath(store, digest);
}

const WRITE_NEW = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** The file's bytes, each chunk written to `to` on its way. */
async function* copied(file: ArchiveFile, to: number): AsyncGenerator<Uint8Array> {
  for await (const chunk of readBytes(file)) {
    writeAll(to, chunk);
    yield chunk;
  }
}

function corrupt(digest: Digest, why: string): BoxError {
  return new BoxError("blob-corrupt", `Cannot use blob ${digest}: ${why}`, {
    hint: "The archive is damaged: save or download it again",
  });
}

function report(
  { onProgress }: LoadOptions,
  { descriptor }: Layer,
  phase: PullProgress["phase"],
  current: number,
): void {
  onProgress?.({ layer: descriptor.digest, phase, current, total: descriptor.size });
}

function rowOf({ manifest, config, document, layers }: ArchivedImage): NewImage {
  return {
    id: config.digest,
    kind: "pulled",
    manifest: manifest.digest,
    platform: formatPlatform(document.platform),
    created: document.created ?? "",
    config: document.config,
    diffIds: document.diffIds,
    blobs: [manifest.digest, config.digest, ...layers.map(({ descriptor }) => descriptor.digest)],
  };
}

function namesOf({ names, config, document }: ArchivedImage, digest: Digest): ImageRows["names"] {
  const requested = formatPlatform(document.platform);
  return names.map((name) => {
    const repository = repositoryName(parseReference(name));
    return { name, repository, image: config.digest, digest, requested };
  });
}
