import { statSync } from "node:fs";
import { resolve } from "node:path";
import { BoxError, isErrno } from "@bantubox/ffi";
import { type Digest, digestHex, quote } from "../document/digest.ts";
import { OCI_LAYER } from "../document/manifest.ts";
import { hostPlatform, parsePlatform } from "../document/platform.ts";
import { removeTree } from "../storage/remove.ts";
import { commitLayers, makeLayerDirectory } from "../store/commit.ts";
import { getImage } from "../store/find.ts";
import { lockForWriting } from "../store/garbage.ts";
import { recordImage } from "../store/record.ts";
import { EMPTY_CONFIG, type Image, type ImageStore, type RunConfig } from "../store/store.ts";
import { hasTree } from "../store/trees.ts";
import { archiveStored } from "../tree/archive.ts";
import { copyTree } from "../tree/copy.ts";
import { nameRow, parseNewName, writeDocuments } from "./new-image.ts";

export interface InitOptions extends Partial<Omit<RunConfig, "healthcheck">> {
  /** What the files are made for; the host's platform when absent. */
  readonly platform?: string | undefined;
  /** RFC 3339; now when absent. The same tree with the same time and settings is the same image. */
  readonly created?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Bytes of files copied so far. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/**
 * Makes an image of one layer from a directory.
 *
 * The files are copied (shared, where the file system can). The layer's blob is an uncompressed tar that
 * is not stored, since `archiveLayer` makes the same bytes again at any time.
 *
 * @throws {BoxError} `no-such-directory`, `reference-invalid`, `init-whiteout`
 */
export async function initImage(
  store: ImageStore,
  directory: string,
  name: string,
  options: InitOptions = {},
): Promise<Image> {
  const named = parseNewName(name);
  const source = resolve(directory);
  // Resolved, an empty path would be the directory that the process is in.
  if (directory === "" || !isDirectory(source)) {
    throw new BoxError("no-such-directory", `Cannot make an image of ${quote(directory)}: it is not a directory`);
  }
  const { signal, onProgress } = options;
  using _writing = await lockForWriting(store, signal);
  const target = makeLayerDirectory(store);
  try {
    await copyTree(source, target, { asLayer: true, exclude: store.root, signal, onProgress });
    const layer = await measureArchive(target, signal);
    const platform = options.platform === undefined ? hostPlatform() : parsePlatform(options.platform);
    const created = options.created ?? new Date().toISOString();
    const image = writeDocuments(store, {
      platform,
      created,
      config: { ...EMPTY_CONFIG, ...options },
      layers: [{ descriptor: { mediaType: OCI_LAYER, digest: layer.digest, size: layer.size }, diffId: layer.digest }],
      history: [{ created, createdBy: "bantubox init" }],
    });
    const prepared = { diffId: layer.digest, bytes: layer.size, directory: target, isRootOpaque: false };
    const isThere = hasTree(store, digestHex(layer.digest));
    await commitLayers(store, isThere ? [] : [prepared], [layer.digest]);
    recordImage(store, image, nameRow(named, image));
  } finally {
    await removeTree(target);
  }
  return getImage(store, named.name);
}

async function measureArchive(
  directory: string,
  signal: AbortSignal | undefined,
): Promise<{ digest: Digest; size: number }> {
  const hash = new Bun.CryptoHasher("sha256");
  let size = 0;
  for await (const chunk of archiveStored(directory)) {
    signal?.throwIfAborted();
    hash.update(chunk);
    size += chunk.length;
  }
  return { digest: `sha256:${hash.digest("hex")}`, size };
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return false;
    throw error;
  }
}
