import { closeSync, constants, fstatSync, openSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { BoxError } from "@bantubox/ffi";
import { LAYER_LIMITS } from "../layer/layer-limits.ts";
import { decompress } from "../layer/layer-stream.ts";
import { type TarEntry, TarReader, type TarSink } from "../tar/tar.ts";
import { BLOCK } from "../tar/tar-header.ts";
import { archiveInvalid } from "./archive-names.ts";
import { ArchiveNames, type ArchiveSource, type Opened } from "./archive-source.ts";

/** Headers are read so many bytes at a time: the next one is mostly far away. */
const HEADER_READ = 4096;

/**
 * The files of a plain tar that can be read anywhere: only its headers are looked at, the files stay where they are.
 *
 * @param fd Stays the caller's.
 * @throws {BoxError} `tar-corrupt`, `archive-invalid`
 */
export function indexTar(fd: number): ArchiveSource {
  const names = new ArchiveNames();
  const opened = { fd, [Symbol.dispose]() {} };
  const { size: length } = fstatSync(fd);
  let at = 0;
  let ahead = 0;
  const reader = new TarReader({
    begin(entry) {
      const name = names.nameOf(entry);
      // The data follows the block that was pushed last.
      if (at + entry.size > length) throw archiveInvalid("it is cut off");
      if (name !== undefined) names.set(name, { size: entry.size, start: at, open: () => opened });
      if (!entry.isSparse) ahead = entry.size + padding(entry.size);
    },
    data() {},
    end() {},
  });
  const window = Buffer.alloc(HEADER_READ);
  const nothing = Buffer.alloc(1 << 20);
  let windowAt = -HEADER_READ;
  while (at < length) {
    if (at < windowAt || at + BLOCK > windowAt + HEADER_READ) {
      windowAt = at;
      window.fill(0);
      readSync(fd, window, 0, HEADER_READ, at);
    }
    const block = window.subarray(at - windowAt, at - windowAt + Math.min(BLOCK, length - at));
    at += block.length;
    reader.push(block);
    // The reader counts bytes, and none of these is kept: so the file's own need not be read.
    for (; ahead > 0 && at < length; ) {
      const count = Math.min(ahead, nothing.length, length - at);
      at += count;
      ahead -= count;
      reader.push(nothing.subarray(0, count));
    }
    ahead = 0;
  }
  reader.finish("optional");
  return { find: (name) => names.find(name), async [Symbol.asyncDispose]() {} };
}

/**
 * Reads a tar that comes as a stream, plain or compressed, and keeps each of its files as one of its own.
 *
 * @param directory Exists and is empty; the files in it are the caller's to take or to remove.
 * @throws {BoxError} `tar-corrupt`, `layer-corrupt`, `archive-invalid`, `archive-limit`
 */
export async function spoolTar(
  source: AsyncIterable<Uint8Array>,
  directory: string,
  signal?: AbortSignal,
): Promise<ArchiveSource> {
  using spool = new Spool(directory);
  const reader = new TarReader(spool);
  let compressed = 0;
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      signal?.throwIfAborted();
      if (compressed === 0) refuseOtherCompression(chunk);
      compressed += chunk.length;
      yield chunk;
    }
  }
  let bytes = 0;
  for await (const chunk of decompress(counted())) {
    bytes += chunk.length;
    if (bytes > LAYER_LIMITS.ratioFrom && bytes > compressed * LAYER_LIMITS.ratio) {
      throw new BoxError("archive-limit", `Cannot load the archive: ${compressed} bytes of it make more than ${bytes}`);
    }
    reader.push(chunk);
  }
  reader.finish("optional");
  const { names } = spool;
  return { find: (name) => names.find(name), async [Symbol.asyncDispose]() {} };
}

/** The tool that bytes which begin so want: none is part of Bun, and whoever has made such a file has it. */
export function otherCompression(bytes: Uint8Array): string | undefined {
  const head = Buffer.from(bytes.subarray(0, 6)).toString("latin1");
  if (head === "\xfd7zXZ\0") return "xz";
  return head.startsWith("BZh") ? "bzip2" : undefined;
}

/** @throws {BoxError} `archive-invalid` */
export function refuseOtherCompression(chunk: Uint8Array): void {
  const tool = otherCompression(chunk);
  if (tool === undefined) return;
  throw archiveInvalid(`it is compressed by ${tool}`, `Decompress it first, with ${tool} -dc`);
}

/** Writes each file of a tar to one of its own, called by a number: no name of the archive becomes one here. */
class Spool implements TarSink, Disposable {
  readonly names = new ArchiveNames();
  readonly #directory: string;
  #count = 0;
  #file: { readonly name: string; readonly path: string; readonly size: number; readonly fd: number } | undefined;
  #hash = new Bun.CryptoHasher("sha256");

  constructor(directory: string) {
    this.#directory = directory;
  }

  begin(entry: TarEntry): void {
    const name = this.names.nameOf(entry);
    if (name === undefined) return;
    const path = join(this.#directory, String(this.#count++));
    const fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
    this.#file = { name, path, size: entry.size, fd };
    this.#hash = new Bun.CryptoHasher("sha256");
  }

  data(chunk: Buffer, start: number, stop: number): void {
    if (this.#file === undefined) return;
    this.#hash.update(chunk.subarray(start, stop));
    for (let at = start; at < stop; ) at += writeSync(this.#file.fd, chunk, at, stop - at);
  }

  end(): void {
    if (this.#file === undefined) return;
    const { name, path, size, fd } = this.#file;
    this.#file = undefined;
    closeSync(fd);
    const own = { path, digest: `sha256:${this.#hash.digest("hex")}` as const };
    this.names.set(name, { size, start: 0, open: () => openSpooled(path), own });
  }

  [Symbol.dispose](): void {
    if (this.#file !== undefined) closeSync(this.#file.fd);
  }
}

function openSpooled(path: string): Opened {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  return { fd, [Symbol.dispose]: () => closeSync(fd) };
}

function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}
