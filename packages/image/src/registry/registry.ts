import { BoxError } from "@bantubox/ffi";
import { type Digest, isDigest, quote, sha256 } from "../document/digest.ts";
import { ACCEPTED_MANIFESTS, DOCUMENT_MAX } from "../document/manifest.ts";
import type { Reference } from "../document/reference.ts";
import { endpointsOf, type RegistryOptions } from "./endpoint.ts";
import { type Answer, type Request, send, sendAndRead } from "./http.ts";
import { readPages } from "./pages.ts";
import { refusal } from "./refusal.ts";
import { openSession, type Session } from "./session.ts";

export type { RegistryOptions } from "./endpoint.ts";

/** A repository of more tags than this is listed by no registry that means well. */
const TAGS_MAX = 100_000;
/** How often one blob is asked of a mirror before the next place is tried. */
const MIRROR_TRIES = 2;

/** The bytes of a manifest or index, of which the digest is known to be true. */
export interface ManifestBytes {
  readonly digest: Digest;
  /** What the registry says it is; to be compared with what the document says. */
  readonly contentType: string;
  readonly bytes: Uint8Array;
}

/** One repository of one registry, or of its mirrors. */
export interface Repository {
  /** The digest that a tag stands for, without fetching it; undefined when the registry does not say. */
  head(tagOrDigest: string): Promise<string | undefined>;
  manifest(tagOrDigest: string): Promise<ManifestBytes>;
  /** A blob's bytes from `offset` on. Not verified: the caller hashes. */
  blob(digest: Digest, offset: number): Promise<Answer>;
  /** All tags, as the registry sorts them. */
  tags(): Promise<string[]>;
}

/**
 * Opens a repository to read from. Nothing is sent yet, unless the registry is insecure.
 *
 * Where mirrors are set, they are asked first; one that cannot help is not asked again.
 *
 * @param verb What the manifest is wanted for, in words.
 * @see https://github.com/opencontainers/distribution-spec/blob/main/spec.md
 */
export function openRepository(reference: Reference, options: RegistryOptions = {}, verb = "pull"): Repository {
  const sessions = endpointsOf(reference.domain, options).map((endpoint) => openSession(endpoint, options));
  const asked = new Map<string, number>();

  /** Asks mirrors until one can answer, then the registry, whose failure counts. */
  async function firstOf<T>(
    ask: (session: Session, isLast: boolean) => Promise<T | undefined>,
  ): Promise<T | undefined> {
    for (;;) {
      const [session, ...others] = sessions;
      if (session === undefined || others.length === 0) return session && (await ask(session, true));
      try {
        const result = await ask(session, false);
        if (result !== undefined) return result;
      } catch (error) {
        options.signal?.throwIfAborted();
        if (!(error instanceof BoxError)) throw error;
      }
      if (sessions[0] === session) sessions.shift();
    }
  }

  async function must<T>(ask: (session: Session, isLast: boolean) => Promise<T | undefined>): Promise<T> {
    const result = await firstOf(ask);
    if (result === undefined) throw new Error("The last endpoint answers or throws");
    return result;
  }

  return {
    head: (tagOrDigest) => firstOf((session) => head(session, reference, tagOrDigest)),
    manifest: (tagOrDigest) => must((session) => getManifest(session, reference, tagOrDigest, verb)),
    blob: (digest, offset) =>
      must((session, isLast) => {
        const key = `${session.endpoint.domain} ${digest}`;
        const count = (asked.get(key) ?? 0) + 1;
        asked.set(key, count);
        return isLast || count <= MIRROR_TRIES
          ? getBlob(session, reference, digest, offset)
          : Promise.resolve(undefined);
      }),
    tags: () => must((session) => listTags(session, reference)),
  };
}

/** `prefix/library/alpine` and what a token needs to read it. */
function readScope({ endpoint }: Session, { path }: Reference): { path: string; scopes: string[] } {
  const full = `${endpoint.prefix}${path}`;
  return { path: full, scopes: [`repository:${full}:pull`] };
}

async function head(session: Session, reference: Reference, tagOrDigest: string): Promise<string | undefined> {
  const { path, scopes } = readScope(session, reference);
  const { status, headers } = await session.ask(`${path}/manifests/${tagOrDigest}`, scopes, async (url, value) => {
    const answer = await send(manifestRequest("HEAD", url, value), session.endpoint.settings);
    answer.discard();
    return answer;
  });
  const digest = headers.get("docker-content-digest");
  return status === 200 && digest !== null && isDigest(digest) ? digest : undefined;
}

async function getManifest(
  session: Session,
  reference: Reference,
  tagOrDigest: string,
  verb: string,
): Promise<ManifestBytes> {
  const { path, scopes } = readScope(session, reference);
  const { status, headers, body } = await session.ask(`${path}/manifests/${tagOrDigest}`, scopes, (url, value) =>
    sendAndRead(manifestRequest("GET", url, value), DOCUMENT_MAX, session.endpoint.settings),
  );
  if (status !== 200) throw refusal({ verb, reference, what: tagOrDigest, status, body });
  const digest = sha256(body);
  if (isDigest(tagOrDigest) && digest !== tagOrDigest) {
    throw new BoxError(
      "digest-mismatch",
      `Cannot use manifest ${tagOrDigest}: ${quote(session.endpoint.domain)} sent ${digest} instead`,
    );
  }
  const contentType = (headers.get("content-type") ?? "").split(";")[0]?.trim().toLowerCase() ?? "";
  return { digest, contentType, bytes: body };
}

async function getBlob(session: Session, reference: Reference, digest: Digest, offset: number): Promise<Answer> {
  const { path, scopes } = readScope(session, reference);
  const headers: Record<string, string> = offset > 0 ? { Range: `bytes=${offset}-` } : {};
  const answer = await session.ask(`${path}/blobs/${digest}`, scopes, async (url, authorization) => {
    const got = await send({ url, headers, authorization }, session.endpoint.settings);
    if (got.status === 401) got.discard();
    return got;
  });
  const { status } = answer;
  if (status === 200 || status === 206) return answer;
  if (status === 416) {
    answer.discard();
    throw new BoxError(
      "blob-range",
      `Cannot go on with blob ${digest}: ${quote(session.endpoint.domain)} has fewer bytes of it`,
    );
  }
  const body = status === 401 ? new Uint8Array() : await answer.read(DOCUMENT_MAX).catch(() => new Uint8Array());
  throw refusal({ verb: "pull", reference, what: digest, status, body });
}

function listTags(session: Session, reference: Reference): Promise<string[]> {
  const { path, scopes } = readScope(session, reference);
  return readPages(session, {
    first: `${path}/tags/list?n=1000`,
    scopes,
    field: "tags",
    max: TAGS_MAX,
    refuse: (status, body) => refusal({ verb: "list the tags of", reference, what: undefined, status, body }),
  });
}

function manifestRequest(method: "GET" | "HEAD", url: URL, authorization: string | undefined): Request {
  return { method, url, headers: { Accept: ACCEPTED_MANIFESTS }, authorization };
}
