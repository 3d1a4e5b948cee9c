import { BoxError } from "@bantubox/ffi";
import { type Digest, isDigest, quote, sha256 } from "../document/digest.ts";
import {
  type Descriptor,
  DOCUMENT_MAX,
  type Manifest,
  manifestType,
  parseConfig,
  parseManifest,
} from "../document/manifest.ts";
import { formatReference, parseReference, type Reference, repositoryName } from "../document/reference.ts";
import type { Compression } from "../layer/compress.ts";
import { GzipThreads } from "../layer/gzip-threads.ts";
import { ownEndpoint, type RegistryOptions } from "../registry/endpoint.ts";
import { sendAndRead } from "../registry/http.ts";
import { refusal } from "../registry/refusal.ts";
import { openSession, type Session } from "../registry/session.ts";
import { inMemory, uploadBlob, writeScope } from "../registry/upload.ts";
import { readBlob } from "../store/blobs.ts";
import { getImage } from "../store/find.ts";
import { lockForWriting } from "../store/garbage.ts";
import { imagesChanged } from "../store/marker.ts";
import type { ImageStore } from "../store/store.ts";
import { inParallel } from "./parallel.ts";
import { type LayerContext, type PushPhase, pushLayer } from "./push-layer.ts";

const PARALLEL_LAYERS = 3;

export interface PushProgress {
  /** The layer's digest in the image's own manifest. */
  readonly layer: Digest;
  readonly phase: PushPhase;
  /** Bytes: of its tar while it is prepared, of the blob afterwards. */
  readonly current: number;
  readonly total: number;
}

export interface PushOptions extends RegistryOptions {
  /** Where to, when not where the image's own name says. */
  readonly destination?: string | undefined;
  /** How layers are sent that are here as files only, those of images that were made here; gzip when absent. */
  readonly compression?: Compression | undefined;
  /** Bytes sent by one request; 64 MiB when absent. */
  readonly chunk?: number | undefined;
  readonly onProgress?: ((progress: PushProgress) => void) | undefined;
}

export interface PushResult {
  /** Full: `docker.io/library/alpine:latest`. */
  readonly name: string;
  /** Of the manifest that the registry has now. */
  readonly digest: Digest;
  /** Its length. */
  readonly size: number;
}

/**
 * Brings an image to a registry: layers in parallel, and only what is not there yet.
 *
 * What was pulled goes out with the very manifest that it came with, so its digest stays. Layers that were made here
 * are compressed on the way, always to the same bytes: so a second push of the same image has the same digest, too.
 *
 * @throws {BoxError} `reference-invalid`, `no-such-image`, `image-built-in`, `blob-missing`, `layer-changed`, `registry-…`
 */
export async function pushImage(store: ImageStore, text: string, options: PushOptions = {}): Promise<PushResult> {
  const image = getImage(store, text);
  if (image.kind === "host") throw new BoxError("image-built-in", `Cannot push image "host": it is built in`);
  const reference = destinationOf(options.destination ?? text);
  const session = openSession(ownEndpoint(reference.domain, options), options);
  // Keeps blobs and layers from being collected meanwhile.
  using _writing = await lockForWriting(store, options.signal);
  const { manifest, bytes } = await readManifest(store, image.id);
  const config = await readBlob(store, manifest.config.digest);
  const { diffIds } = parseConfig(config, manifest.layers.length);
  // First, since it is small: whoever may not push hears of it before layers are made.
  await uploadBlob({ session, reference, source: inMemory(manifest.config.digest, config) });
  const isLocal = image.kind === "local";
  const descriptors = await pushLayers({ store, session, reference, isLocal }, manifest, diffIds, options);
  const outgoing = withLayers(bytes, manifest, descriptors);
  const digest = await putManifest(session, reference, manifestType(manifest, bytes), outgoing);
  nameDigest(store, formatReference(reference), image.id, digest);
  return { name: formatReference(reference), digest, size: outgoing.length };
}

/** Pushes every tag of a repository that is here, one after the other. @throws As `pushImage`. */
export async function pushAllTags(store: ImageStore, text: string, options: PushOptions = {}): Promise<PushResult[]> {
  const reference = parseReference(text);
  if (reference.tag !== undefined || reference.digest !== undefined) {
    throw new BoxError("reference-invalid", `Cannot push all tags of ${quote(text)}: it names one itself`, {
      hint: "Leave the tag out",
    });
  }
  const names = store.database
    .query<{ name: string }, [string]>("SELECT name FROM image_name WHERE repository = ?1 ORDER BY name")
    .all(repositoryName(reference))
    .filter(({ name }) => !name.includes("@"));
  if (names.length === 0) {
    throw new BoxError("no-such-image", `Cannot push all tags of ${quote(text)}: there is no image of that name here`);
  }
  const results: PushResult[] = [];
  for (const { name } of names) results.push(await pushImage(store, name, options));
  return results;
}

function destinationOf(text: string): Reference {
  const reference = parseReference(text);
  if (reference.digest === undefined) return reference;
  throw new BoxError("reference-invalid", `Cannot push to ${quote(text)}: a digest comes from what is pushed`, {
    hint: "Push to a tag",
  });
}

async function readManifest(store: ImageStore, id: string): Promise<{ manifest: Manifest; bytes: Uint8Array }> {
  const row = store.database.query<{ manifest: string }, [string]>("SELECT manifest FROM image WHERE id = ?1").get(id);
  if (row !== null && isDigest(row.manifest)) {
    const bytes = await readBlob(store, row.manifest);
    const manifest = parseManifest(bytes, "");
    if (manifest.kind === "manifest") return { manifest, bytes };
  }
  throw new BoxError("blob-missing", `Cannot push image ${id}: its manifest is not here`, { hint: "Pull it again" });
}

async function pushLayers(
  context: Pick<LayerContext, "store" | "session" | "reference" | "isLocal">,
  { layers }: Manifest,
  diffIds: readonly Digest[],
  options: PushOptions,
): Promise<Descriptor[]> {
  const work = layers.map((descriptor, index) => ({ descriptor, diffId: diffIds[index] as Digest }));
  for (const { descriptor } of work) {
    options.onProgress?.({ layer: descriptor.digest, phase: "queued", current: 0, total: descriptor.size });
  }
  using threads = new GzipThreads();
  // An image may have the same layer twice: it is one blob.
  const begun = new Map<Digest, Promise<Descriptor>>();
  return await inParallel(work, { limit: PARALLEL_LAYERS, signal: options.signal }, (layer, signal) => {
    const { digest } = layer.descriptor;
    const pushed =
      begun.get(digest) ??
      pushLayer(
        {
          ...context,
          compression: options.compression ?? "gzip",
          threads,
          chunk: options.chunk,
          signal,
          report: (phase, current, total) => options.onProgress?.({ layer: digest, phase, current, total }),
        },
        layer,
      );
    begun.set(digest, pushed);
    return pushed;
  });
}

/** From now on the registry answers this for the name, if it is one of the image's here. */
function nameDigest(store: ImageStore, name: string, image: string, digest: Digest): void {
  store.database
    .transaction(() => {
      imagesChanged(store);
      store.database.query("UPDATE image_name SET digest = ?1 WHERE name = ?2 AND image = ?3").run(digest, name, image);
    })
    .immediate();
}

/** The manifest with what its layers are now; the same bytes when nothing has changed. */
function withLayers(bytes: Uint8Array, { layers }: Manifest, descriptors: readonly Descriptor[]): Uint8Array {
  if (descriptors.every(({ digest }, index) => digest === layers[index]?.digest)) return bytes;
  const document = JSON.parse(new TextDecoder().decode(bytes)) as { layers: object[] };
  document.layers = document.layers.map((layer, index) => {
    const { mediaType, digest, size } = descriptors[index] as Descriptor;
    return { ...layer, mediaType, digest, size };
  });
  return new TextEncoder().encode(JSON.stringify(document));
}

async function putManifest(session: Session, reference: Reference, type: string, body: Uint8Array): Promise<Digest> {
  const { path, scopes } = writeScope(session, reference);
  const what = reference.tag ?? "latest";
  const answer = await session.ask(`${path}/manifests/${what}`, scopes, (url, authorization) =>
    sendAndRead(
      { method: "PUT", url, authorization, headers: { "Content-Type": type }, body },
      DOCUMENT_MAX,
      session.endpoint.settings,
    ),
  );
  if (answer.status !== 201) throw refusal({ verb: "push", reference, what, ...answer });
  const digest = sha256(body);
  const said = answer.headers.get("docker-content-digest") ?? digest;
  if (said === digest) return digest;
  throw new BoxError(
    "digest-mismatch",
    `Cannot trust what became of ${quote(formatReference(reference))}: the registry has ${quote(said)}, we sent ${digest}`,
  );
}
