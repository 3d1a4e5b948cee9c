import { BoxError } from "@bantubox/ffi";
import { Extractor } from "./extract.ts";
import type { OpenDirectory } from "./extract-directories.ts";
import { LAYER_LIMITS, type LayerLimits } from "./layer-limits.ts";
import { decompress, readFile } from "./layer-stream.ts";
import { TarReader } from "./tar.ts";

export interface LayerOptions {
  /** The layer as the registry has it: a file's path, or its bytes as they arrive. */
  readonly blob: string | AsyncIterable<Uint8Array>;
  /** Checked for being a layer that can be read. How it is compressed is seen from its first bytes, as Docker does. */
  readonly mediaType?: string | undefined;
  /** Exists and is empty. */
  readonly directory: string;
  /** What the bytes of `blob` must hash to, as `sha256:…` or `sha512:…`. */
  readonly digest?: string | undefined;
  /** What the tar stream inside must hash to. */
  readonly diffId?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told how many bytes of `blob` were read so far. */
  readonly onProgress?: ((compressedBytes: number) => void) | undefined;
  /** Replaces some of `LAYER_LIMITS`. */
  readonly limits?: Partial<LayerLimits> | undefined;
  /** How directories are opened below `directory`, where the kernel's openat2 is not wanted. */
  readonly open?: OpenDirectory | undefined;
}

export interface LayerResult {
  /** Hash of the tar stream, `sha256:…` unless `diffId` was given in another algorithm. */
  readonly diffId: string;
  /** Length of the tar stream. */
  readonly bytes: number;
  readonly entries: number;
  /** Whether the layer hides all layers below it; overlay does not look for that at the root of a layer. */
  readonly isRootOpaque: boolean;
}

/**
 * Reads a layer, plain or compressed, and makes its files below `directory`, as a lower directory of an overlay:
 * whiteouts become devices 0:0, opaque directories get `trusted.overlay.opaque`.
 *
 * Nothing outside `directory` is touched, whatever the layer holds. After a failure the caller removes what is in it:
 * digests are known to be right at the end only. Keeps no state between calls and may run in several Workers.
 *
 * @throws {BoxError} `layer-corrupt`, `tar-corrupt`: the bytes are not what they should be. `layer-invalid`: they
 *   describe what must not or cannot be made. `layer-limit`: they are too much. `layer-unsupported`: the media type is
 *   of no layer that can be read.
 * @throws {SysError} When the file system refuses: `ENOSPC`, `EPERM`…
 */
export async function extractLayer(options: LayerOptions): Promise<LayerResult> {
  const { blob, mediaType, directory, digest, diffId, signal, onProgress } = options;
  const limits = { ...LAYER_LIMITS, ...options.limits };
  if (mediaType !== undefined) checkMediaType(mediaType);
  const outer = digest === undefined ? undefined : startHash(digest);
  const inner = startHash(diffId ?? "sha256");

  let compressed = 0;
  async function* source(): AsyncGenerator<Uint8Array> {
    for await (const chunk of typeof blob === "string" ? readFile(blob) : blob) {
      signal?.throwIfAborted();
      outer?.hasher.update(chunk);
      compressed += chunk.length;
      onProgress?.(compressed);
      if (chunk.length > 0) yield chunk;
    }
  }

  using extractor = new Extractor({ directory, limits, open: options.open });
  const reader = new TarReader(extractor);
  let bytes = 0;
  for await (const chunk of decompress(source())) {
    bytes += chunk.length;
    if (bytes > limits.bytes || (bytes > limits.ratioFrom && bytes > compressed * limits.ratio)) {
      throw new BoxError("layer-limit", `Cannot extract the layer: ${compressed} bytes of it make more than ${bytes}`);
    }
    inner.hasher.update(chunk);
    reader.push(chunk);
    signal?.throwIfAborted();
  }
  // With a digest to go by, a missing end marker is a habit of the writer; without one it may be a cut stream.
  reader.finish(digest === undefined && diffId === undefined ? "required" : "optional");
  if (outer !== undefined) verify(outer, digest, "layer's digest");
  const found = verify(inner, diffId, "layer's content");
  extractor.finish();
  return { diffId: found, bytes, entries: extractor.entries, isRootOpaque: extractor.isRootOpaque };
}

interface Hash {
  readonly algorithm: "sha256" | "sha512";
  readonly hasher: Bun.CryptoHasher;
}

function startHash(digest: string): Hash {
  const algorithm = digest.startsWith("sha512") ? "sha512" : "sha256";
  const length = algorithm === "sha512" ? 128 : 64;
  if (digest !== "sha256" && !new RegExp(`^${algorithm}:[a-f0-9]{${length}}$`).test(digest)) {
    throw new BoxError(
      "layer-invalid",
      `Cannot verify the layer: ${JSON.stringify(digest)} is no sha256 or sha512 digest`,
    );
  }
  return { algorithm, hasher: new Bun.CryptoHasher(algorithm) };
}

function verify({ algorithm, hasher }: Hash, expected: string | undefined, what: string): string {
  const found = `${algorithm}:${hasher.digest("hex")}`;
  if (expected !== undefined && found !== expected) {
    throw new BoxError("layer-corrupt", `Cannot use the layer: the ${what} is ${found}, not ${expected}`);
  }
  return found;
}

const MEDIA_TYPE =
  /^application\/vnd\.(oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+gzip|\+zstd)?|docker\.image\.rootfs\.(diff|foreign\.diff)\.tar(\.gzip|\.zstd)?)$/;

function checkMediaType(mediaType: string): void {
  if (MEDIA_TYPE.test(mediaType)) return;
  throw new BoxError(
    "layer-unsupported",
    `Cannot extract the layer: its type ${JSON.stringify(mediaType)} is not supported`,
  );
}
