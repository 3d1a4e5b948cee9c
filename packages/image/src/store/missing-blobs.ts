import type { Digest } from "../document/digest.ts";
import { hasBlob } from "./blobs.ts";
import type { ImageStore } from "./store.ts";
import { hasTree } from "./trees.ts";

/**
 * What is not here of what an image is saved and pushed from. Its containers need none of it, but until it is fetched
 * the image cannot be handed on.
 *
 * A layer that was made here is no blob: its tree makes the same bytes again. Of what was pulled or loaded only the
 * blob has the bytes that its digest is of.
 */
export function missingBlobs(store: ImageStore, image: string): Digest[] {
  const rows = store.database
    .query<{ digest: Digest; kind: string }, [string]>(
      "SELECT b.digest, i.kind FROM image_blob b JOIN image i ON i.id = b.image WHERE b.image = ?1",
    )
    .all(image);
  return rows
    .filter(({ digest, kind }) => !hasBlob(store, digest) && !(kind === "local" && hasTree(store, digest.slice(7))))
    .map(({ digest }) => digest);
}
