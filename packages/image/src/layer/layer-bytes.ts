import { existsSync } from "node:fs";
import type { BoxError } from "@bantubox/ffi";
import { incomplete } from "../document/details.ts";
import type { Digest } from "../document/digest.ts";
import type { Descriptor } from "../document/manifest.ts";
import { blobPath, hasBlob } from "../store/blobs.ts";
import { type ImageStore, layersDirectory } from "../store/store.ts";

/** Where a layer's bytes come from, as a registry or an archive has them. */
export type LayerBytes =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "tree"; readonly bytes: AsyncGenerator<Uint8Array> };

/** Whether a layer's bytes are here, or can be made of its tree: compressed ones are never the same twice. */
export function hasLayerBytes(store: ImageStore, { digest }: Descriptor, diffId: Digest): boolean {
  return hasBlob(store, digest) || (digest === diffId && existsSync(treeOf(store, diffId)));
}

export function layerMissing(imageId: string, { digest }: Descriptor): BoxError {
  return incomplete(imageId, `layer ${digest} is not in the store`);
}

function treeOf(store: ImageStore, diffId: Digest): string {
  return `${layersDirectory(store)}/${diffId.slice(7)}`;
}

/**
 * Opens a layer's bytes: its blob's file, or, of a layer that was made here and has none, its tree archived again.
 * The caller holds the writing lock, so that nobody collects them meanwhile; the length is the descriptor's.
 *
 * @throws {BoxError} `image-incomplete` when the blob is gone and its bytes cannot be made again.
 */
export async function openLayerBytes(
  store: ImageStore,
  imageId: string,
  layer: Descriptor,
  diffId: Digest,
): Promise<LayerBytes> {
  if (hasBlob(store, layer.digest)) return { kind: "file", path: blobPath(store, layer.digest) };
  if (!hasLayerBytes(store, layer, diffId)) throw layerMissing(imageId, layer);
  const { archiveStored } = await import("../tree/archive.ts");
  return { kind: "tree", bytes: archiveStored(treeOf(store, diffId)) };
}
