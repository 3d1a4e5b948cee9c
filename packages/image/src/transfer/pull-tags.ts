import { BoxError } from "@bantubox/ffi";
import { quote } from "../document/digest.ts";
import { parseReference, repositoryName } from "../document/reference.ts";
import { openRepository } from "../registry/registry.ts";
import type { ImageStore } from "../store/store.ts";
import { type PullOptions, type PullResult, pullImage } from "./pull.ts";

/** What tags of a repository may be besides images for this host: charts, signatures, images for others. */
const NOT_OURS = new Set(["manifest-invalid", "platform-missing"]);

export interface PulledTags {
  readonly pulled: readonly PullResult[];
  /** Names of what is no image that can be used here, and why. */
  readonly skipped: readonly { readonly name: string; readonly reason: BoxError }[];
}

/**
 * Brings every tag of a repository, one after the other.
 *
 * @throws {BoxError} As `pullImage`; `registry-image-missing` also when there is not one image among the tags.
 */
export async function pullAllTags(store: ImageStore, text: string, options: PullOptions = {}): Promise<PulledTags> {
  const reference = parseReference(text);
  if (reference.tag !== undefined || reference.digest !== undefined) {
    throw new BoxError("reference-invalid", `Cannot pull all tags of ${quote(text)}: it names one itself`, {
      hint: "Leave the tag out",
    });
  }
  const repository = openRepository(reference, options);
  const pulled: PullResult[] = [];
  const skipped: { name: string; reason: BoxError }[] = [];
  for (const tag of await repository.tags()) {
    const name = `${repositoryName(reference)}:${tag}`;
    try {
      pulled.push(await pullImage(store, name, options, repository));
    } catch (error) {
      if (!(error instanceof BoxError) || !NOT_OURS.has(error.code)) throw error;
      skipped.push({ name, reason: error });
    }
  }
  if (pulled.length > 0) return { pulled, skipped };
  throw new BoxError(
    "registry-image-missing",
    `Cannot pull all tags of ${quote(text)}: it has no image for this host`,
    {
      cause: skipped[0]?.reason,
    },
  );
}
