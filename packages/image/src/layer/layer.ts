import { BoxError } from "@bantubox/ffi";
import { TarReader } from "../tar/tar.ts";
import { Extractor } from "./extract.ts";
import type { OpenDirectory } from "./extract-directories.ts";
import { LAYER_LIMITS, type LayerLimits } from "./layer-limits.ts";
import { decompress, readFile } from "./layer-stream.ts";

export interface UnpackOptions {
  /** Checked for being a layer that can be read. How it is compressed is seen from its first bytes, as Docker does. */
  readonly mediaType?: string | undefined;
  /** Exists and is empty. Without one nothing is made, and only the digests are verified. */
  readonly directory?: string | undefined;
  /** What the layer's bytes, as the registry has them, must hash to, as `sha256:…` or `sha512:…`. */
  readonly digest?: string | undefined;
  /** What the tar stream inside must hash to. */
  readonly diffId?: string | undefined;
  /** Replaces some of `LAYER_LIMITS`. */
  readonly limits?: Partial<LayerLimits> | undefined;
  /** How directories are opened below `directory`, where the kernel's openat2 is not wanted. */
  readonly open?: OpenDirectory | undefined;
}

export interface LayerOptions extends UnpackOptions {
  /** The layer as the registry has it: a file's path, or its bytes as they arrive. */
  readonly blob: string | AsyncIterable<Uint8Array>;
  readonly signal?: AbortSignal | undefined;
  /** Told how many bytes of `blob` were read so far. */
  readonly onProgress?: ((compressedBytes: number) => void) | undefined;
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
 * digests are known to be right at the end only. Keeps no state between calls.
 *
 * @throws {BoxError} `layer-corrupt`, `tar-corrupt`: the bytes are not what they should be. `layer-invalid`: they
 *   describe what must not or cannot be made. `layer-limit`: they are too much. `layer-unsupported`: the media type is
 *   of no layer that can be read.
 * @throws {SysError} When the file system refuses: `ENOSPC`, `EPERM`…
 */
export async function extractLayer(options: LayerOptions): Promise<LayerResult> {
  const { blob, signal, onProgress } = options;
  using unpacker = new LayerUnpacker(options);

  async function* source(): AsyncGenerator<Uint8Array> {
    for await (const chunk of typeof blob === "string" ? readFile(blob) : blob) {
      signal?.throwIfAborted();
      const read = unpacker.take(chunk);
      onProgress?.(read);
      if (chunk.length > 0) yield chunk;
    }
  }

  for await (const chunk of decompress(source())) {
    unpacker.unpack(chunk);
    signal?.throwIfAborted();
  }
  return unpacker.finish();
}

/** What is done with a layer's bytes, wherever they come from and whatever decompresses them. */
export class LayerUnpacker implements Disposable {
  readonly #digest: string | undefined;
  readonly #diffId: string | undefined;
  readonly #limits: LayerLimits;
  readonly #outer: Hash | undefined;
  readonly #inner: Hash;
  readonly #extractor: Extractor | undefined;
  readonly #reader: TarReader | undefined;
  #compressed = 0;
  #bytes = 0;

  constructor({ mediaType, directory, digest, diffId, limits, open }: UnpackOptions) {
    if (mediaType !== undefined) checkMediaType(mediaType);
    this.#digest = digest;
    this.#diffId = diffId;
    this.#limits = { ...LAYER_LIMITS, ...limits };
    this.#outer = digest === undefined ? undefined : startHash(digest);
    this.#inner = startHash(diffId ?? "sha256");
    if (directory === undefined) return;
    this.#extractor = new Extractor({ directory, limits: this.#limits, open });
    this.#reader = new TarReader(this.#extractor);
  }

  /** Is told of the blob's bytes before what they decompress to comes. How many those were so far. */
  take(chunk: Uint8Array): number {
    this.#outer?.hasher.update(chunk);
    this.#compressed += chunk.length;
    return this.#compressed;
  }

  /** Takes in bytes of the tar stream. */
  unpack(chunk: Uint8Array): void {
    const { bytes, ratio, ratioFrom } = this.#limits;
    this.#bytes += chunk.length;
    if (this.#bytes > bytes || (this.#bytes > ratioFrom && this.#bytes > this.#compressed * ratio)) {
      throw new BoxError(
        "layer-limit",
        `Cannot extract the layer: ${this.#compressed} bytes of it make more than ${this.#bytes}`,
      );
    }
    this.#inner.hasher.update(chunk);
    this.#reader?.push(chunk);
  }

  finish(): LayerResult {
    // With a digest to go by, a missing end marker is a habit of the writer; without one it may be a cut stream.
    this.#reader?.finish(this.#digest === undefined && this.#diffId === undefined ? "required" : "optional");
    if (this.#outer !== undefined) verify(this.#outer, this.#digest, "layer's digest");
    const diffId = verify(this.#inner, this.#diffId, "layer's content");
    this.#extractor?.finish();
    const { entries = 0, isRootOpaque = false } = this.#extractor ?? {};
    return { diffId, bytes: this.#bytes, entries, isRootOpaque };
  }

  [Symbol.dispose](): void {
    this.#extractor?.[Symbol.dispose]();
  }
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
