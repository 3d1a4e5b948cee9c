import { basic, type Challenge, fetchToken, parseChallenges } from "./auth.ts";
import { readCredentials } from "./credentials.ts";
import type { Endpoint, RegistryOptions } from "./endpoint.ts";

/** Requests to one endpoint, as who we are there. */
export interface Session {
  readonly endpoint: Endpoint;
  /** Where it answers. */
  base(): Promise<URL>;
  /** Whether we had something to show and did not, since the token service is a stranger to it. */
  readonly hasWithheld: boolean;
  /**
   * Makes a request with the authorization that the endpoint wants: known, or asked for after its first refusal.
   *
   * @param target A path below `/v2/`, or an address that the registry gave. One of another origin gets no authorization.
   * @param scopes What a token must be good for, such as `repository:library/alpine:pull`.
   */
  ask<T extends { readonly status: number; readonly headers: Headers }>(
    target: string | URL,
    scopes: readonly string[],
    request: (url: URL, authorization: string | undefined) => Promise<T>,
  ): Promise<T>;
}

interface Authorization {
  readonly value: string;
  /** In ms since 1970. */
  readonly expires: number;
}

/** Opens a session. Nothing is sent yet; tokens live as long as it does, in memory only. */
export function openSession(endpoint: Endpoint, options: RegistryOptions): Session {
  const { domain, settings, tokenHosts } = endpoint;
  const held = new Map<string, Authorization>();
  const pending = new Map<string, Promise<Authorization | undefined>>();
  let base: Promise<URL> | undefined;
  let hasWithheld = false;

  function findBase(): Promise<URL> {
    base ??= endpoint.base();
    return base;
  }

  async function authorize(
    challenges: readonly Challenge[],
    registry: URL,
    scopes: readonly string[],
  ): Promise<Authorization | undefined> {
    const credentials = await (options.credentials ?? readCredentials)(domain);
    const challenge = challenges.find(({ scheme }) => scheme === "bearer");
    if (challenge !== undefined) {
      const token = await fetchToken({ challenge, registry, scopes, credentials, tokenHosts, settings });
      if (credentials !== undefined && token.isAnonymous) hasWithheld = true;
      return { value: token.authorization, expires: token.expires };
    }
    if (credentials === undefined || "identityToken" in credentials) return undefined;
    if (!challenges.some(({ scheme }) => scheme === "basic")) return undefined;
    if (registry.protocol === "http:" && !endpoint.mayBePlain) return undefined;
    return { value: basic(credentials), expires: Number.POSITIVE_INFINITY };
  }

  /** What is held for some scopes, as long as it is good. */
  function usable(key: string): string | undefined {
    const known = held.get(key);
    return known !== undefined && known.expires > Date.now() ? known.value : undefined;
  }

  /** Many requests may be refused at once; one of them asks for a token, and all use it. */
  async function renew(key: string, make: () => Promise<Authorization | undefined>): Promise<string | undefined> {
    let asked = pending.get(key);
    if (asked === undefined) {
      asked = make().finally(() => pending.delete(key));
      pending.set(key, asked);
    }
    const authorization = await asked;
    if (authorization !== undefined) held.set(key, authorization);
    return authorization?.value;
  }

  return {
    endpoint,
    base: findBase,
    get hasWithheld() {
      return hasWithheld;
    },
    async ask(target, scopes, request) {
      const registry = await findBase();
      const url = typeof target === "string" ? new URL(`/v2/${target}`, registry) : target;
      if (url.origin !== registry.origin) return await request(url, undefined);
      const key = scopes.join(" ");
      const used = usable(key);
      const first = await request(url, used);
      if (first.status !== 401) return first;
      const newer = usable(key);
      const challenges = parseChallenges(first.headers.get("www-authenticate") ?? "");
      const value =
        newer !== undefined && newer !== used ? newer : await renew(key, () => authorize(challenges, registry, scopes));
      return value === undefined ? first : await request(url, value);
    },
  };
}
