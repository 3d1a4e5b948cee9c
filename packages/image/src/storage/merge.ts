import { join } from "node:path";
import { type Digest, digestHex } from "../document/digest.ts";
import { type ImageStore, layersDirectory } from "../store/store.ts";
import { chainOf, type StoredLayer } from "../store/trees.ts";
import { copyTree, holdsWhiteouts } from "../tree/copy.ts";
import type { StorageDriver, WholeTrees } from "./driver.ts";
import { completeBeginning } from "./missing.ts";
import { removeTree } from "./remove.ts";

/** A tree that is complete, under a temporary name. */
export interface PlacedTree {
  /** The name that it shall have. */
  readonly tree: string;
  readonly directory: string;
  readonly bytes: number;
  readonly isRootOpaque: boolean;
}

interface Merge {
  readonly store: ImageStore;
  readonly driver: StorageDriver;
  /** Of all layers of the image, from bottom to top. */
  readonly diffIds: readonly Digest[];
  /** What was extracted, in any order. Their directories may be renamed or emptied. */
  readonly layers: readonly (StoredLayer & { readonly directory: string })[];
  readonly makePath: () => string;
}

/**
 * Makes the whole trees of an image's layers: each is a copy of the one below it, changed by what the layer adds.
 *
 * @returns Undefined when a layer is needed that was not extracted.
 */
export async function mergeChain({
  store,
  driver,
  diffIds,
  layers,
  makePath,
}: Merge): Promise<PlacedTree[] | undefined> {
  const whole = driver.whole as WholeTrees;
  const chain = chainOf(diffIds);
  const start = completeBeginning(store, chain);
  const extracted = new Map(layers.map((layer) => [digestHex(layer.diffId), layer]));
  const missing = diffIds.slice(start).map(digestHex);
  if (missing.some((diffId) => !extracted.has(diffId))) return undefined;

  const made: string[] = [];
  const trees: PlacedTree[] = [];
  const last = chain[start - 1];
  let directory = last === undefined ? undefined : join(layersDirectory(store), last);
  let bytes = last === undefined || whole.keepsEveryLayer ? 0 : bytesOf(store, last);
  let isOurs = false;

  /** The tree that the next layer is merged into. */
  async function makeTarget(isBottom: boolean): Promise<string> {
    if (directory !== undefined && isOurs && !isBottom && !whole.keepsEveryLayer) return directory;
    const path = makePath();
    made.push(path);
    if (directory === undefined || isBottom) driver.makeTree(path);
    else await whole.copy(directory, path);
    return path;
  }

  try {
    for (const [index, diffId] of missing.entries()) {
      const layer = extracted.get(diffId) as Merge["layers"][number];
      // An image may have the same layer twice; empty ones are often there many times.
      const isLastUse = missing.lastIndexOf(diffId) === index;
      const isBottom = directory === undefined || layer.isRootOpaque;
      if (isBottom && isLastUse && !(await holdsWhiteouts(layer.directory))) directory = layer.directory;
      else {
        const target = await makeTarget(isBottom);
        await copyTree(layer.directory, target, { difference: { move: whole.movesFiles && isLastUse } });
        directory = target;
      }
      isOurs = true;
      bytes = (isBottom || whole.keepsEveryLayer ? 0 : bytes) + layer.bytes;
      trees.push({ tree: chain[start + index] as string, directory, bytes, isRootOpaque: false });
    }
  } catch (error) {
    for (const path of made) await removeTree(path);
    throw error;
  }
  const kept = whole.keepsEveryLayer ? trees : trees.slice(-1);
  for (const path of made) if (!kept.some((tree) => tree.directory === path)) await removeTree(path);
  return kept;
}

function bytesOf({ database }: ImageStore, tree: string): number {
  return database.query<{ bytes: number }, [string]>("SELECT bytes FROM layer WHERE id = ?1").get(tree)?.bytes ?? 0;
}
