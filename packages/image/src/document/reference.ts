import { BoxError } from "@bantubox/ffi";
import { quote } from "./digest.ts";

const DEFAULT_DOMAIN = "docker.io";
const DEFAULT_TAG = "latest";
/** Longest path of a repository, as registries enforce it. */
const PATH_MAX = 255;
/** A host name cannot be longer; also keeps the work on hostile input small. */
const DOMAIN_MAX = 263;

const LABEL = /^[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?$/;
const IPV6 = /^\[[a-fA-F0-9:]+\]$/;
const PORT = /^[0-9]+$/;
const PATH_COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}$/;
const DIGEST_HEX: Readonly<Record<string, RegExp>> = {
  sha256: /^[a-f0-9]{64}$/,
  sha384: /^[a-f0-9]{96}$/,
  sha512: /^[a-f0-9]{128}$/,
};
const IDENTIFIER = /^[a-f0-9]{64}$/;

/** What names an image: `domain/path:tag@digest`, with the domain always spelt out. */
export interface Reference {
  readonly domain: string;
  readonly path: string;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
}

/**
 * Reads an image's name the way Docker does: `alpine` is docker.io/library/alpine, and what stands
 * before the first slash is a registry when it has a dot, a colon or a capital, or is `localhost`.
 *
 * @throws {BoxError} `reference-invalid`
 * @see https://github.com/distribution/reference
 */
export function parseReference(text: string): Reference {
  if (IDENTIFIER.test(text)) throw invalid(text, "64 hexadecimal digits are an image's ID");
  const at = text.indexOf("@");
  const digest = at < 0 ? undefined : text.slice(at + 1);
  if (digest !== undefined) checkDigest(text, digest);
  const named = at < 0 ? text : text.slice(0, at);

  const slash = named.indexOf("/");
  const head = slash < 0 ? "" : named.slice(0, slash);
  const hasDomain = slash >= 0 && (head === "localhost" || /[.:]/.test(head) || head.toLowerCase() !== head);
  const domain = !hasDomain || head === "index.docker.io" ? DEFAULT_DOMAIN : head;
  const rest = hasDomain ? named.slice(slash + 1) : named;

  const colon = rest.lastIndexOf(":");
  const hasTag = colon > rest.lastIndexOf("/");
  const tag = hasTag ? rest.slice(colon + 1) : undefined;
  let path = hasTag ? rest.slice(0, colon) : rest;

  if (tag !== undefined && !TAG.test(tag)) throw invalid(text, `${quote(tag)} is not a tag`);
  if (path === "") throw invalid(text, "it names no repository");
  if (domain === DEFAULT_DOMAIN && !path.includes("/")) path = `library/${path}`;
  if (path.length > PATH_MAX) throw invalid(text, `it is longer than ${PATH_MAX} characters`);
  if (domain !== DEFAULT_DOMAIN) checkDomain(text, domain);
  for (const component of path.split("/")) {
    if (PATH_COMPONENT.test(component)) continue;
    const why = /[A-Z]/.test(component)
      ? "repositories are written in lower case"
      : `${quote(component)} is not a name`;
    throw invalid(text, why);
  }
  return { domain, path, tag, digest };
}

/** The full form, which is also the name that the store keeps. A digest makes the tag meaningless, so it is left out. */
export function formatReference({ domain, path, tag, digest }: Reference): string {
  if (digest !== undefined) return `${domain}/${path}@${digest}`;
  return `${domain}/${path}:${tag ?? DEFAULT_TAG}`;
}

/** `domain/path`. */
export function repositoryName({ domain, path }: Reference): string {
  return `${domain}/${path}`;
}

/**
 * A full name as a person writes it: `docker.io/library/alpine:latest` is `alpine:latest`. One that would mean another
 * registry without its own stays as it is: `docker.io/quay.io/app` is not quay.io's.
 */
export function familiarName(full: string): string {
  if (!full.startsWith("docker.io/")) return full;
  const rest = full.slice("docker.io/".length);
  if (/^(?:localhost|[^/]*\.[^/]*)\//.test(rest)) return full;
  if (!rest.startsWith("library/")) return rest;
  const short = rest.slice("library/".length);
  return short.includes("/") ? rest : short;
}

function checkDigest(text: string, digest: string): void {
  const colon = digest.indexOf(":");
  const algorithm = digest.slice(0, Math.max(colon, 0));
  const hex = Object.hasOwn(DIGEST_HEX, algorithm) ? DIGEST_HEX[algorithm] : undefined;
  if (hex?.test(digest.slice(colon + 1)) !== true) throw invalid(text, `${quote(digest)} is not a digest`);
}

function checkDomain(text: string, domain: string): void {
  const why = `${quote(domain)} is not a registry's address`;
  if (domain.length > DOMAIN_MAX) throw invalid(text, why);
  const port = /:([^:\]]*)$/.exec(domain);
  const host = port === null ? domain : domain.slice(0, port.index);
  if (port !== null && !PORT.test(port[1] ?? "")) throw invalid(text, why);
  if (host.startsWith("[")) {
    if (!IPV6.test(host)) throw invalid(text, why);
  } else if (!host.split(".").every((label) => LABEL.test(label))) {
    throw invalid(text, why);
  }
}

function invalid(text: string, why: string): BoxError {
  return new BoxError("reference-invalid", `Cannot read image name ${quote(text)}: ${why}`, {
    hint: "Write it as [REGISTRY[:PORT]/]NAME[:TAG][@sha256:DIGEST]",
  });
}
