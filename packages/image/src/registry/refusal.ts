import { BoxError } from "@bantubox/ffi";
import { isDigest, quote } from "../document/digest.ts";
import type { Reference } from "../document/reference.ts";

export interface Refusal {
  /** What was attempted: `pull`. */
  readonly verb: string;
  readonly reference: Pick<Reference, "domain" | "path">;
  /** The tag or digest; undefined when it was about the repository. */
  readonly what: string | undefined;
  readonly status: number;
  readonly body: Uint8Array;
}

/** What a status means to the one who asked. The registry's own words come along, quoted. */
export function refusal({ verb, reference: { domain, path }, what, status, body }: Refusal): BoxError {
  const target = what === undefined ? "" : isDigest(what) ? `@${what}` : `:${what}`;
  const name = quote(path === "" ? domain : `${domain}/${path}${target}`);
  const said = registryMessage(body);
  const words = said === undefined ? "" : ` (${said})`;
  const refused = (code: string, why: string, hint?: string) =>
    new BoxError(code, `Cannot ${verb} ${name}: the registry ${why}${words}`, { hint });
  const loginCommand = `bb login${domain === "docker.io" ? "" : ` ${domain}`}`;
  switch (status) {
    case 401:
    case 403:
      return refused(
        "registry-unauthorized",
        "denies access",
        verb === "push"
          ? `Log in with "${loginCommand}", and check that you may push there`
          : `Check the name (a registry also answers so for images that do not exist), or log in with "${loginCommand}"`,
      );
    case 404:
      return refused("registry-image-missing", "does not have it", "Check the name and the tag");
    case 429:
      return refused(
        "registry-busy",
        "allows no more requests now",
        "Wait a while, or use credentials: many registries allow more to those",
      );
    default:
      return refused("registry-error", `answers ${status}`);
  }
}

/** The first message of an error document, quoted. */
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
