import type { Digest } from "../document/digest.ts";
import type { ImageStore } from "../store/store.ts";
import { chainOf, hasTree } from "../store/trees.ts";
import { driverOf } from "./drivers.ts";

/**
 * Which layers of an image have to be extracted for it to be here, each once.
 *
 * @param diffIds Of all its layers, from bottom to top.
 */
export function missingLayers(store: ImageStore, diffIds: readonly Digest[]): Digest[] {
  const { whole } = driverOf(store);
  const missing =
    whole === undefined
      ? diffIds.filter((diffId) => !hasTree(store, diffId.slice(7)))
      : diffIds.slice(completeBeginning(store, chainOf(diffIds)));
  return [...new Set(missing)];
}

/** How many layers of a chain are there already, as the tree of the last of them. */
export function completeBeginning(store: ImageStore, chain: readonly string[]): number {
  return chain.findLastIndex((tree) => hasTree(store, tree)) + 1;
}
