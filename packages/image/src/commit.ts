import { chmodSync, closeSync, constants, fsyncSync, mkdtempSync, openSync, renameSync } from "node:fs";
import { join } from "node:path";
import { call, isErrno } from "@bantubox/ffi";
import { commitIngest, hasBlob, type Ingest } from "./blobs.ts";
import { type Digest, digestHex } from "./digest.ts";
import { blobsDirectory, type ImageStore, layersDirectory, type StoredLayer } from "./store.ts";

/** A layer that is complete and verified but does not exist yet. */
export interface PreparedLayer extends StoredLayer {
  /** Below `layersDirectory`, under a temporary name. */
  readonly directory: string;
  /** Its blob's download, when there was one. */
  readonly download?: { readonly digest: Digest; readonly ingest: Ingest } | undefined;
}

/** An empty directory for a layer to be made in. Whatever goes wrong, `sweep` knows it by its name. */
export function makeLayerDirectory(store: ImageStore): string {
  const directory = mkdtempSync(join(layersDirectory(store), ".tmp-"));
  // It becomes the container's root, unless the layer says otherwise; `layers` itself keeps people out.
  chmodSync(directory, 0o755);
  return directory;
}

/**
 * Makes layers and downloads exist, in the one order that no power cut can break: everything on disk by
 * one `syncfs`, then the names, then the rows. Files written before, such as manifests, are covered, too.
 */
export function commitLayers(store: ImageStore, layers: readonly PreparedLayer[]): void {
  const parent = layersDirectory(store);
  withDirectory(parent, (fd) => call("syncfs", JSON.stringify(parent), fd));
  for (const { diffId, directory, download } of layers) {
    renameUnlessThere(directory, join(parent, digestHex(diffId)));
    if (download !== undefined && !hasBlob(store, download.digest))
      commitIngest(store, download.digest, download.ingest);
  }
  withDirectory(parent, fsyncSync);
  withDirectory(blobsDirectory(store), fsyncSync);
  const insert = store.database.query("INSERT OR IGNORE INTO layer (id, bytes, opaque) VALUES (?1, ?2, ?3)");
  store.database
    .transaction(() => {
      for (const { diffId, bytes, isRootOpaque } of layers) insert.run(digestHex(diffId), bytes, isRootOpaque ? 1 : 0);
    })
    .immediate();
}

/** A layer of that name is complete, as all that have names are: then this one is left to its owner to delete. */
function renameUnlessThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (!isErrno(error, "ENOTEMPTY", "EEXIST")) throw error;
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
