import { BoxError } from "@bantubox/ffi";
import type { Digest } from "../document/digest.ts";
import { type Descriptor, parseConfig, parseManifest } from "../document/manifest.ts";
import { hasBlob, readBlob } from "../store/blobs.ts";
import type { ImageStore } from "../store/store.ts";
import type { Problem } from "./check.ts";

/** An image's row, and what its documents say. */
export interface CheckedImage {
  readonly id: Digest;
  readonly kind: "pulled" | "local";
  readonly names: readonly string[];
  /** What its containers' roots are made of. */
  readonly trees: readonly string[];
  /** From bottom to top; empty when the documents cannot be read. */
  readonly layers: readonly { readonly descriptor: Descriptor; readonly diffId: Digest }[];
  /** Why the image as a whole is lost, if it is. */
  readonly problem?: string;
  /** Its blobs whose bytes are wrong. */
  readonly corrupt: Digest[];
}

interface Row {
  readonly id: Digest;
  readonly kind: "pulled" | "local";
  readonly manifest: Digest;
  /** Names of trees, with spaces between. */
  readonly layers: string;
  readonly names: readonly string[];
}

/** Reads an image's manifest, config and index again, and says what is wrong with them. */
export async function checkDocuments(store: ImageStore, row: Row, problems: Problem[]): Promise<CheckedImage> {
  const { id, kind, names } = row;
  const trees = row.layers === "" ? [] : row.layers.split(" ");
  const corrupt: Digest[] = [];
  try {
    const manifest = parseManifest(await readOr(store, row.manifest, corrupt), "");
    if (manifest.kind !== "manifest") throw new BoxError("manifest-invalid", "its manifest is an index");
    const { diffIds } = parseConfig(await readOr(store, id, corrupt), manifest.layers.length);
    const layers = manifest.layers.map((descriptor, index) => ({ descriptor, diffId: diffIds[index] as Digest }));
    // What else it refers to and is no layer: the index that it was chosen from.
    const others = new Set(layers.map(({ descriptor }) => descriptor.digest));
    const blobs = store.database
      .query<{ digest: Digest }, [string]>("SELECT digest FROM image_blob WHERE image = ?1")
      .all(id);
    for (const { digest } of blobs) if (!others.has(digest)) await readOr(store, digest, corrupt);
    return { id, kind, names, trees, layers, corrupt };
  } catch (error) {
    if (!(error instanceof BoxError)) throw error;
    for (const digest of corrupt) problems.push(blobProblem(store, digest));
    return { id, kind, names, trees, layers: [], corrupt, problem: `it cannot be read: ${error.message}` };
  }
}

async function readOr(store: ImageStore, digest: Digest, corrupt: Digest[]): Promise<Uint8Array> {
  if (!hasBlob(store, digest)) {
    corrupt.push(digest);
    throw new BoxError("blob-missing", `blob ${digest} is missing`);
  }
  try {
    return await readBlob(store, digest);
  } catch (error) {
    corrupt.push(digest);
    throw error;
  }
}

export function blobProblem(store: ImageStore, digest: Digest): Problem {
  const problem = hasBlob(store, digest) ? "its bytes have another digest" : "it is missing";
  const action = "see the image that it belongs to";
  return { kind: "blob", id: digest, problem, isDamage: true, action, isRepaired: false };
}
