import { type FileHandle, open } from "node:fs/promises";
import { BoxError } from "@bantubox/ffi";
import { type Digest, digestHex, isDigest } from "../document/digest.ts";
import type { Descriptor } from "../document/manifest.ts";
import { type Reference, repositoryName } from "../document/reference.ts";
import type { Compression } from "../layer/compress.ts";
import type { GzipThreads } from "../layer/gzip-threads.ts";
import type { Session } from "../registry/session.ts";
import { type BlobSource, findBlob, SMALL_BLOB, type Uploaded, uploadBlob } from "../registry/upload.ts";
import { streamBlob } from "../registry/upload-stream.ts";
import { blobPath, hasBlob } from "../store/blobs.ts";
import type { ImageStore } from "../store/store.ts";
import { compressedType, LayerBlob } from "./layer-blob.ts";

/** `preparing` makes a blob of a layer's files, `present` and `mounted` needed nothing sent. */
export type PushPhase = "queued" | "preparing" | "pushing" | "pushed" | "present" | "mounted";

/** What became of an upload. */
const PHASES = { exists: "present", mounted: "mounted", uploaded: "pushed" } as const satisfies Record<
  Uploaded,
  PushPhase
>;

export interface LayerContext {
  readonly store: ImageStore;
  readonly session: Session;
  readonly reference: Reference;
  readonly compression: Compression;
  readonly threads: GzipThreads;
  /** The image was made here: nobody knows its plain layers by their digests yet. */
  readonly isLocal: boolean;
  readonly chunk: number | undefined;
  readonly signal: AbortSignal;
  readonly report: (phase: PushPhase, current: number, total: number) => void;
}

export interface PushedLayer {
  /** What the image's manifest says. */
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
}

/**
 * Sees to it that the registry has a layer: as the blob that is stored, or as one that is made of its files.
 *
 * @returns What a manifest has to say of it there.
 */
export async function pushLayer(context: LayerContext, layer: PushedLayer): Promise<Descriptor> {
  const { store, compression, isLocal } = context;
  const { descriptor, diffId } = layer;
  const isPlain = descriptor.digest === diffId;
  if (hasBlob(store, descriptor.digest) && !(isLocal && isPlain && compression !== "none")) {
    await using source = fileSource(descriptor, () => open(blobPath(store, descriptor.digest), "r"));
    return await push(context, layer, descriptor, source);
  }
  if (!isPlain) {
    throw new BoxError("blob-missing", `Cannot push layer ${descriptor.digest}: its blob is not here`, {
      hint: "Pull the image again",
    });
  }
  const known = compression === "none" ? descriptor : recall(store, layer, compression);
  if (known !== undefined) {
    const found = await findBlob({
      ...context,
      source: known,
      mountFrom: findElsewhere(context, diffId, known.digest),
    });
    if (found !== undefined) return finish(context, known, found);
  }
  await using blob = new LayerBlob({
    ...context,
    plain: descriptor,
    diffId,
    onBytes: (bytes) => context.report("preparing", bytes, descriptor.size),
  });
  const outcome = await pushMeanwhile(context, blob);
  const made = await blob.made();
  if (compression !== "none") remember(store, diffId, compression, made);
  if (outcome !== undefined) return finish(context, made, outcome);
  return await push(context, layer, made, { ...made, read: (offset, length) => blob.read(offset, length) });
}

async function push(
  context: LayerContext,
  { diffId }: PushedLayer,
  descriptor: Descriptor,
  source: BlobSource,
): Promise<Descriptor> {
  const { session, reference, chunk, report } = context;
  const outcome = await uploadBlob({
    session,
    reference,
    source,
    chunk,
    mountFrom: findElsewhere(context, diffId, descriptor.digest),
    onBytes: (current) => report("pushing", current, descriptor.size),
  });
  return finish(context, descriptor, outcome);
}

function finish({ report }: LayerContext, descriptor: Descriptor, outcome: Uploaded): Descriptor {
  report(PHASES[outcome], descriptor.size, descriptor.size);
  return descriptor;
}

/**
 * Sends a blob while it is made. @returns Undefined when it is to be sent once it is whole: one that is small, of which
 * it is better known first whether it is there, or one that the registry did not take.
 */
async function pushMeanwhile(
  { session, reference, report }: LayerContext,
  blob: LayerBlob,
): Promise<Uploaded | undefined> {
  if (!(await blob.reaches(SMALL_BLOB))) return undefined;
  let total: number | undefined;
  blob.made().then(
    ({ size }) => {
      total = size;
    },
    () => {},
  );
  // Until then it is said how far the preparation is.
  const onBytes = (bytes: number) => total !== undefined && report("pushing", bytes, total);
  return await streamBlob({ session, reference, blob, onBytes });
}

/** Another repository of the same registry from which the layer came, or to which it may have gone. */
function findElsewhere({ store, reference }: LayerContext, diffId: Digest, blob: Digest): string | undefined {
  const prefix = `${reference.domain}/`;
  const rows = store.database
    .query<{ repository: string }, [string, string, string]>(
      `SELECT DISTINCT n.repository FROM image_name n
       WHERE n.repository != ?1 AND n.image IN
         (SELECT image FROM image_blob WHERE digest = ?2 UNION SELECT image FROM image_layer WHERE layer = ?3)
       ORDER BY n.repository`,
    )
    .all(repositoryName(reference), blob, digestHex(diffId));
  return rows.find(({ repository }) => repository.startsWith(prefix))?.repository.slice(prefix.length);
}

/** A blob in a file that is opened when its first byte is wanted. */
function fileSource({ digest, size }: Descriptor, openFile: () => Promise<FileHandle>): BlobSource & AsyncDisposable {
  let opened: Promise<FileHandle> | undefined;
  return {
    digest,
    size,
    async read(offset, length) {
      opened ??= openFile();
      const file = await opened;
      const bytes = new Uint8Array(Math.min(length, size - offset));
      for (let at = 0; at < bytes.length; ) {
        const { bytesRead } = await file.read(bytes, at, bytes.length - at, offset + at);
        if (bytesRead === 0) throw new BoxError("blob-corrupt", `Cannot push blob ${digest}: its file is too short`);
        at += bytesRead;
      }
      return bytes;
    },
    async [Symbol.asyncDispose]() {
      const file = await opened?.catch(() => undefined);
      await file?.close();
    },
  };
}

/** What a layer was compressed to when it was pushed before. */
function recall(
  store: ImageStore,
  { descriptor, diffId }: PushedLayer,
  compression: Compression,
): Descriptor | undefined {
  makeTable(store);
  const row = store.database
    .query<{ digest: string; bytes: number }, [string, string]>(
      "SELECT digest, bytes FROM pushed_layer WHERE layer = ?1 AND compression = ?2",
    )
    .get(digestHex(diffId), compression);
  if (row === null || !isDigest(row.digest)) return undefined;
  return { mediaType: compressedType(descriptor.mediaType, compression), digest: row.digest, size: row.bytes };
}

function remember(store: ImageStore, diffId: Digest, compression: Compression, { digest, size }: Descriptor): void {
  makeTable(store);
  const { database } = store;
  database
    .transaction(() => {
      database.run("DELETE FROM pushed_layer WHERE layer NOT IN (SELECT id FROM layer)");
      database
        .query("INSERT OR REPLACE INTO pushed_layer (layer, compression, digest, bytes) VALUES (?1, ?2, ?3, ?4)")
        .run(digestHex(diffId), compression, digest, size);
    })
    .immediate();
}

/** Of use to pushes alone, and without it they only take longer: so it is made when the first one needs it. */
function makeTable({ database }: ImageStore): void {
  database.run(`
    CREATE TABLE IF NOT EXISTS pushed_layer (
      layer TEXT NOT NULL,
      compression TEXT NOT NULL,
      digest TEXT NOT NULL,
      bytes INTEGER NOT NULL,
      PRIMARY KEY (layer, compression)
    ) STRICT, WITHOUT ROWID
  `);
}
