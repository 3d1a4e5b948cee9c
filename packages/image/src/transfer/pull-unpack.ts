import { closeSync, fstatSync, openSync } from "node:fs";
import { BoxError } from "@bantubox/ffi";
import type { LayerResult } from "../layer/layer.ts";
import { Growth } from "../layer/layer-growth.ts";
import type { Job, LayerThreads } from "../layer/layer-threads.ts";

/** Rest of a broken layer that is still read, to say that its digest is wrong rather than what gzip thinks of it. */
const DRAIN_MAX = 256 << 20;

export interface UnpackDownload {
  readonly threads: LayerThreads;
  /** Writes the file behind `fd` from its beginning, and throws `blob-corrupt` if that is not what it should be. */
  readonly bytes: AsyncIterable<Uint8Array>;
  readonly fd: number;
  /** Bytes that the file will have. */
  readonly size: number;
  readonly unpack: Job["unpack"];
  readonly signal?: AbortSignal | undefined;
}

/**
 * Unpacks a layer in another thread while this one downloads it. Once this is settled, nobody is at the file or in
 * the directory any more.
 *
 * @throws What the download throws, or the unpacking: the download when both fail for wrong bytes.
 */
export async function unpackDownload(options: UnpackDownload): Promise<LayerResult> {
  const { threads, bytes, fd, size, unpack, signal } = options;
  const growth = new Growth();
  let failure: { readonly error: unknown } | undefined;
  const unpacking = threads.extract({ fd, growth, unpack }).catch((error: unknown) => {
    failure = { error };
    return undefined;
  });
  let written = 0;
  try {
    for await (const chunk of bytes) {
      signal?.throwIfAborted();
      written += chunk.length;
      growth.reach(written);
      if (failure !== undefined && size - written > DRAIN_MAX) break;
    }
    growth.complete();
  } catch (error) {
    growth.abandon();
    const unpackingFailed = failure;
    await unpacking;
    const isVerdict = error instanceof BoxError && error.code === "blob-corrupt";
    throw unpackingFailed === undefined || isVerdict ? error : unpackingFailed.error;
  }
  const result = await unpacking;
  if (result === undefined) throw failure?.error;
  return result;
}

/** The same for a layer that is here already. @param onProgress Told how many bytes have been unpacked. */
export async function unpackBlob({
  threads,
  path,
  unpack,
  signal,
  onProgress,
}: {
  readonly threads: LayerThreads;
  readonly path: string;
  readonly unpack: Job["unpack"];
  readonly signal?: AbortSignal | undefined;
  readonly onProgress: (read: number) => void;
}): Promise<LayerResult> {
  const fd = openSync(path, "r");
  const growth = new Growth();
  const abandon = (): void => growth.abandon();
  signal?.addEventListener("abort", abandon);
  try {
    growth.reach(fstatSync(fd).size);
    if (signal?.aborted) abandon();
    else growth.complete();
    return await threads.extract({ fd, growth, unpack, onProgress });
  } finally {
    signal?.removeEventListener("abort", abandon);
    closeSync(fd);
  }
}
