import { open } from "node:fs/promises";
import type { Transform } from "node:stream";
import { constants, createGunzip, createZstdDecompress } from "node:zlib";
import { BoxError } from "@bantubox/ffi";

const CHUNK = 1 << 20;

/** Frames that need a larger window are refused: 2^25 is 32 MiB, and `zstd -19` asks for 8. */
const ZSTD_WINDOW_LOG = 25;

export type Compression = "gzip" | "zstd" | "none";

/** The bytes of a file. One buffer is used for all: a chunk is good until the next is asked for. */
export async function* readFile(path: string): AsyncGenerator<Uint8Array> {
  await using file = await open(path, "r");
  const buffer = Buffer.from(new ArrayBuffer(CHUNK));
  for (;;) {
    const { bytesRead } = await file.read(buffer, 0, CHUNK);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}

/** How the stream that starts with `bytes` (four of them, if it has so many) is compressed. */
export function detectCompression(bytes: Uint8Array): Compression {
  const [a, b, c, d] = bytes;
  if (a === 0x1f && b === 0x8b && c === 0x08) return "gzip";
  if (a === 0x28 && b === 0xb5 && c === 0x2f && d === 0xfd) return "zstd";
  // A skippable frame of zstd, which some writers put first.
  if (a !== undefined && (a & 0xf0) === 0x50 && b === 0x2a && c === 0x4d && d === 0x18) return "zstd";
  return "none";
}

/** A stream of node:zlib for it. */
export function decompressor(compression: "gzip" | "zstd", chunkSize = CHUNK): Transform {
  if (compression === "gzip") return createGunzip({ chunkSize });
  const params = { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG };
  return createZstdDecompress({ chunkSize, params });
}

/**
 * Decompresses `source` as its first bytes ask, in this process; runs while the consumer is at work on the previous
 * chunk. Reads the source to its end, also past the end of the compressed data.
 *
 * @param source A chunk may be reused by the source once the next is asked for.
 * @throws {BoxError} `layer-corrupt` When the compressed data is damaged or ends early.
 */
export async function* decompress(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    const head = await firstBytes(iterator);
    const compression = detectCompression(head);
    if (compression === "none") {
      if (head.length > 0) yield head;
      for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) yield next.value;
      return;
    }
    yield* pump(head, iterator, decompressor(compression));
  } finally {
    await iterator.return?.();
  }
}

async function* pump(
  head: Uint8Array,
  iterator: AsyncIterator<Uint8Array>,
  stream: Transform,
): AsyncGenerator<Uint8Array> {
  let sourceFailure: unknown;
  let isWanted = true;

  /** Writes until the data ends; the source is still read to its end then, for its digest. */
  async function feed(): Promise<void> {
    for (let chunk: Uint8Array | undefined = head; chunk !== undefined && isWanted; ) {
      if (!stream.destroyed && !stream.readableEnded) await write(stream, chunk);
      const next: IteratorResult<Uint8Array, unknown> = await iterator.next();
      chunk = next.done === true ? undefined : next.value;
    }
    if (!stream.destroyed) stream.end();
  }

  // The loop below tells of errors; one that comes after it has been left concerns nobody.
  stream.on("error", () => {});
  const feeding = feed().catch((error: unknown) => {
    sourceFailure = error;
    stream.destroy();
  });
  try {
    for await (const chunk of stream) yield chunk as Buffer;
    await feeding;
  } catch (error) {
    if (sourceFailure !== undefined) throw sourceFailure;
    throw new BoxError("layer-corrupt", `Cannot decompress the layer: ${(error as Error).message}`, { cause: error });
  } finally {
    isWanted = false;
    stream.destroy();
    await feeding;
  }
  if (sourceFailure !== undefined) throw sourceFailure;
}

/** Waits until the stream has taken the whole chunk in: its memory may be used again then. */
function write(stream: Transform, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    function done(): void {
      stream.off("close", done);
      stream.off("end", done);
      resolve();
    }
    stream.on("close", done);
    stream.on("end", done);
    stream.write(chunk, done);
  });
}

async function firstBytes(iterator: AsyncIterator<Uint8Array>): Promise<Uint8Array> {
  let head: Uint8Array = Buffer.alloc(0);
  while (head.length < 4) {
    const next = await iterator.next();
    if (next.done === true) return head;
    head = head.length === 0 ? next.value : Buffer.concat([head, next.value]);
  }
  return head;
}
