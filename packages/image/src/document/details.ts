import { BoxError } from "@bantubox/ffi";
import { readBlob } from "../store/blobs.ts";
import type { ImageKind, ImageStore } from "../store/store.ts";
import { type Digest, quote } from "./digest.ts";

/** What the rows say about one image, beside what its containers need. */
export interface ImageDetails {
  readonly id: Digest;
  readonly kind: ImageKind;
  readonly manifest: Digest;
  /** `linux/amd64` */
  readonly platform: string;
  /** RFC 3339; empty when the image does not say. */
  readonly created: string;
  /** Of all its layers, shared ones included. */
  readonly bytes: number;
  /** Full, sorted. */
  readonly names: readonly { readonly name: string; readonly repository: string; readonly digest: Digest }[];
}

/** @param id Of an image that is there. @throws {BoxError} `no-such-image` when it has just been removed. */
export function imageDetails({ database }: ImageStore, id: string): ImageDetails {
  const row = database
    .query<Omit<ImageDetails, "names">, [string]>(
      "SELECT id, kind, manifest, platform, created, bytes FROM image WHERE id = ?1",
    )
    .get(id);
  if (row === null) throw new BoxError("no-such-image", `Cannot find image ${quote(id)}: it has been removed`);
  const names = database
    .query<ImageDetails["names"][number], [string]>(
      "SELECT name, repository, digest FROM image_name WHERE image = ?1 ORDER BY name",
    )
    .all(id);
  return { ...row, names };
}

/** An image's config or manifest, verified. @throws {BoxError} `image-incomplete` when it is missing, `blob-corrupt`. */
export async function readDocument(store: ImageStore, id: string, digest: Digest): Promise<Uint8Array> {
  try {
    return await readBlob(store, digest);
  } catch (cause) {
    if (cause instanceof BoxError) throw cause;
    throw incomplete(id, `document ${digest} is not in the store`, cause);
  }
}

export function incomplete(id: string, why: string, cause?: unknown): BoxError {
  return new BoxError("image-incomplete", `Cannot read image ${quote(id)}: its ${why}`, {
    hint: "Pull or load it again",
    cause,
  });
}
