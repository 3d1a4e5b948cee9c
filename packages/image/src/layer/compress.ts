import { promisify } from "node:util";
import { constants, crc32, createZstdCompress, deflateRaw } from "node:zlib";

/** How a layer that is stored as files becomes a blob. */
export type Compression = "gzip" | "zstd" | "none";

/** What is compressed by itself: never change it, or the digests of what was pushed before change. */
const BLOCK = 1 << 20;
/** The lowest that makes nothing larger than what other engines push. */
const LEVEL = 3;
/** Blocks at work at once; the pool has no more threads. */
const AHEAD = 4;

const deflate = promisify<Uint8Array, object, Buffer>(deflateRaw);

/**
 * Compresses a stream; the same bytes always give the same, however they are cut and however many CPUs there are.
 *
 * @param source A chunk may be reused by the source once the next is asked for.
 */
export function compress(
  source: AsyncIterable<Uint8Array>,
  compression: Exclude<Compression, "none">,
): AsyncGenerator<Uint8Array> {
  return compression === "gzip" ? gzip(source) : zstd(source);
}

/**
 * One gzip member of blocks that are deflated in parallel, each ending at a byte's boundary, as pigz has it.
 *
 * @see https://www.rfc-editor.org/rfc/rfc1952
 */
async function* gzip(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  // No name, no time, unknown system.
  yield Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255);
  const working: Promise<Buffer>[] = [];
  let checksum = 0;
  let length = 0;
  try {
    for await (const block of inBlocks(source)) {
      checksum = crc32(block, checksum);
      length += block.length;
      const done = deflate(block, { level: LEVEL, finishFlush: constants.Z_SYNC_FLUSH });
      // Its failure counts when it is its turn, and none is left unheard when another one comes first.
      done.catch(() => {});
      working.push(done);
      if (working.length >= AHEAD) yield await next(working);
    }
    while (working.length > 0) yield await next(working);
  } finally {
    await Promise.allSettled(working);
  }
  const end = Buffer.alloc(10);
  // An empty last block, and then what is to be checked.
  end[0] = 3;
  end.writeUInt32LE(checksum >>> 0, 2);
  end.writeUInt32LE(length % 2 ** 32, 6);
  yield end;
}

async function* zstd(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const stream = createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 3 } });
  let failure: unknown;
  const feeding = (async () => {
    // In blocks of one size, since where the input is cut can be seen in the output.
    for await (const block of inBlocks(source))
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

function next(working: Promise<Buffer>[]): Promise<Buffer> {
  return working.shift() ?? Promise.resolve(Buffer.alloc(0));
}

/** Cuts a stream into copies of `BLOCK` bytes; the last may be shorter. */
async function* inBlocks(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let block = new Uint8Array(BLOCK);
  let filled = 0;
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; ) {
      const count = Math.min(chunk.length - at, BLOCK - filled);
      block.set(chunk.subarray(at, at + count), filled);
      filled += count;
      at += count;
      if (filled < BLOCK) continue;
      yield block;
      block = new Uint8Array(BLOCK);
      filled = 0;
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}
