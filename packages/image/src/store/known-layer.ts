import type { Digest } from "../document/digest.ts";
import { parseConfig, parseManifest } from "../document/manifest.ts";
import { readBlob } from "./blobs.ts";
import type { ImageStore } from "./store.ts";

/**
 * Whether an image of the store has a blob as the layer of this diff ID: then both were verified when that image came.
 * Anybody can publish an image that says of a blob that it is another layer.
 */
export async function isKnownLayer(store: ImageStore, digest: Digest, diffId: Digest): Promise<boolean> {
  if (digest === diffId) return true;
  const images = store.database
    .query<{ id: Digest; manifest: Digest }, [string]>(
      "SELECT i.id, i.manifest FROM image_blob b JOIN image i ON i.id = b.image WHERE b.digest = ?1",
    )
    .all(digest);
  for (const { id, manifest } of images) {
    const diffIds = await diffIdsOf(store, { id, manifest, digest }).catch((): Digest[] => []);
    if (diffIds.includes(diffId)) return true;
  }
  return false;
}

/** What an image's config says of the layers that its manifest has as this blob. */
async function diffIdsOf(
  store: ImageStore,
  { id, manifest, digest }: { readonly id: Digest; readonly manifest: Digest; readonly digest: Digest },
): Promise<Digest[]> {
  const document = parseManifest(await readBlob(store, manifest), "");
  if (document.kind !== "manifest") return [];
  const { diffIds } = parseConfig(await readBlob(store, id), document.layers.length);
  return diffIds.filter((_, index) => document.layers[index]?.digest === digest);
}
