import { existsSync } from "node:fs";
import { incomplete } from "../document/details.ts";
import type { Digest } from "../document/digest.ts";
import type { Descriptor } from "../document/manifest.ts";
import { blobPath, hasBlob } from "../store/blobs.ts";
import { type ImageStore, layersDirectory } from "../store/store.ts";

/** Where a layer's bytes come from, as a registry or an archive has them. */
export type LayerBytes =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "tree"; readonly bytes: AsyncGenerator<Uint8Array> };

/**
 * Opens a layer's bytes: its blob's file, or, of a layer that was made here and has none, its tree archived again.
 * The caller holds the writing lock, so that nobody collects them meanwhile; the length is the descriptor's.
 *
 * @throws {BoxError} `image-incomplete` when the blob is gone and its bytes cannot be made again.
 */
export async function openLayerBytes(
  store: ImageStore,
  imageId: string,
  { digest }: Descriptor,
  diffId: Digest,
): Promise<LayerBytes> {
  if (hasBlob(store, digest)) return { kind: "file", path: blobPath(store, digest) };
  const tree = `${layersDirectory(store)}/${diffId.slice(7)}`;
  // Compressed bytes are never the same twice.
  if (digest !== diffId || !existsSync(tree)) throw incomplete(imageId, `layer ${digest} is not in the store`);
  const { archiveStored } = await import("../tree/archive.ts");
  return { kind: "tree", bytes: archiveStored(tree) };
}
