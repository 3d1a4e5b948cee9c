import { BoxError } from "@bantubox/ffi";
import { quote } from "../document/digest.ts";
import { type HttpSettings, isLocalLiteral, isPrivateLiteral, sendAndRead } from "./http.ts";

export interface Password {
  readonly username: string;
  readonly password: string;
}

/** A password, or what OAuth calls a refresh token, which some registries give at login to be kept instead. */
export type Credentials = Password | { readonly identityToken: string };

export interface Challenge {
  /** In lower case. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

const TOKEN_ANSWER_MAX = 1 << 20;
/** A header longer than this is an attack on our parser. */
const CHALLENGE_MAX = 16 * 1024;
/** Tokens live 60 s when their issuer does not say, as the token specification has it. */
const TOKEN_LIFE_S = 60;

/** What to do about a token service that was not told who we are. */
export const WITHHELD =
  "Its token service is another host and was not given the password: list that host under tokenHosts in registries.json if it may have it";

/** Registries whose tokens come from a host that is neither theirs nor above theirs. */
const TOKEN_HOSTS: Readonly<Record<string, string>> = { "registry-1.docker.io": "auth.docker.io" };

/**
 * Reads a `WWW-Authenticate` header: any number of challenges, parameters quoted or not.
 * What is not well formed ends the list; it never throws.
 */
export function parseChallenges(header: string): Challenge[] {
  const challenges: Challenge[] = [];
  if (header.length > CHALLENGE_MAX) return challenges;
  const token = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
  const quoted = /"((?:[^"\\]|\\.)*)"/y;
  const gap = /[ \t,]*/y;
  const equals = /[ \t]*=[ \t]*/y;
  const bare = /[^\s,"]+/y;
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(header);
    if (match !== null) at = pattern.lastIndex;
    return match;
  };
  let parameters: Map<string, string> | undefined;
  while (at < header.length) {
    take(gap);
    const name = take(token)?.[0];
    if (name === undefined) break;
    const before = at;
    if (parameters !== undefined && take(equals) !== null) {
      const value = take(quoted)?.[1]?.replace(/\\(.)/g, "$1") ?? take(bare)?.[0];
      if (value === undefined) break;
      const key = name.toLowerCase();
      if (!parameters.has(key)) parameters.set(key, value);
    } else {
      at = before;
      parameters = new Map();
      challenges.push({ scheme: name.toLowerCase(), parameters });
    }
  }
  return challenges;
}

/**
 * Checks where a registry sends us for a token.
 *
 * A registry may not make us speak to this machine, its link or its private network, except to itself.
 *
 * @throws {BoxError} `registry-realm`
 */
export function checkRealm(realm: string, registry: URL): URL {
  const refuse = (why: string) =>
    new BoxError("registry-realm", `Cannot ask for a token of ${quote(registry.host)}: ${why}`);
  if (!URL.canParse(realm)) throw refuse(`its realm ${quote(realm)} is no address`);
  const url = new URL(realm);
  if (url.protocol !== "https:" && url.protocol !== "http:")
    throw refuse(`its realm ${quote(realm)} is not http or https`);
  if (registry.protocol === "https:" && url.protocol === "http:") throw refuse("its realm leads from https to http");
  if (url.username !== "" || url.password !== "") throw refuse("its realm carries a password");
  const elsewhere = url.hostname !== registry.hostname;
  // A registry on loopback may keep its token service on another port or name of loopback.
  if (elsewhere && isLocalLiteral(url.hostname) && !isLocalLiteral(registry.hostname)) {
    throw refuse(`its realm ${quote(url.host)} is this machine itself`);
  }
  if (elsewhere && isPrivateLiteral(url.hostname)) throw refuse(`its realm ${quote(url.host)} is a private address`);
  return url;
}

/**
 * Whether a password for the registry may go to its token service: to its own host, to a host above it
 * in the name system (who owns that owns the registry's name, too), to the one that we know belongs to it,
 * or to one that the administrator lists in `tokenHosts`.
 */
export function mayReceivePassword(realm: URL, registry: URL, tokenHosts: readonly string[] = []): boolean {
  if (realm.origin === registry.origin) return true;
  if (tokenHosts.includes(realm.host)) return realm.protocol === "https:" || registry.protocol === "http:";
  if (realm.protocol !== "https:" || registry.protocol !== "https:") return false;
  if (realm.hostname === registry.hostname) return true;
  if (Object.hasOwn(TOKEN_HOSTS, registry.hostname) && TOKEN_HOSTS[registry.hostname] === realm.host) return true;
  return realm.port === "" && realm.hostname.includes(".") && registry.hostname.endsWith(`.${realm.hostname}`);
}

export function basic({ username, password }: Password): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}

export interface TokenRequest {
  readonly challenge: Challenge;
  readonly registry: URL;
  /** `repository:library/alpine:pull`; none to be known at all. */
  readonly scopes: readonly string[];
  readonly credentials: Credentials | undefined;
  readonly tokenHosts?: readonly string[] | undefined;
  readonly settings: HttpSettings;
}

export interface Token {
  /** The header's value. */
  readonly authorization: string;
  /** In ms since 1970. */
  readonly expires: number;
  /** The token service was not told who we are. */
  readonly isAnonymous: boolean;
}

/**
 * Gets a bearer token for `scopes`, as who we are where that may be said, otherwise anonymously.
 *
 * @see https://distribution.github.io/distribution/spec/auth/token/
 * @throws {BoxError} `registry-realm`, `registry-unauthorized`
 */
export async function fetchToken(request: TokenRequest): Promise<Token> {
  const { challenge, registry, credentials } = request;
  const url = checkRealm(challenge.parameters.get("realm") ?? "", registry);
  const known =
    credentials !== undefined && mayReceivePassword(url, registry, request.tokenHosts) ? credentials : undefined;
  const service = challenge.parameters.get("service");
  const { status, body } =
    known !== undefined && "identityToken" in known
      ? await exchangeToken(url, service, known.identityToken, request)
      : await askForToken(url, service, known, request);
  if (status !== 200) {
    throw new BoxError(
      "registry-unauthorized",
      `Cannot get a token for ${quote(registry.host)}: ${quote(url.host)} answers ${status}`,
      { hint: status === 401 || status === 403 ? hintFor(credentials, known) : undefined },
    );
  }
  const token = readToken(body);
  if (token === undefined) {
    throw new BoxError(
      "registry-unauthorized",
      `Cannot get a token for ${quote(registry.host)}: ${quote(url.host)} does not answer with one`,
    );
  }
  return {
    authorization: `Bearer ${token.value}`,
    expires: Date.now() + Math.max(token.seconds - 5, 1) * 1000,
    isAnonymous: known === undefined,
  };
}

/** Says why a token service knows nobody, where that is our doing. */
function hintFor(credentials: Credentials | undefined, known: Credentials | undefined): string {
  if (credentials !== undefined && known === undefined) {
    return WITHHELD;
  }
  return credentials === undefined
    ? 'Log in with "bb login"'
    : 'The password is not accepted: log in again with "bb login"';
}

function askForToken(
  realm: URL,
  service: string | undefined,
  known: Password | undefined,
  { scopes, settings }: TokenRequest,
): ReturnType<typeof sendAndRead> {
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set("service", service);
  // Ours, never the challenge's: it may not borrow our name for another repository.
  url.searchParams.delete("scope");
  for (const scope of scopes) url.searchParams.append("scope", scope);
  if (known !== undefined) url.searchParams.set("account", known.username);
  return sendAndRead({ url, authorization: known && basic(known) }, TOKEN_ANSWER_MAX, settings);
}

/** @see https://distribution.github.io/distribution/spec/auth/oauth/ */
function exchangeToken(
  url: URL,
  service: string | undefined,
  identityToken: string,
  { scopes, settings }: TokenRequest,
): ReturnType<typeof sendAndRead> {
  const form = new URLSearchParams({
    grant_type: "refresh_token",
    refresh_token: identityToken,
    client_id: "bantubox",
  });
  if (service !== undefined) form.set("service", service);
  if (scopes.length > 0) form.set("scope", scopes.join(" "));
  const headers = { "Content-Type": "application/x-www-form-urlencoded" };
  const body = new TextEncoder().encode(form.toString());
  // What is in the body goes nowhere else: no redirect is followed with it.
  return sendAndRead({ url, method: "POST", headers, body, isSecret: true }, TOKEN_ANSWER_MAX, settings);
}

function readToken(body: Uint8Array): { value: string; seconds: number } | undefined {
  let answer: unknown;
  try {
    answer = JSON.parse(new TextDecoder().decode(body));
  } catch {
    return undefined;
  }
  if (typeof answer !== "object" || answer === null) return undefined;
  const { token, access_token, expires_in } = answer as Record<string, unknown>;
  const value = typeof token === "string" && token !== "" ? token : access_token;
  // Anything else could smuggle a second header line into our requests.
  if (typeof value !== "string" || !/^[\x21-\x7e]+$/.test(value)) return undefined;
  const seconds = typeof expires_in === "number" && expires_in >= 1 && expires_in < 1e7 ? expires_in : TOKEN_LIFE_S;
  return { value, seconds };
}
