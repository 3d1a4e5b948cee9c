import { BoxError } from "@bantubox/ffi";
import { basic, type Credentials, fetchToken, parseChallenges } from "./auth.ts";
import { readCredentials } from "./credentials.ts";
import { type Digest, isDigest, quote, sha256 } from "./digest.ts";
import { type Answer, HTTP_DEFAULTS, type HttpSettings, type Request, send, sendAndRead } from "./http.ts";
import { ACCEPTED_MANIFESTS, DOCUMENT_MAX } from "./manifest.ts";
import type { Reference } from "./reference.ts";

export interface RegistryOptions extends Partial<HttpSettings> {
  /** Registries that may be spoken to in plain http, or with a certificate that nobody vouches for: `host[:port]`. */
  readonly insecure?: readonly string[] | undefined;
  /** Where passwords come from; Docker's config.json when absent. */
  readonly credentials?: ((domain: string) => Credentials | undefined) | undefined;
}

/** The bytes of a manifest or index, of which the digest is known to be true. */
interface ManifestBytes {
  readonly digest: Digest;
  /** What the registry says it is; to be compared with what the document says. */
  readonly contentType: string;
  readonly bytes: Uint8Array;
}

/** One repository of one registry. */
export interface Repository {
  /** The digest that a tag stands for, without fetching it; undefined when the registry does not say. */
  head(tagOrDigest: string): Promise<string | undefined>;
  manifest(tagOrDigest: string): Promise<ManifestBytes>;
  /** A blob's bytes from `offset` on. Not verified: the caller hashes. */
  blob(digest: Digest, offset: number): Promise<Answer>;
}

/**
 * Opens a repository. Nothing is sent yet, unless the registry is `insecure`.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/main/spec.md
 */
export function openRepository(reference: Reference, options: RegistryOptions = {}): Repository {
  const { domain, path } = reference;
  const insecure = options.insecure?.includes(domain) === true;
  const settings: HttpSettings = {
    ...HTTP_DEFAULTS,
    ...withoutUndefined(options),
    ...(insecure && { verifyTls: false }),
  };
  const scope = `repository:${path}:pull`;
  let base: Promise<URL> | undefined;
  let authorization: { readonly value: string; readonly expires: number } | undefined;

  async function authorize(answer: Headers, registry: URL): Promise<boolean> {
    const challenges = parseChallenges(answer.get("www-authenticate") ?? "");
    const credentials = (options.credentials ?? readCredentials)(domain);
    const bearer = challenges.find(({ scheme }) => scheme === "bearer");
    if (bearer !== undefined) {
      const token = await fetchToken({ challenge: bearer, registry, scope, credentials, settings });
      authorization = { value: token.authorization, expires: token.expires };
      return true;
    }
    if (credentials === undefined || !challenges.some(({ scheme }) => scheme === "basic")) return false;
    if (registry.protocol === "http:" && !insecure && !isLoopback(domain)) return false;
    authorization = { value: basic(credentials), expires: Number.POSITIVE_INFINITY };
    return true;
  }

  /** `ask` with the authorization that the registry wants: known, or asked for after its first refusal. */
  async function authorized<T extends { status: number; headers: Headers }>(
    suffix: string,
    ask: (url: URL, value: string | undefined) => Promise<T>,
  ): Promise<T> {
    base ??= findBase(domain, insecure, settings);
    const registry = await base;
    const url = new URL(`/v2/${path}/${suffix}`, registry);
    if (authorization !== undefined && authorization.expires < Date.now()) authorization = undefined;
    const first = await ask(url, authorization?.value);
    if (first.status !== 401 || !(await authorize(first.headers, registry))) return first;
    return ask(url, authorization?.value);
  }

  return {
    async head(tagOrDigest) {
      const { status, headers } = await authorized(`manifests/${tagOrDigest}`, async (url, value) => {
        const answer = await send(manifestRequest("HEAD", url, value), settings);
        answer.discard();
        return answer;
      });
      const digest = headers.get("docker-content-digest");
      return status === 200 && digest !== null && isDigest(digest) ? digest : undefined;
    },

    async manifest(tagOrDigest) {
      const { status, headers, body } = await authorized(`manifests/${tagOrDigest}`, (url, value) =>
        sendAndRead(manifestRequest("GET", url, value), DOCUMENT_MAX, settings),
      );
      if (status !== 200) throw refusal(reference, tagOrDigest, status, body);
      const digest = sha256(body);
      if (isDigest(tagOrDigest) && digest !== tagOrDigest) {
        throw new BoxError(
          "digest-mismatch",
          `Cannot use manifest ${tagOrDigest}: ${quote(domain)} sent ${digest} instead`,
        );
      }
      const contentType = (headers.get("content-type") ?? "").split(";")[0]?.trim().toLowerCase() ?? "";
      return { digest, contentType, bytes: body };
    },

    async blob(digest, offset) {
      const range: Record<string, string> = offset > 0 ? { Range: `bytes=${offset}-` } : {};
      const answer = await authorized(`blobs/${digest}`, async (url, value) => {
        const got = await send({ url, headers: range, authorization: value }, settings);
        if (got.status === 401) got.discard();
        return got;
      });
      if (answer.status === 200 || answer.status === 206) return answer;
      if (answer.status === 416) {
        answer.discard();
        throw new BoxError("blob-range", `Cannot go on with blob ${digest}: ${quote(domain)} has fewer bytes of it`);
      }
      const body =
        answer.status === 401 ? new Uint8Array() : await answer.read(DOCUMENT_MAX).catch(() => new Uint8Array());
      throw refusal(reference, digest, answer.status, body);
    },
  };
}

/** Whether a registry's address is this machine: those speak plain http. */
function isLoopback(domain: string): boolean {
  const host = domain.replace(/:[0-9]+$/, "").toLowerCase();
  return host === "localhost" || host === "[::1]" || /^127\.[0-9]+\.[0-9]+\.[0-9]+$/.test(host);
}

function manifestRequest(method: "GET" | "HEAD", url: URL, authorization: string | undefined): Request {
  return { method, url, headers: { Accept: ACCEPTED_MANIFESTS }, authorization };
}

async function findBase(domain: string, insecure: boolean, settings: HttpSettings): Promise<URL> {
  // The one registry whose name is not its address.
  if (domain === "docker.io") return new URL("https://registry-1.docker.io");
  if (isLoopback(domain)) return new URL(`http://${domain}`);
  const url = new URL(`https://${domain}`);
  if (!insecure) return url;
  try {
    const answer = await send({ url: new URL("/v2/", url) }, { ...settings, tries: 1 });
    answer.discard();
    return url;
  } catch (error) {
    settings.signal?.throwIfAborted();
    if (error instanceof BoxError && error.code === "registry-unreachable") return new URL(`http://${domain}`);
    throw error;
  }
}

/** What a status means to the one who asked. The registry's own words come along, quoted. */
function refusal({ domain, path }: Reference, what: string, status: number, body: Uint8Array): BoxError {
  const name = quote(isDigest(what) ? `${domain}/${path}@${what}` : `${domain}/${path}:${what}`);
  const said = registryMessage(body);
  const words = said === undefined ? "" : ` (${said})`;
  switch (status) {
    case 401:
    case 403:
      return new BoxError("registry-unauthorized", `Cannot pull ${name}: the registry denies access${words}`, {
        hint: "Check the name: a registry also answers so for images that do not exist",
      });
    case 404:
      return new BoxError("registry-image-missing", `Cannot pull ${name}: the registry does not have it${words}`, {
        hint: "Check the name and the tag",
      });
    case 429:
      return new BoxError("registry-busy", `Cannot pull ${name}: the registry allows no more requests now${words}`, {
        hint: "Wait a while, or use credentials: many registries allow more to those",
      });
    default:
      return new BoxError("registry-error", `Cannot pull ${name}: the registry answers ${status}${words}`);
  }
}

function registryMessage(body: Uint8Array): string | undefined {
  try {
    const answer = JSON.parse(new TextDecoder().decode(body)) as { errors?: { code?: unknown; message?: unknown }[] };
    const first = answer.errors?.[0];
    const text = first?.message ?? first?.code;
    return typeof text === "string" && text !== "" ? quote(text) : undefined;
  } catch {
    // An error page for browsers says nothing to a terminal.
    return undefined;
  }
}

function withoutUndefined(options: RegistryOptions): Partial<HttpSettings> {
  const { connectMs, stallMs, retryMs, tries, verifyTls, signal } = options;
  return Object.fromEntries(
    Object.entries({ connectMs, stallMs, retryMs, tries, verifyTls, signal }).filter(
      ([, value]) => value !== undefined,
    ),
  );
}
