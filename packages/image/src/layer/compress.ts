import { constants, createZstdCompress } from "node:zlib";
import { gzipBlock } from "./gzip-block.ts";
import { GZIP_BLOCK, type GzipThreads } from "./gzip-threads.ts";

/** How a layer that is stored as files becomes a blob. */
export type Compression = "gzip" | "zstd" | "none";

/** Blocks of a stream that are at work at once. */
const AHEAD = 4;

/**
 * Compresses a stream; the same bytes always give the same, however they are cut and however many CPUs there are. With
 * another version of this they may not, and then what was pushed before gets another digest: no small thing.
 *
 * @param source A chunk may be reused by the source once the next is asked for.
 */
export function compress(
  source: AsyncIterable<Uint8Array>,
  compression: Exclude<Compression, "none">,
  threads: GzipThreads,
): AsyncGenerator<Uint8Array> {
  return compression === "gzip" ? gzip(source, threads) : zstd(source);
}

/** Members of a megabyte each, compressed in parallel: docs/decisions/0008-gzip-members.md says why. */
async function* gzip(source: AsyncIterable<Uint8Array>, threads: GzipThreads): AsyncGenerator<Uint8Array> {
  const working: Promise<Uint8Array>[] = [];
  let isEmpty = true;
  try {
    for await (const block of inBlocks(source, () => threads.takeBlock())) {
      isEmpty = false;
      // The end of a stream is done here: it may be all of it, and a thread takes longer to start.
      const done = block.length === GZIP_BLOCK ? threads.pack(block) : Promise.resolve(gzipBlock(block));
      // Its failure counts when it is its turn, and none is left unheard when another one comes first.
      done.catch(() => {});
      working.push(done);
      if (working.length >= AHEAD) yield await next(working);
    }
    while (working.length > 0) yield await next(working);
    if (isEmpty) yield gzipBlock(new Uint8Array(0));
  } finally {
    await Promise.allSettled(working);
  }
}

async function* zstd(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const stream = createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 3 } });
  let failure: unknown;
  const feeding = (async () => {
    // In blocks of one size, since where the input is cut can be seen in the output.
    for await (const block of inBlocks(source, () => new Uint8Array(GZIP_BLOCK)))
      await new Promise<void>((resolve) => stream.write(block, () => resolve()));
    stream.end();
  })().catch((error: unknown) => {
    failure = error;
    stream.destroy(error as Error);
  });
  try {
    for await (const chunk of stream) yield chunk as Buffer;
  } catch (error) {
    throw failure ?? error;
  } finally {
    stream.destroy();
    await feeding;
  }
}

function next(working: Promise<Uint8Array>[]): Promise<Uint8Array> {
  return working.shift() ?? Promise.resolve(new Uint8Array(0));
}

/** Cuts a stream into copies of `GZIP_BLOCK` bytes; the last may be shorter. @param take Gives memory of that size. */
async function* inBlocks(
  source: AsyncIterable<Uint8Array>,
  take: () => Uint8Array<ArrayBuffer>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let block = take();
  let filled = 0;
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; ) {
      const count = Math.min(chunk.length - at, GZIP_BLOCK - filled);
      block.set(chunk.subarray(at, at + count), filled);
      filled += count;
      at += count;
      if (filled < GZIP_BLOCK) continue;
      yield block;
      block = take();
      filled = 0;
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}
