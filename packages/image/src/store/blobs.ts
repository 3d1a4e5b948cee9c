import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { BoxError, type Fd } from "@bantubox/ffi";
import { type Digest, digestHex, sha256 } from "../document/digest.ts";
import type { Descriptor } from "../document/manifest.ts";
import { backOffMs, HTTP_DEFAULTS, isPassing, sleep } from "../registry/http.ts";
import type { RegistryOptions, Repository } from "../registry/registry.ts";
import { lock, tryLock } from "./lock.ts";
import { blobsDirectory, type ImageStore, ingestDirectory } from "./store.ts";

const CHUNK = 1 << 20;

/** Where a verified blob lies, whether or not it is there. */
export function blobPath(store: ImageStore, digest: Digest): string {
  return join(blobsDirectory(store), digestHex(digest));
}

export function hasBlob(store: ImageStore, digest: Digest): boolean {
  return existsSync(blobPath(store, digest));
}

/** Reads a small blob and checks it. @throws {BoxError} `blob-corrupt` when it is not what its name says. */
export async function readBlob(store: ImageStore, digest: Digest): Promise<Uint8Array> {
  const bytes = await readFile(blobPath(store, digest));
  if (sha256(bytes) === digest) return bytes;
  throw new BoxError("blob-corrupt", `Cannot use blob ${digest}: its bytes have changed on disk`, {
    hint: 'Throw it away with "bb system check --repair", and pull its image again',
  });
}

/**
 * Stores a small blob whose digest the caller has computed. Durable once the file system is synchronised.
 *
 * @returns false when it was there, and whole: a power cut may have left a name without bytes.
 */
export function writeBlob(store: ImageStore, digest: Digest, bytes: Uint8Array): boolean {
  if (hasBlob(store, digest) && readFileSync(blobPath(store, digest)).equals(bytes)) return false;
  const aside = join(ingestDirectory(store), `.tmp-${digestHex(digest)}-${process.pid}`);
  try {
    const fd = openSync(aside, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    } finally {
      closeSync(fd);
    }
    renameSync(aside, blobPath(store, digest));
    return true;
  } catch (error) {
    rmSync(aside, { force: true });
    throw error;
  }
}

/**
 * A download that this process alone works on: a file which may already hold the blob's beginning from
 * an earlier try. The lock lasts until `close`.
 */
export interface Ingest {
  readonly fd: Fd;
  readonly path: string;
}

/** Begins or goes on with a download; undefined while another process is at it. */
export function tryIngest(store: ImageStore, digest: Digest): Ingest | undefined {
  const path = join(ingestDirectory(store), digestHex(digest));
  const fd = tryLock(path, "exclusive");
  return fd === undefined ? undefined : { fd, path };
}

/** Waits until nobody else downloads the blob: it may be complete then. */
export async function waitIngest(store: ImageStore, digest: Digest, signal?: AbortSignal): Promise<Ingest> {
  const path = join(ingestDirectory(store), digestHex(digest));
  return { fd: await lock(path, "exclusive", { signal }), path };
}

/** A blob that is complete and verified but does not exist yet. */
export interface FetchedBlob {
  readonly digest: Digest;
  readonly ingest: Ingest;
}

/** Makes the complete file a blob, unless that is there. The caller has synchronised its bytes. */
export function keepBlob(store: ImageStore, { digest, ingest }: FetchedBlob): void {
  if (!hasBlob(store, digest)) renameSync(ingest.path, blobPath(store, digest));
}

/** Whether a blob's bytes are what its name says. */
export async function isIntact(store: ImageStore, digest: Digest): Promise<boolean> {
  const hash = new Bun.CryptoHasher("sha256");
  for await (const chunk of Bun.file(blobPath(store, digest)).stream()) hash.update(chunk);
  return `sha256:${hash.digest("hex")}` === digest;
}

/** Forgets what has been downloaded so far. */
export function dropIngest({ path, fd }: Ingest): void {
  unlinkSync(path);
  fd.close();
}

export interface Download {
  readonly repository: Repository;
  readonly descriptor: Descriptor;
  readonly ingest: Ingest;
  readonly options: RegistryOptions;
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/**
 * Downloads a blob into its ingest file and yields its bytes at the same time: first those that are there
 * from earlier, then the network's. Ends only if all of them have the right length and digest.
 *
 * A connection that breaks is opened again at the byte where it broke, as often as it brings something.
 *
 * @throws {BoxError} `blob-corrupt` when the bytes are wrong; then the file is worth nothing.
 */
export async function* download({
  repository,
  descriptor,
  ingest,
  options,
  onBytes,
}: Download): AsyncGenerator<Uint8Array> {
  const { digest, size } = descriptor;
  const settings = { ...HTTP_DEFAULTS, retryMs: options.retryMs ?? HTTP_DEFAULTS.retryMs };
  const tries = options.tries ?? HTTP_DEFAULTS.tries;
  const hash = new Bun.CryptoHasher("sha256");
  const fd = ingest.fd.raw;
  if (fstatSync(fd).size > size) ftruncateSync(fd, 0);

  let offset = 0;
  const had = fstatSync(fd).size;
  while (offset < had) {
    const chunk = new Uint8Array(Math.min(CHUNK, had - offset));
    const count = readSync(fd, chunk, 0, chunk.length, offset);
    if (count === 0) break;
    const bytes = chunk.subarray(0, count);
    hash.update(bytes);
    offset += count;
    onBytes?.(offset);
    yield bytes;
  }

  for (let failures = 0; offset < size; ) {
    const start = offset;
    try {
      const answer = await repository.blob(digest, offset);
      let skip = bytesToSkip(answer.status, answer.headers, offset, descriptor);
      for await (let chunk of answer.chunks()) {
        if (skip > 0) {
          const skipped = Math.min(skip, chunk.length);
          skip -= skipped;
          chunk = chunk.subarray(skipped);
          if (chunk.length === 0) continue;
        }
        if (offset + chunk.length > size)
          throw corrupt(digest, `it is larger than the ${size} bytes that were announced`);
        for (let at = 0; at < chunk.length; ) at += writeSync(fd, chunk, at, chunk.length - at, offset + at);
        hash.update(chunk);
        offset += chunk.length;
        onBytes?.(offset);
        yield chunk;
      }
      if (offset < size)
        throw new BoxError(
          "registry-unreachable",
          `Cannot download ${digest}: it ends after ${offset} of ${size} bytes`,
        );
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!isPassing(error)) throw error;
      // What brings a megabyte each time gets there in the end.
      failures = offset - start >= CHUNK ? 0 : failures + 1;
      if (failures >= tries) throw error;
      if (failures > 0) await sleep(backOffMs(settings, failures), options.signal);
    }
  }
  const actual = `sha256:${hash.digest("hex")}`;
  if (actual !== digest) throw corrupt(digest, `its bytes have the digest ${actual}`);
}

/** How many bytes to drop of an answer that starts where it likes. */
function bytesToSkip(status: number, headers: Headers, offset: number, { digest }: Descriptor): number {
  if (status === 200) return offset;
  const range = /^bytes ([0-9]{1,15})-[0-9]{1,15}\/(?:[0-9]{1,15}|\*)$/.exec(
    headers.get("content-range")?.trim() ?? "",
  );
  if (range === null || Number(range[1]) !== offset) {
    throw corrupt(digest, "the registry sent another part of it than the one asked for");
  }
  return 0;
}

function corrupt(digest: Digest, why: string): BoxError {
  return new BoxError("blob-corrupt", `Cannot use blob ${digest}: ${why}`, {
    hint: "Pull again; if it stays so, the registry or a proxy before it is broken",
  });
}
