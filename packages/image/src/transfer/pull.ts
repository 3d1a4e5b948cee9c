import { fstatSync, ftruncateSync, rmSync } from "node:fs";
import { BoxError } from "@bantubox/ffi";
import { type Digest, parseDigest, quote } from "../document/digest.ts";
import { fetchDocuments } from "../document/documents.ts";
import { type Descriptor, parseConfig } from "../document/manifest.ts";
import { formatPlatform, hostPlatform, type Platform, parsePlatform, platformDistance } from "../document/platform.ts";
import { formatReference, parseReference, repositoryName } from "../document/reference.ts";
import { LayerThreads } from "../layer/layer-threads.ts";
import { openRepository, type RegistryOptions, type Repository } from "../registry/registry.ts";
import { removeTree, removeTreeSync } from "../storage/remove.ts";
import {
  blobPath,
  download,
  dropIngest,
  type FetchedBlob,
  hasBlob,
  type Ingest,
  isIntact,
  tryIngest,
  waitIngest,
  writeBlob,
} from "../store/blobs.ts";
import { commitLayers, makeLayerDirectory, missingLayers, type PreparedLayer } from "../store/commit.ts";
import { getImage } from "../store/find.ts";
import { lockForWriting } from "../store/garbage.ts";
import { isKnownLayer } from "../store/known-layer.ts";
import { missingBlobs } from "../store/missing-blobs.ts";
import { recordImage } from "../store/record.ts";
import type { Image, ImageStore } from "../store/store.ts";
import { inParallel } from "./parallel.ts";
import { unpackBlob, unpackDownload } from "./pull-unpack.ts";

const PARALLEL_LAYERS = 3;

/** `waiting` for another process, `downloading` and unpacking at once, `extracting` what is here, `exists` needs nothing. */
export type PullPhase = "waiting" | "downloading" | "extracting" | "done" | "exists";

export interface PullProgress {
  /** The blob's digest. */
  readonly layer: Digest;
  readonly phase: PullPhase;
  /** Compressed bytes. */
  readonly current: number;
  readonly total: number;
}

export interface PullOptions extends RegistryOptions {
  /** `linux/arm64`; the host's when absent. */
  readonly platform?: string | undefined;
  /** `missing` asks the registry only for what is not here. */
  readonly policy?: "always" | "missing" | undefined;
  readonly onProgress?: ((progress: PullProgress) => void) | undefined;
}

export interface PullResult {
  readonly image: Image;
  /** Full: `docker.io/library/alpine:latest`. */
  readonly name: string;
  /** What the registry answered: of the index, where there is one. */
  readonly digest: string;
  readonly status: "downloaded" | "up-to-date";
}

/**
 * Brings an image from its registry: layers in parallel, each unpacked while it downloads, all verified.
 *
 * Afterwards all that its manifest names is here, so that it can be saved and pushed: where only the blob of a layer is
 * missing, whose files another image has brought, that is fetched alone. An image that lacks such is not up to date.
 *
 * A pull that is killed leaves nothing that counts; the next one goes on with its downloads. Any number
 * of them may run at once: each layer is fetched by one, and the others wait for it.
 *
 * @param opened The repository, if it has been spoken to before.
 * @throws {BoxError} `reference-invalid`, `registry-…`, `manifest-invalid`, `config-invalid`,
 *   `platform-missing`, `blob-corrupt` and what unpacking a layer throws.
 */
export async function pullImage(
  store: ImageStore,
  text: string,
  options: PullOptions = {},
  opened?: Repository,
): Promise<PullResult> {
  const reference = parseReference(text);
  const name = formatReference(reference);
  const wanted = options.platform === undefined ? hostPlatform() : parsePlatform(options.platform);
  const requested = formatPlatform(wanted);
  const named = findNamed(store, name, requested);
  // Whoever only wants to run it needs no blobs.
  if (named !== undefined && options.policy === "missing") return upToDate(store, name, named.digest);
  const known = named !== undefined && missingBlobs(store, named.image).length === 0 ? named.digest : undefined;
  const pinned = reference.digest === undefined ? undefined : parseDigest(reference.digest);
  if (known !== undefined && pinned === known) return upToDate(store, name, known);

  const repository = opened ?? openRepository(reference, options);
  const target = pinned ?? reference.tag ?? "latest";
  // Registries that count requests do not count HEAD.
  if (known !== undefined && (await repository.head(target)) === known) return upToDate(store, name, known);

  const documents = await fetchDocuments(repository, target, wanted, text);
  const { digest } = documents;
  if (known === digest) return upToDate(store, name, known);
  const config = parseConfig(documents.config, documents.manifest.layers.length);
  // An index has chosen by its own words; builders that cross-compile leave theirs in configs.
  if (digest === documents.manifestDigest) checkPlatform(text, config.platform, wanted);

  using _writing = await lockForWriting(store, options.signal);
  using threads = new LayerThreads();
  const written = documents.blobs.filter((blob) => writeBlob(store, blob.digest, blob.bytes));
  const work = documents.manifest.layers.map((descriptor, index) => ({
    descriptor,
    diffId: config.diffIds[index] as Digest,
  }));
  const fetched = await fetchLayers({ store, repository, options, threads }, work);
  if (!fetched && written.length > 0) await commitLayers(store, [], config.diffIds);
  recordImage(
    store,
    {
      id: documents.manifest.config.digest,
      kind: "pulled",
      manifest: documents.manifestDigest,
      platform: formatPlatform(config.platform),
      created: config.created ?? "",
      config: config.config,
      diffIds: config.diffIds,
      blobs: [...documents.blobs.map((blob) => blob.digest), ...work.map(({ descriptor }) => descriptor.digest)],
    },
    { name, repository: repositoryName(reference), digest, requested },
  );
  return { image: getImage(store, name), name, digest, status: "downloaded" };
}

interface Named {
  readonly image: string;
  /** What the registry answered when the name was last pulled. */
  readonly digest: string;
}

/** What a name stands for, if it was pulled for this platform. */
function findNamed({ database }: ImageStore, name: string, requested: string): Named | undefined {
  const query = database.query<Named, [string, string]>(
    "SELECT image, digest FROM image_name WHERE name = ?1 AND requested = ?2",
  );
  return query.get(name, requested) ?? undefined;
}

function upToDate(store: ImageStore, name: string, digest: string): PullResult {
  return { image: getImage(store, name), name, digest, status: "up-to-date" };
}

function checkPlatform(name: string, platform: Platform, wanted: Platform): void {
  if (platform.architecture === "" || platformDistance(wanted, platform) !== undefined) return;
  throw new BoxError(
    "platform-missing",
    `Cannot pull ${quote(name)}: it is made for ${quote(formatPlatform(platform))}, not for ${formatPlatform(wanted)}`,
    {
      hint: `Pull it with --platform ${quote(formatPlatform(platform)).slice(1, -1)} if that is what you want`,
    },
  );
}

interface Context {
  readonly store: ImageStore;
  readonly repository: Repository;
  readonly options: PullOptions;
  readonly threads: LayerThreads;
}

interface Work {
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
}

/**
 * Makes all layers and their blobs exist. What no other process is at is done here and committed at once; only then is
 * waited for the others, with nothing held: so two pulls never wait for each other.
 *
 * @returns Whether anything was committed.
 */
async function fetchLayers(context: Context, layers: readonly Work[]): Promise<boolean> {
  const { store, options } = context;
  const diffIds = layers.map(({ diffId }) => diffId);
  const wanted = missingLayers(store, diffIds);
  const missing: Work[] = [];
  for (const work of layers) {
    // Another layer of the same files may be another blob.
    if (missing.some((other) => isSame(other, work))) continue;
    if (!wanted.includes(work.diffId) && (await isHere(store, work)))
      report(options, work, "exists", work.descriptor.size);
    else missing.push(work);
  }
  // The largest first: nothing is worse than to begin it last, with all other threads done.
  missing.sort((a, b) => b.descriptor.size - a.descriptor.size);
  const theirs: Work[] = [];
  const ours: (Prepared | undefined)[] = [];
  await inParallel(missing, { limit: PARALLEL_LAYERS, signal: options.signal }, async (work, signal) => {
    const ingest = tryIngest(store, work.descriptor.digest);
    if (ingest === undefined) {
      report(options, work, "waiting", 0);
      theirs.push(work);
    } else {
      ours.push(await prepare({ ...context, options: { ...options, signal } }, work, diffIds, ingest));
    }
  }).catch((error: unknown) => {
    dispose(ours.filter((layer) => layer !== undefined));
    throw error;
  });
  let isCommitted = ours.some((layer) => layer !== undefined);
  let waiting = await commit(store, ours, diffIds);
  for (const work of theirs) {
    const ingest = await waitIngest(store, work.descriptor.digest, options.signal).catch((error: unknown) => {
      dispose(waiting);
      throw error;
    });
    const layer = await prepare(context, work, diffIds, ingest).catch((error: unknown) => {
      dispose(waiting);
      throw error;
    });
    if (layer !== undefined) isCommitted = true;
    waiting = await commit(store, [...waiting, layer], diffIds);
  }
  dispose(waiting);
  return isCommitted;
}

/** Whether a layer's blob is here, and is that layer's. */
async function isHere(store: ImageStore, { descriptor, diffId }: Work): Promise<boolean> {
  return hasBlob(store, descriptor.digest) && (await isKnownLayer(store, descriptor.digest, diffId));
}

function isSame(a: Work, b: Work): boolean {
  return a.diffId === b.diffId && a.descriptor.digest === b.descriptor.digest;
}

interface Prepared extends Disposable {
  /** Absent where its tree is here. */
  readonly layer: PreparedLayer | undefined;
  /** Absent where that is here. */
  readonly blob: FetchedBlob | undefined;
}

/** @returns Layers that wait for one below them; all others are disposed of. */
async function commit(
  store: ImageStore,
  prepared: readonly (Prepared | undefined)[],
  diffIds: readonly Digest[],
): Promise<Prepared[]> {
  const given = prepared.filter((each) => each !== undefined);
  if (given.length === 0) return [];
  let waiting: Prepared[] = [];
  try {
    const layers = given.flatMap(({ layer }) => layer ?? []);
    const blobs = given.flatMap(({ blob }) => blob ?? []);
    const unplaced = await commitLayers(store, layers, diffIds, blobs);
    waiting = given.filter(({ layer }) => layer !== undefined && unplaced.includes(layer));
  } finally {
    dispose(given.filter((each) => !waiting.includes(each)));
  }
  return waiting;
}

function dispose(layers: readonly Prepared[]): void {
  for (const layer of layers) layer[Symbol.dispose]();
}

/** Downloads and unpacks what is missing of one layer, or finds that it was done meanwhile. Owns `ingest`. */
async function prepare(
  { store, repository, options, threads }: Context,
  work: Work,
  diffIds: readonly Digest[],
  ingest: Ingest,
): Promise<Prepared | undefined> {
  const { descriptor, diffId } = work;
  const { digest, size } = descriptor;
  const { signal } = options;
  // Another process, or an equal layer of other compression, may just have finished it.
  const wantsTree = missingLayers(store, diffIds).includes(diffId);
  if (!wantsTree && (await isHere(store, work))) {
    dropIngest(ingest);
    report(options, work, "done", size);
    return undefined;
  }
  let directory = wantsTree ? makeLayerDirectory(store) : undefined;
  try {
    for (;;) {
      const stored = hasBlob(store, digest);
      const resumed = stored || fstatSync(ingest.fd.raw).size > 0;
      const unpack = { mediaType: descriptor.mediaType, directory, diffId };
      try {
        const result = stored
          ? await unpackBlob({
              threads,
              path: blobPath(store, digest),
              unpack: { ...unpack, digest },
              signal,
              onProgress: (current) => report(options, work, "extracting", current),
            })
          : await unpackDownload({
              threads,
              bytes: download({
                repository,
                descriptor,
                ingest,
                options,
                onBytes: (current) => report(options, work, "downloading", current),
              }),
              fd: ingest.fd.raw,
              size,
              unpack,
              signal,
            });
        report(options, work, "done", size);
        if (stored) dropIngest(ingest);
        const { bytes, isRootOpaque } = result;
        const made = directory;
        return {
          layer: made === undefined ? undefined : { diffId, bytes, isRootOpaque, directory: made },
          blob: stored ? undefined : { digest, ingest },
          [Symbol.dispose]() {
            ingest.fd.close();
            if (made !== undefined) removeTreeSync(made);
          },
        };
      } catch (error) {
        signal?.throwIfAborted();
        if (isFromRegistry(error)) throw error;
        // Other images may need the blob: only wrong bytes are a reason to throw it away. A full disk is none, nor is
        // what this image says of it.
        if (stored && (!isVerdict(error) || (await isIntact(store, digest)))) throw error;
        // What is here is worth nothing: were it kept, every later pull would stumble over it again.
        ftruncateSync(ingest.fd.raw, 0);
        if (stored) rmSync(blobPath(store, digest), { force: true });
        if (!resumed) throw error;
        if (directory === undefined) continue;
        await removeTree(directory);
        directory = makeLayerDirectory(store);
      }
    }
  } catch (error) {
    if (directory !== undefined) await removeTree(directory);
    if (fstatSync(ingest.fd.raw).size === 0) dropIngest(ingest);
    else ingest.fd.close();
    throw error;
  }
}

function isFromRegistry(error: unknown): boolean {
  return error instanceof BoxError && error.code.startsWith("registry-");
}

/** Whether unpacking has failed for what the bytes are. */
function isVerdict(error: unknown): boolean {
  return error instanceof BoxError && /^(blob|layer|tar)-/.test(error.code);
}

function report({ onProgress }: PullOptions, { descriptor }: Work, phase: PullPhase, current: number): void {
  onProgress?.({ layer: descriptor.digest, phase, current, total: descriptor.size });
}
