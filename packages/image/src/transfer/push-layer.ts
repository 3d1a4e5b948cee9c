import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { BoxError } from "@bantubox/ffi";
import { type Digest, digestHex, isDigest, quote } from "../document/digest.ts";
import type { Descriptor } from "../document/manifest.ts";
import { type Reference, repositoryName } from "../document/reference.ts";
import { type Compression, compress } from "../layer/compress.ts";
import { readFile } from "../layer/layer-stream.ts";
import type { Session } from "../registry/session.ts";
import { type BlobSource, type Uploaded, uploadBlob } from "../registry/upload.ts";
import { blobPath, hasBlob } from "../store/blobs.ts";
import { type ImageStore, ingestDirectory, layersDirectory } from "../store/store.ts";
import { archiveTree } from "../tree/archive.ts";

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
    // Made only if the registry turns out to want its bytes.
    await using source = fileSource(known, async () => {
      const made = await makeBlob(context, layer);
      if (made.descriptor.digest === known.digest) return made.file;
      await made.file.close();
      throw new OtherBytes();
    });
    try {
      return await push(context, layer, known, source);
    } catch (error) {
      if (!(error instanceof OtherBytes)) throw error;
    }
  }
  const { descriptor: made, file } = await makeBlob(context, layer);
  try {
    if (compression !== "none") remember(store, diffId, compression, made);
    return await push(
      context,
      layer,
      made,
      fileSource(made, () => Promise.resolve(file)),
    );
  } finally {
    // Also when the registry has it, and nobody has read from it.
    await file.close();
  }
}

/** An older version compressed the layer to something else, and the registry does not have that any more. */
class OtherBytes extends Error {}

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
  report(PHASES[outcome], descriptor.size, descriptor.size);
  return descriptor;
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

/**
 * Makes the blob of a layer of which only the files or the plain tar are stored, in a file that has no name any more: whatever happens,
 * it goes with its descriptor.
 *
 * @throws {BoxError} `layer-changed` when the files are not what the image says of them.
 */
async function makeBlob(
  { store, compression, signal, report }: LayerContext,
  { descriptor, diffId }: PushedLayer,
): Promise<{ descriptor: Descriptor; file: FileHandle }> {
  const aside = join(ingestDirectory(store), `.tmp-push-${digestHex(diffId)}-${process.pid}`);
  const file = await open(aside, "wx+", 0o600);
  try {
    await rm(aside);
    const inner = new Bun.CryptoHasher("sha256");
    let length = 0;
    async function* tar(): AsyncGenerator<Uint8Array> {
      const stored = blobPath(store, diffId);
      const tree = join(layersDirectory(store), digestHex(diffId));
      for await (const chunk of hasBlob(store, diffId) ? readFile(stored) : archiveTree(tree)) {
        signal.throwIfAborted();
        inner.update(chunk);
        length += chunk.length;
        report("preparing", length, descriptor.size);
        yield chunk;
      }
    }
    const outer = new Bun.CryptoHasher("sha256");
    let size = 0;
    for await (const chunk of compression === "none" ? tar() : compress(tar(), compression)) {
      outer.update(chunk);
      for (let at = 0; at < chunk.length; )
        at += (await file.write(chunk, at, chunk.length - at, size + at)).bytesWritten;
      size += chunk.length;
    }
    if (`sha256:${inner.digest("hex")}` !== diffId) {
      throw new BoxError("layer-changed", `Cannot push layer ${diffId}: its files have changed on disk`);
    }
    const digest: Digest = `sha256:${outer.digest("hex")}`;
    return { descriptor: { mediaType: compressedType(descriptor.mediaType, compression), digest, size }, file };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function compressedType(plain: string, compression: Compression): string {
  if (compression === "none") return plain;
  if (plain.startsWith("application/vnd.oci.")) return `${plain}+${compression}`;
  if (compression === "gzip") return `${plain}.gzip`;
  throw new BoxError("layer-unsupported", `Cannot push a layer of type ${quote(plain)} with ${compression}`, {
    hint: "Docker's own format has only gzip",
  });
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
