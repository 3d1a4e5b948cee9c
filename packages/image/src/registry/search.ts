import { BoxError } from "@bantubox/ffi";
import * as z from "zod/mini";
import { quote } from "../document/digest.ts";
import { DOCUMENT_MAX } from "../document/manifest.ts";
import { parseReference } from "../document/reference.ts";
import { ownEndpoint, type RegistryOptions } from "./endpoint.ts";
import { sendAndRead } from "./http.ts";
import { readPages } from "./pages.ts";
import { refusal } from "./refusal.ts";
import { openSession, type Session } from "./session.ts";

/** The search is not where Docker Hub's images are. */
const HUB_SEARCH = new URL("https://index.docker.io");
const LIMIT_MAX = 100;
const REPOSITORIES_MAX = 100_000;

export interface SearchOptions extends RegistryOptions {
  /** 25 when absent, 100 at most. */
  readonly limit?: number | undefined;
}

export interface FoundImage {
  /** As it is pulled: `nginx`, `registry.example.org/team/app`. */
  readonly name: string;
  readonly description: string;
  readonly stars: number;
  readonly isOfficial: boolean;
}

const answerSchema = z.object({
  results: z.array(
    z.object({
      name: z.string(),
      description: z.nullish(z.string()),
      star_count: z.nullish(z.number()),
      is_official: z.nullish(z.boolean()),
    }),
  ),
});

/**
 * Looks for images by name: on Docker Hub, or in the registry before the first slash of `term`. A registry without a
 * search is asked for the list of all that it has.
 *
 * @throws {BoxError} `search-invalid`, `registry-…`
 */
export async function searchImages(term: string, options: SearchOptions = {}): Promise<FoundImage[]> {
  const { limit = 25 } = options;
  if (!Number.isInteger(limit) || limit < 1 || limit > LIMIT_MAX) {
    throw new BoxError("search-invalid", `Cannot search for ${limit} images: it must be 1 to ${LIMIT_MAX}`);
  }
  const { domain, text } = splitTerm(term);
  const session = openSession(ownEndpoint(domain, options), options);
  const found = await askSearch(session, text, limit);
  if (found !== undefined) return found.map((image) => ({ ...image, name: qualified(domain, image.name) }));
  const names = await listCatalog(session);
  return names
    .filter((name) => name.includes(text))
    .slice(0, limit)
    .map((name) => ({ name: qualified(domain, name), description: "", stars: 0, isOfficial: false }));
}

/** `registry.example.org/app` into its parts. A term alone may hold anything that people type. */
function splitTerm(term: string): { domain: string; text: string } {
  const slash = term.indexOf("/");
  const head = slash < 0 ? "" : term.slice(0, slash);
  if (/[.:]/.test(head) || head === "localhost") {
    const { domain } = parseReference(`${head}/x`);
    return { domain, text: term.slice(slash + 1) };
  }
  if (term === "") throw new BoxError("search-invalid", "Cannot search for nothing: the term is empty");
  return { domain: "docker.io", text: term };
}

function qualified(domain: string, name: string): string {
  return domain === "docker.io" ? name : `${domain}/${name}`;
}

/** Asks what Docker calls the index. @returns undefined when the registry has none. */
async function askSearch(session: Session, text: string, limit: number): Promise<FoundImage[] | undefined> {
  const { domain, settings } = session.endpoint;
  const url = new URL("/v1/search", domain === "docker.io" ? HUB_SEARCH : await session.base());
  url.searchParams.set("q", text);
  url.searchParams.set("n", String(limit));
  const { status, headers, body } = await session.ask(url, [], (target, authorization) =>
    sendAndRead({ url: target, authorization }, DOCUMENT_MAX, settings),
  );
  // Some answer everything that they do not know with a web page.
  const isJson = /^application\/(?:[a-z.+-]*\+)?json\b/i.test(headers.get("content-type") ?? "");
  if (domain !== "docker.io" && (status !== 200 || !isJson)) return undefined;
  if (status !== 200) {
    throw new BoxError("registry-error", `Cannot search ${quote(domain)}: it answers ${status}`, {
      hint: status === 429 ? "Wait a while" : undefined,
    });
  }
  const answer = z.safeParse(answerSchema, parseJson(body));
  if (!answer.success) throw new BoxError("registry-answer-invalid", `Cannot read what ${quote(domain)} has found`);
  return answer.data.results.slice(0, limit).map((image) => ({
    name: image.name,
    description: image.description ?? "",
    stars: image.star_count ?? 0,
    isOfficial: image.is_official ?? false,
  }));
}

function listCatalog(session: Session): Promise<string[]> {
  const { domain } = session.endpoint;
  return readPages(session, {
    first: "_catalog?n=1000",
    scopes: ["registry:catalog:*"],
    field: "repositories",
    max: REPOSITORIES_MAX,
    refuse: (status, body) => {
      if (status !== 404)
        return refusal({ verb: "search", reference: { domain, path: "" }, what: undefined, status, body });
      return new BoxError("search-unsupported", `Cannot search ${quote(domain)}: the registry does not offer it`);
    },
  });
}

function parseJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch {
    return undefined;
  }
}
