import type { Digest } from "../document/digest.ts";
import { DOCUMENT_MAX } from "../document/manifest.ts";
import { sendAndRead } from "./http.ts";
import {
  hasRemoteBlob,
  locationOf,
  put,
  SMALL_BLOB,
  startUpload,
  type Upload,
  type Uploaded,
  writeScope,
} from "./upload.ts";

/** What is asked for at once. */
const PIECE = 1 << 20;

/** A blob whose digest nobody knows yet. */
interface GrowingBlob {
  /** Waits until it is whole. */
  made(): Promise<{ readonly digest: Digest; readonly size: number }>;
  /** At most `length` bytes from `offset` on, as soon as there are any; none at the end. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

export interface StreamUpload extends Pick<Upload, "session" | "reference" | "onBytes"> {
  readonly blob: GrowingBlob;
}

/**
 * Sends a blob while it is made, in one request of no known length, as Docker and podman send all of theirs. Should the
 * registry turn out to have it, the rest is not sent.
 *
 * @returns Undefined when it went wrong: `uploadBlob`, which can go on where it broke off, finds out why and says so.
 * @throws What `made` throws, and the signal's reason.
 */
export async function streamBlob({ session, reference, blob, onBytes }: StreamUpload): Promise<Uploaded | undefined> {
  const { settings } = session.endpoint;
  const enough = new AbortController();
  const signal = AbortSignal.any([enough.signal, ...(settings.signal === undefined ? [] : [settings.signal])]);
  let sent = 0;

  async function* body(): AsyncGenerator<Uint8Array> {
    sent = 0;
    for (;;) {
      const bytes = await blob.read(sent, PIECE);
      if (bytes.length === 0) return;
      yield bytes;
      sent += bytes.length;
      onBytes?.(sent);
    }
  }

  async function isThere(): Promise<boolean> {
    const source = await blob.made();
    if (source.size - sent <= SMALL_BLOB || !(await hasRemoteBlob({ session, reference, source }))) return false;
    enough.abort(new Error("The registry has it"));
    return true;
  }

  const asking = isThere().catch(() => false);
  try {
    const start = await startUpload({ session, reference }, undefined);
    if (start === undefined) return undefined;
    const { scopes } = writeScope(session, reference);
    const headers = { "Content-Type": "application/octet-stream" };
    const answer = await session.ask(start.location, scopes, (url, authorization) =>
      // Once: where it broke off, only `uploadBlob` asks.
      sendAndRead({ method: "PATCH", url, authorization, headers, body }, DOCUMENT_MAX, {
        ...settings,
        signal,
        tries: 1,
      }),
    );
    const source = await blob.made();
    if (answer.status < 200 || answer.status >= 300) return undefined;
    await put({ session, reference, source }, locationOf(start.location, answer.headers), new Uint8Array());
    return "uploaded";
  } catch {
    settings.signal?.throwIfAborted();
    await blob.made();
    return (await asking) ? "exists" : undefined;
  }
}
