import { BoxError } from "@bantubox/ffi";
import { type Digest, quote } from "../document/digest.ts";
import { DOCUMENT_MAX } from "../document/manifest.ts";
import type { Reference } from "../document/reference.ts";
import { backOffMs, isPassing, resolveLocation, send, sendAndRead, sleep } from "./http.ts";
import { refusal } from "./refusal.ts";
import type { Session } from "./session.ts";

/**
 * What is sent by one request. Registries write each part to their disk before they answer, so few are faster. Of one
 * that breaks off, most keep what has come; others get it again.
 */
const UPLOAD_CHUNK = 64 << 20;
/** The same towards a registry, or more likely a proxy, to which that is too much. */
const LESS = 8 << 20;
/** A blob up to here goes along with the end, from memory. */
export const SMALL_BLOB = 4 << 20;
/** What is in memory of a larger one at a time. */
const PIECE = 1 << 20;
/** What registries answer that take no parts of blobs, or smaller ones. */
const NO_CHUNKS = new Set([400, 405, 411, 413, 415, 416, 501]);

/** A blob's bytes, as often as they are asked for. */
export interface BlobSource {
  readonly digest: Digest;
  readonly size: number;
  /** At most `length` bytes from `offset` on; fewer only at the end. In memory of its own. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** How a blob came to be in the repository: it was there, in another one of the same registry, or it was sent. */
export type Uploaded = "exists" | "mounted" | "uploaded";

export interface Upload {
  readonly session: Session;
  readonly reference: Reference;
  readonly source: BlobSource;
  /** Path of another repository of the same registry that has the blob, as far as we know. */
  readonly mountFrom?: string | undefined;
  /** Bytes sent by one request; 64 MiB when absent. */
  readonly chunk?: number | undefined;
  /** Told how many bytes were sent so far, fewer than before when some must be sent again. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/**
 * Sees to it that a repository has a blob, sending no more of it than it must: nothing when it is there or can be
 * mounted, and the rest when an upload broke off.
 *
 * @throws {BoxError} `registry-unauthorized`, `registry-unreachable`, `registry-error`…
 * @see https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs
 */
export async function uploadBlob(upload: Upload): Promise<Uploaded> {
  if (await hasRemoteBlob(upload)) return "exists";
  const { settings } = upload.session.endpoint;
  const { source } = upload;
  let { chunk = UPLOAD_CHUNK } = upload;
  let takesChunks = true;
  for (let attempt = 1; ; attempt++) {
    const start = await startUpload(upload, source.digest);
    if (start === undefined) return "mounted";
    try {
      if (source.size <= Math.min(chunk, SMALL_BLOB)) await sendSmall(upload, start.location);
      else if (takesChunks && start.minChunk <= chunk) await sendLarge(upload, start.location, chunk);
      else await sendWhole(upload, start.location);
      return "uploaded";
    } catch (error) {
      settings.signal?.throwIfAborted();
      if (error instanceof ChunkRefused) {
        if (error.status === 413 && chunk > LESS) chunk = LESS;
        else takesChunks = false;
        continue;
      }
      // The answer to the last request may have been lost, and not what it did.
      if (!isPassing(error) || attempt >= settings.tries) throw error;
      await sleep(backOffMs(settings, attempt), settings.signal);
      if (await hasRemoteBlob(upload)) return "uploaded";
    }
  }
}

/**
 * Looks for a blob whose bytes need not be at hand, and has it mounted from where else it is, if it can be.
 *
 * @returns Undefined when it must be sent.
 */
export async function findBlob(blob: KnownBlob & Pick<Upload, "mountFrom">): Promise<Uploaded | undefined> {
  if (await hasRemoteBlob(blob)) return "exists";
  if (blob.mountFrom === undefined) return undefined;
  // An upload that it opens instead is left for the registry to forget.
  return (await startUpload(blob, blob.source.digest)) === undefined ? "mounted" : undefined;
}

/** A small blob that is at hand. */
export function inMemory(digest: Digest, bytes: Uint8Array): BlobSource {
  return { digest, size: bytes.length, read: async (offset, length) => bytes.subarray(offset, offset + length) };
}

/** `prefix/library/alpine` and what a token needs to write it. */
export function writeScope({ endpoint }: Session, { path }: Reference): { path: string; scopes: string[] } {
  const full = `${endpoint.prefix}${path}`;
  return { path: full, scopes: [`repository:${full}:pull,push`] };
}

/** A registry that has not taken a part of a blob, and perhaps takes it as a whole. */
class ChunkRefused extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`The answer to a part is ${status}`);
    this.status = status;
  }
}

/** An upload that the registry has opened. */
export interface Start {
  readonly location: URL;
  /** The smallest part that the registry takes, but for the last. */
  readonly minChunk: number;
}

/** A blob of which all is known that an upload ends with. */
export interface KnownBlob extends Pick<Upload, "session" | "reference"> {
  readonly source: Pick<BlobSource, "digest" | "size">;
}

/** Whether the repository has it. */
export async function hasRemoteBlob({ session, reference, source }: KnownBlob): Promise<boolean> {
  const { path, scopes } = writeScope(session, reference);
  const { status } = await session.ask(`${path}/blobs/${source.digest}`, scopes, async (url, authorization) => {
    const answer = await send({ method: "HEAD", url, authorization }, session.endpoint.settings);
    answer.discard();
    return answer;
  });
  return status === 200;
}

/**
 * Opens an upload.
 *
 * @param digest The blob's, to be mounted if that can be, and for people; not known of one that is still being made.
 * @returns Where to, or undefined when the registry had the blob in another repository.
 */
export async function startUpload(
  { session, reference, mountFrom }: Pick<Upload, "session" | "reference" | "mountFrom">,
  digest: Digest | undefined,
): Promise<Start | undefined> {
  const { path, scopes } = writeScope(session, reference);
  const mayMount = mountFrom !== undefined && digest !== undefined;
  const mount = mayMount ? `?${new URLSearchParams({ mount: digest, from: mountFrom })}` : "";
  const wanted = mayMount ? [...scopes, `repository:${mountFrom}:pull`] : scopes;
  const answer = await session.ask(`${path}/blobs/uploads/${mount}`, wanted, (url, authorization) =>
    sendAndRead(
      { method: "POST", url, authorization, body: new Uint8Array() },
      DOCUMENT_MAX,
      session.endpoint.settings,
    ),
  );
  if (answer.status === 201 && mayMount) return undefined;
  // Not to be allowed to read there is no reason not to write here.
  if (answer.status >= 400 && mayMount) return await startUpload({ session, reference }, digest);
  if (answer.status !== 202) throw refused(reference, digest, answer);
  const minChunk = /^[0-9]{1,15}$/.exec(answer.headers.get("oci-chunk-min-length") ?? "")?.[0];
  return { location: locationOf(await session.base(), answer.headers), minChunk: Number(minChunk ?? 0) };
}

/** A blob of one part goes along with the end. */
async function sendSmall(upload: Upload, location: URL): Promise<void> {
  const { source, onBytes } = upload;
  await put(upload, location, await source.read(0, source.size));
  onBytes?.(source.size);
}

async function sendLarge(upload: Upload, location: URL, chunk: number): Promise<void> {
  await put(upload, await sendChunks(upload, location, chunk), new Uint8Array());
}

/** Sends the blob part by part, going on where the registry says that it broke off. @returns Where to say that it ends. */
async function sendChunks(upload: Upload, start: URL, chunk: number): Promise<URL> {
  const { session, source } = upload;
  const { settings } = session.endpoint;
  let location = start;
  for (let offset = 0, failures = 0; offset < source.size; ) {
    try {
      const end = Math.min(offset + chunk, source.size);
      const answer = await sendChunk(upload, location, offset, end);
      location = locationOf(location, answer.headers);
      offset = end;
      failures = 0;
    } catch (error) {
      settings.signal?.throwIfAborted();
      if (!isPassing(error) || ++failures >= settings.tries) throw error;
      await sleep(backOffMs(settings, failures), settings.signal);
      ({ location, offset } = await askOffset(upload, location));
    }
  }
  return location;
}

/** One part, from `offset` up to `end`. @throws {ChunkRefused} */
async function sendChunk(
  upload: Upload,
  location: URL,
  offset: number,
  end: number,
): Promise<{ readonly headers: Headers }> {
  const { session, reference, source } = upload;
  const { scopes } = writeScope(session, reference);
  const headers = {
    "Content-Type": "application/octet-stream",
    "Content-Length": String(end - offset),
    "Content-Range": `${offset}-${end - 1}`,
  };
  const body = () => pieces(upload, offset, end);
  const answer = await session.ask(location, scopes, (url, authorization) =>
    // Once: what the registry has of it must be asked before it is sent again.
    sendAndRead({ method: "PATCH", url, authorization, headers, body }, DOCUMENT_MAX, {
      ...session.endpoint.settings,
      tries: 1,
    }),
  );
  if (answer.status >= 200 && answer.status < 300) return answer;
  if (NO_CHUNKS.has(answer.status)) throw new ChunkRefused(answer.status);
  if (isPassingStatus(answer.status)) throw passing(location, answer.status);
  throw refused(reference, source.digest, answer);
}

/** How much of the blob the registry has. @throws {BoxError} `registry-unreachable` when it has forgotten the upload. */
async function askOffset(
  { session, reference, source }: Upload,
  location: URL,
): Promise<{ location: URL; offset: number }> {
  const { scopes } = writeScope(session, reference);
  const { status, headers } = await session.ask(location, scopes, (url, authorization) =>
    sendAndRead({ url, authorization }, DOCUMENT_MAX, session.endpoint.settings),
  );
  const offset = parseUploadRange(headers.get("range"));
  if (status !== 204 || offset === undefined || offset > source.size) {
    throw new BoxError("registry-unreachable", `Cannot go on with a push to ${quote(location.host)}: it was forgotten`);
  }
  return { location: headers.has("location") ? locationOf(location, headers) : location, offset };
}

/**
 * How many bytes of an upload a registry has, by its `Range` header: `0-499` is 500. No bytes and one byte look the
 * same there, and one byte is no part that we send.
 */
export function parseUploadRange(header: string | null): number | undefined {
  const last = /^(?:bytes=)?0-([0-9]{1,15})$/.exec(header?.trim() ?? "")?.[1];
  if (last === undefined) return undefined;
  return last === "0" ? 0 : Number(last) + 1;
}

/** The blob in one request, whatever its size: for registries that take no parts. */
async function sendWhole(upload: Upload, location: URL): Promise<void> {
  await put(upload, location, () => pieces(upload, 0, upload.source.size));
}

async function* pieces({ source, onBytes }: Upload, from: number, end: number): AsyncGenerator<Uint8Array> {
  for (let offset = from; offset < end; ) {
    const bytes = await source.read(offset, Math.min(PIECE, end - offset));
    yield bytes;
    offset += bytes.length;
    onBytes?.(offset);
  }
}

/** Ends an upload, sending what is left of the blob: the registry says whether that is what its digest says. */
export async function put(
  { session, reference, source }: KnownBlob,
  location: URL,
  body: Uint8Array | (() => AsyncIterable<Uint8Array>),
): Promise<void> {
  const { scopes } = writeScope(session, reference);
  const target = new URL(location);
  // Appended as it is: what else stands there is the registry's, to the letter.
  target.search += `${target.search === "" ? "?" : "&"}digest=${encodeURIComponent(source.digest)}`;
  const headers = {
    "Content-Type": "application/octet-stream",
    ...(body instanceof Uint8Array ? {} : { "Content-Length": String(source.size) }),
  };
  const answer = await session.ask(target, scopes, (url, authorization) =>
    sendAndRead({ method: "PUT", url, authorization, headers, body }, DOCUMENT_MAX, session.endpoint.settings),
  );
  if (answer.status === 201 || answer.status === 204) return;
  if (isPassingStatus(answer.status)) throw passing(location, answer.status);
  throw refused(reference, source.digest, answer);
}

/** Of an upload, 404 only says that it was forgotten: the next try begins anew. */
function isPassingStatus(status: number): boolean {
  return status === 404 || status === 429 || status >= 500;
}

function passing(location: URL, status: number): BoxError {
  const state = status === 404 ? "it has forgotten the upload" : `it answers ${status}`;
  return new BoxError("registry-unreachable", `Cannot push to ${quote(location.host)}: ${state}`);
}

/** Where an answer says that the upload goes on. */
export function locationOf(from: URL, headers: Headers): URL {
  const location = headers.get("location");
  if (location === null) {
    throw new BoxError("registry-answer-invalid", `Cannot push to ${quote(from.host)}: it does not say where to`);
  }
  return resolveLocation(from, location);
}

function refused(
  reference: Reference,
  digest: Digest | undefined,
  { status, body }: { readonly status: number; readonly body: Uint8Array },
): BoxError {
  return refusal({ verb: "push", reference, what: digest, status, body });
}
