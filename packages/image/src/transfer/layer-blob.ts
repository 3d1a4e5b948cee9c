import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { BoxError } from "@bantubox/ffi";
import { type Digest, digestHex, quote } from "../document/digest.ts";
import type { Descriptor } from "../document/manifest.ts";
import { type Compression, compress } from "../layer/compress.ts";
import type { GzipThreads } from "../layer/gzip-threads.ts";
import { readFile } from "../layer/layer-stream.ts";
import { blobPath, hasBlob } from "../store/blobs.ts";
import { type ImageStore, ingestDirectory, layersDirectory } from "../store/store.ts";
import { archiveStored } from "../tree/archive.ts";

export interface LayerBlobContext {
  readonly store: ImageStore;
  readonly compression: Compression;
  readonly threads: GzipThreads;
  readonly signal: AbortSignal;
  /** What the image's manifest says of the layer as a plain tar, and its digest. */
  readonly plain: Descriptor;
  readonly diffId: Digest;
  /** Told how much of the tar was read so far. */
  readonly onBytes: (bytes: number) => void;
}

/**
 * The blob of a layer of which only the files or the plain tar are stored. It is made when somebody first wants it, in
 * a file that has no name any more: whatever happens, it goes with its descriptor. What there is can be read meanwhile.
 */
export class LayerBlob implements AsyncDisposable {
  readonly #context: LayerBlobContext;
  readonly #stop = new AbortController();
  #making: Promise<Descriptor> | undefined;
  #file: FileHandle | undefined;
  #size = 0;
  #isOver = false;
  #grown = Promise.withResolvers<void>();

  constructor(context: LayerBlobContext) {
    this.#context = context;
  }

  /** Waits until it is whole. @throws {BoxError} `layer-changed` when the files are not what the image says of them. */
  made(): Promise<Descriptor> {
    if (this.#making === undefined) {
      this.#making = this.#make().finally(() => {
        this.#isOver = true;
        this.#grown.resolve();
      });
      // Whoever reads hears of it, too.
      this.#making.catch(() => {});
    }
    return this.#making;
  }

  /** Waits until so many bytes are there. @returns Whether it has so many. @throws As `made`. */
  async reaches(bytes: number): Promise<boolean> {
    const making = this.made();
    while (this.#size < bytes && !this.#isOver) await this.#grown.promise;
    if (this.#isOver) await making;
    return this.#size >= bytes;
  }

  /**
   * At most `length` bytes from `offset` on, as soon as there are any, in memory of their own; none at the end.
   *
   * @throws As `made`.
   */
  async read(offset: number, length: number): Promise<Uint8Array> {
    if (!(await this.reaches(offset + 1)) || this.#file === undefined) return new Uint8Array(0);
    const bytes = new Uint8Array(Math.min(length, this.#size - offset));
    for (let at = 0; at < bytes.length; ) {
      const { bytesRead } = await this.#file.read(bytes, at, bytes.length - at, offset + at);
      if (bytesRead === 0) throw new BoxError("blob-corrupt", "Cannot push a layer: its file is too short");
      at += bytesRead;
    }
    return bytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error("The layer's blob is not wanted any more"));
    await this.#making?.catch(() => {});
    await this.#file?.close();
  }

  async #make(): Promise<Descriptor> {
    const { store, compression, threads, plain, diffId } = this.#context;
    const mediaType = compressedType(plain.mediaType, compression);
    const aside = join(ingestDirectory(store), `.tmp-push-${digestHex(diffId)}-${process.pid}`);
    const file = await open(aside, "wx+", 0o600);
    this.#file = file;
    await rm(aside);
    const inner = new Bun.CryptoHasher("sha256");
    const outer = new Bun.CryptoHasher("sha256");
    const tar = this.#tar(inner);
    for await (const chunk of compression === "none" ? tar : compress(tar, compression, threads)) {
      outer.update(chunk);
      for (let at = 0; at < chunk.length; )
        at += (await file.write(chunk, at, chunk.length - at, this.#size + at)).bytesWritten;
      this.#size += chunk.length;
      this.#grown.resolve();
      this.#grown = Promise.withResolvers();
    }
    if (`sha256:${inner.digest("hex")}` !== diffId) {
      throw new BoxError("layer-changed", `Cannot push layer ${diffId}: its files have changed on disk`);
    }
    return { mediaType, digest: `sha256:${outer.digest("hex")}`, size: this.#size };
  }

  async *#tar(hash: Bun.CryptoHasher): AsyncGenerator<Uint8Array> {
    const { store, diffId, signal, onBytes } = this.#context;
    const stored = blobPath(store, diffId);
    const tree = join(layersDirectory(store), digestHex(diffId));
    let length = 0;
    for await (const chunk of hasBlob(store, diffId) ? readFile(stored) : archiveStored(tree)) {
      signal.throwIfAborted();
      this.#stop.signal.throwIfAborted();
      hash.update(chunk);
      length += chunk.length;
      onBytes(length);
      yield chunk;
    }
  }
}

/** What a layer of type `plain` is when it is compressed. @throws {BoxError} `layer-unsupported` */
export function compressedType(plain: string, compression: Compression): string {
  if (compression === "none") return plain;
  if (plain.startsWith("application/vnd.oci.")) return `${plain}+${compression}`;
  if (compression === "gzip") return `${plain}.gzip`;
  throw new BoxError("layer-unsupported", `Cannot push a layer of type ${quote(plain)} with ${compression}`, {
    hint: "Docker's own format has only gzip",
  });
}
