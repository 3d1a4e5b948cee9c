import { chmodSync, closeSync, constants, fsyncSync, openSync, renameSync } from "node:fs";
import { join } from "node:path";
import { call, isErrno } from "@bantubox/ffi";
import { type Digest, digestHex } from "../document/digest.ts";
import { driverOf } from "../storage/drivers.ts";
import { mergeChain, type PlacedTree } from "../storage/merge.ts";
import { removeTree } from "../storage/remove.ts";
import { type FetchedBlob, keepBlob } from "./blobs.ts";
import { blobsDirectory, type ImageStore, layersDirectory } from "./store.ts";
import type { StoredLayer } from "./trees.ts";

export { missingLayers } from "../storage/missing.ts";

/** A layer that is complete and verified but does not exist yet. */
export interface PreparedLayer extends StoredLayer {
  /** Below `layersDirectory`, under a temporary name: what the layer adds, as overlay has it. */
  readonly directory: string;
}

/** An empty directory for a layer to be made in. Whatever goes wrong, `sweep` knows it by its name. */
export function makeLayerDirectory(store: ImageStore): string {
  const directory = temporaryTree(store);
  driverOf(store).makeTree(directory);
  // It becomes the container's root, unless the layer says otherwise; `layers` itself keeps people out.
  chmodSync(directory, 0o755);
  return directory;
}

/** A name in `layersDirectory` that nobody else has. */
function temporaryTree(store: ImageStore): string {
  return join(layersDirectory(store), `.tmp-${crypto.getRandomValues(new Uint8Array(12)).toHex()}`);
}

/**
 * Makes layers and blobs exist, in the one order that no power cut can break: everything on disk by
 * one `syncfs`, then the names, then the rows. Files written before, such as manifests, are covered, too.
 *
 * @param diffIds Of all layers of the image, from bottom to top.
 * @param blobs What was downloaded: of these layers, and of others whose trees are here.
 * @returns Layers that cannot be placed yet, because one of the image is missing: they are to be given again, with
 *   it. Only where trees are whole.
 */
export async function commitLayers<T extends PreparedLayer>(
  store: ImageStore,
  layers: readonly T[],
  diffIds: readonly Digest[],
  blobs: readonly FetchedBlob[] = [],
): Promise<T[]> {
  const driver = driverOf(store);
  const merged =
    driver.whole === undefined
      ? layers.map(asTree)
      : await mergeChain({ store, driver, diffIds, layers, makePath: () => temporaryTree(store) });
  const parent = layersDirectory(store);
  withDirectory(parent, (fd) => call("syncfs", JSON.stringify(parent), fd));
  for (const { tree, directory } of merged ?? []) {
    if (!renameUnlessThere(directory, join(parent, tree)) && driver.whole !== undefined) await removeTree(directory);
  }
  for (const blob of blobs) keepBlob(store, blob);
  withDirectory(parent, fsyncSync);
  withDirectory(blobsDirectory(store), fsyncSync);
  const insert = store.database.query("INSERT OR IGNORE INTO layer (id, bytes, opaque) VALUES (?1, ?2, ?3)");
  store.database
    .transaction(() => {
      for (const { tree, bytes, isRootOpaque } of merged ?? []) insert.run(tree, bytes, isRootOpaque ? 1 : 0);
    })
    .immediate();
  return merged === undefined ? [...layers] : [];
}

function asTree({ diffId, directory, bytes, isRootOpaque }: PreparedLayer): PlacedTree {
  return { tree: digestHex(diffId), directory, bytes, isRootOpaque };
}

/** A tree of that name is complete, as all that have names are: then this one is left to its owner to delete. */
function renameUnlessThere(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (!isErrno(error, "ENOTEMPTY", "EEXIST")) throw error;
    return false;
  }
}

function withDirectory(path: string, use: (fd: number) => void): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    use(fd);
  } finally {
    closeSync(fd);
  }
}
