import { existsSync } from "@bantubox/ffi";
import { type Digest, sha256 } from "../document/digest.ts";
import { blobsDirectory, driverName, type ImageStore } from "./store.ts";

/** A layer that is on disk, or about to be. */
export interface StoredLayer {
  readonly diffId: Digest;
  /** Length of its tar, for people. */
  readonly bytes: number;
  /** Hides all layers below it. Overlay does not look for that at a layer's root, so those are left out of its stack. */
  readonly isRootOpaque: boolean;
}

/** @param tree Its directory's name. */
export function hasTree({ database }: ImageStore, tree: string): boolean {
  return database.query<{ id: string }, [string]>("SELECT id FROM layer WHERE id = ?1").get(tree) !== null;
}

/**
 * Names of the trees that hold the beginnings of a chain of layers, from bottom to top: the OCI's chain IDs.
 *
 * @see https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid
 */
export function chainOf(diffIds: readonly Digest[]): string[] {
  const chain: string[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    chain.push((below === undefined ? diffId : sha256(Buffer.from(`sha256:${below} ${diffId}`))).slice(7));
  }
  return chain;
}

interface Trees {
  /** Those that the image counts as its own; all have rows. */
  readonly needed: readonly string[];
  /** What its containers' roots are made of, if that is not all of these. */
  readonly root?: readonly string[];
  /** The last of them counts the bytes of all layers. */
  readonly isCumulative?: boolean;
}

/** Which trees an image is made of, by the store's driver. */
export function treesOf(
  store: ImageStore,
  { diffIds, blobs }: { readonly diffIds: readonly Digest[]; readonly blobs: readonly Digest[] },
): Trees {
  const driver = driverName(store);
  if (driver === "overlay") return { needed: uniqueLayers(diffIds) };
  const chain = chainOf(diffIds);
  const root = chain.slice(-1);
  if (driver === "btrfs") return { needed: chain, root };
  // A layer that was made of a directory has no blob: its tree is all there is of it by itself.
  const [bottom, [tree = ""]] = [diffIds[0], chain];
  const isAlone = bottom !== undefined && blobs.includes(bottom) && !existsSync(`${blobsDirectory(store)}/${tree}`);
  return { needed: isAlone && hasTree(store, tree) ? [...new Set([tree, ...root])] : root, root, isCumulative: true };
}

/**
 * Directory names from bottom to top, each once: overlay refuses the same directory twice. The upper
 * one of two stays; it hides all that the lower one has.
 */
function uniqueLayers(diffIds: readonly Digest[]): string[] {
  const names = diffIds.map((diffId) => diffId.slice(7));
  return names.filter((name, index) => names.lastIndexOf(name) === index);
}
