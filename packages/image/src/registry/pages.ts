import { BoxError } from "@bantubox/ffi";
import { quote } from "../document/digest.ts";
import { sendAndRead } from "./http.ts";
import { parseNextLink } from "./link-header.ts";
import type { Session } from "./session.ts";

const PAGE_MAX = 4 << 20;
const PAGES_MAX = 1000;

export interface Pages {
  /** Below `/v2/`. */
  readonly first: string;
  readonly scopes: readonly string[];
  /** The name of the list in each answer. */
  readonly field: string;
  /** How many items are taken at most. */
  readonly max: number;
  /** The error for a status that is not 200. */
  readonly refuse: (status: number, body: Uint8Array) => BoxError;
}

/**
 * Reads a list that a registry gives page by page. Where the next one is, the registry says in a `Link` header, of
 * which only path and query count: whatever host it names, it is this registry that is asked.
 *
 * @throws {BoxError} `registry-answer-invalid`
 */
export async function readPages(session: Session, { first, scopes, field, max, refuse }: Pages): Promise<string[]> {
  const { settings, domain } = session.endpoint;
  const invalid = (why: string) =>
    new BoxError("registry-answer-invalid", `Cannot read the list of ${field} of ${quote(domain)}: ${why}`);
  const registry = await session.base();
  const items: string[] = [];
  let url = new URL(`/v2/${first}`, registry);
  for (let page = 0; page < PAGES_MAX; page++) {
    const { status, headers, body } = await session.ask(url, scopes, (target, authorization) =>
      sendAndRead({ url: target, authorization }, PAGE_MAX, settings),
    );
    if (status !== 200) throw refuse(status, body);
    const found = readList(body, field);
    if (found === undefined) throw invalid("it is not what the specification says");
    // First: what a call takes as arguments has a limit, too.
    if (items.length + found.length > max) throw invalid(`it has more than ${max} entries`);
    items.push(...found);
    const next = parseNextLink(headers.get("link"));
    if (next === undefined) return items;
    if (!URL.canParse(next, url.href)) throw invalid(`its next page ${quote(next)} is no address`);
    const { pathname, search } = new URL(next, url);
    if (pathname === url.pathname && search === url.search) throw invalid("its next page is itself");
    url = new URL(registry);
    // Set one by one: a path may begin with two slashes, and then it would be read as a host.
    url.pathname = pathname;
    url.search = search;
  }
  throw invalid(`it has more than ${PAGES_MAX} pages`);
}

/** A list of text; what Go leaves empty is null. */
function readList(body: Uint8Array, field: string): string[] | undefined {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder().decode(body));
  } catch {
    return undefined;
  }
  if (typeof document !== "object" || document === null) return undefined;
  const list = (document as Record<string, unknown>)[field] ?? [];
  return Array.isArray(list) && list.every((item) => typeof item === "string") ? list : undefined;
}
