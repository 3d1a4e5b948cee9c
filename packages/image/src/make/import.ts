import { closeSync, constants, fstatSync, mkdtempSync, openSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { BoxError, Fd } from "@bantubox/ffi";
import { openForReading } from "../archive/archive-source.ts";
import { refuseOtherCompression } from "../archive/archive-tar.ts";
import { readDescriptor } from "../archive/file-stream.ts";
import { writeAll } from "../archive/save-output.ts";
import { type Digest, parseDigest, quote } from "../document/digest.ts";
import { OCI_LAYER } from "../document/manifest.ts";
import { hostPlatform, parsePlatform } from "../document/platform.ts";
import { extractLayer } from "../layer/layer.ts";
import { detectCompression } from "../layer/layer-stream.ts";
import { removeTree } from "../storage/remove.ts";
import { commitLayers, makeLayerDirectory, missingLayers } from "../store/commit.ts";
import { lockForWriting } from "../store/garbage.ts";
import { recordImage } from "../store/record.ts";
import { EMPTY_CONFIG, type ImageStore, ingestDirectory } from "../store/store.ts";
import { applyChanges } from "./config-changes.ts";
import { nameRow, parseNewName, writeDocuments } from "./new-image.ts";

export interface ImportOptions {
  /** The image has none when absent. */
  readonly name?: string | undefined;
  /** Instructions of a Dockerfile; see config-changes.ts. */
  readonly changes?: readonly string[] | undefined;
  readonly message?: string | undefined;
  /** What the files are made for; the host's platform when absent. */
  readonly platform?: string | undefined;
  /** RFC 3339; now when absent. */
  readonly created?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Bytes read so far. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/**
 * Makes an image of one layer from the tar of a root file system, plain or compressed by gzip or zstd. The layer's
 * blob is what was read, byte for byte.
 *
 * @param from A path, or a descriptor that is open for reading.
 * @returns The image's ID.
 * @throws {BoxError} `archive-unreadable`, `archive-invalid`, `change-invalid`, `reference-invalid`,
 *   `platform-invalid`, and what unpacking a layer throws.
 */
export async function importImage(
  store: ImageStore,
  from: string | number,
  options: ImportOptions = {},
): Promise<Digest> {
  const name = options.name === undefined ? undefined : parseNewName(options.name);
  const platform = options.platform === undefined ? hostPlatform() : parsePlatform(options.platform);
  const config = applyChanges(EMPTY_CONFIG, options.changes ?? []);
  const { signal, onProgress, created = new Date().toISOString() } = options;

  using _writing = await lockForWriting(store, signal);
  await using stack = new AsyncDisposableStack();
  const input = typeof from === "number" ? from : openForReading(from);
  if (typeof from === "string") stack.defer(() => closeSync(input));
  if (fstatSync(input).isDirectory()) throw notAnArchive(from);
  const scratch = mkdtempSync(join(ingestDirectory(store), ".tmp-import-"));
  stack.defer(() => rm(scratch, { recursive: true, force: true }));
  const directory = makeLayerDirectory(store);
  stack.defer(() => removeTree(directory));

  const path = join(scratch, "blob");
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  using output = new Fd(openSync(path, flags, 0o600));
  const kept = new Kept(output.raw);
  const blob = kept.keep(readDescriptor(input));
  const result = await extractLayer({ blob, directory, ...(signal && { signal }), ...(onProgress && { onProgress }) });
  const diffId = parseDigest(result.diffId);
  const digest = kept.digest();
  const image = writeDocuments(store, {
    platform,
    created,
    config,
    layers: [{ descriptor: { mediaType: kept.mediaType, digest, size: kept.size }, diffId }],
    history: [{ created, comment: options.message ?? `Imported from ${typeof from === "number" ? "-" : from}` }],
  });
  const download = { digest, ingest: { path, fd: output } };
  const { bytes, isRootOpaque } = result;
  const prepared = { diffId, directory, bytes, isRootOpaque };
  const isMissing = missingLayers(store, [diffId]).length > 0;
  await commitLayers(store, isMissing ? [prepared] : [], [diffId], [download]);
  recordImage(store, image, name === undefined ? undefined : nameRow(name, image));
  return image.id;
}

function notAnArchive(from: string | number): BoxError {
  const path = typeof from === "number" ? "standard input" : quote(from);
  return new BoxError("archive-unreadable", `Cannot import ${path}: it is a directory`, {
    hint: "Make an image of a directory with bb init",
  });
}

/** What is read, written to a file and hashed on its way. */
class Kept {
  readonly #fd: number;
  readonly #hash = new Bun.CryptoHasher("sha256");
  size = 0;
  mediaType = OCI_LAYER;

  constructor(fd: number) {
    this.#fd = fd;
  }

  async *keep(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let head: Uint8Array = new Uint8Array();
    for await (const chunk of source) {
      if (head.length < 6) {
        head = Buffer.concat([head, chunk.subarray(0, 6)]);
        refuseOtherCompression(head);
      }
      this.#hash.update(chunk);
      writeAll(this.#fd, chunk);
      this.size += chunk.length;
      yield chunk;
    }
    const compression = detectCompression(head);
    if (compression !== "none") this.mediaType = `${OCI_LAYER}+${compression}`;
  }

  digest(): Digest {
    return `sha256:${this.#hash.digest("hex")}`;
  }
}
