import { BoxError } from "@bantubox/ffi";
import { type Digest, quote } from "../document/digest.ts";
import { parseManifest } from "../document/manifest.ts";
import type { Platform } from "../document/platform.ts";
import { formatReference, parseReference } from "../document/reference.ts";
import { type ManifestBytes, openRepository, type RegistryOptions, type Repository } from "./registry.ts";

/** What an index of attestations and other things may list beside platforms is left out past this. */
const ENTRIES_MAX = 100;

export interface InspectedManifest {
  /** `docker.io/library/alpine@sha256:…` */
  readonly reference: string;
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  /** What the index says it is for; undefined outside of one. */
  readonly platform: Platform | undefined;
  /** As it was sent. */
  readonly bytes: Uint8Array;
}

/**
 * What a name stands for in its registry: the manifest or index, as it is. Nothing is kept.
 *
 * @param options.verbose Of an index all that it lists, too: what it lists and not itself.
 * @throws {BoxError} `reference-invalid`, `registry-…`, `manifest-invalid`
 */
export async function inspectManifest(
  text: string,
  options: RegistryOptions & { readonly verbose?: boolean | undefined } = {},
): Promise<InspectedManifest[]> {
  const reference = parseReference(text);
  const repository = openRepository(reference, options, "show");
  const root = await repository.manifest(reference.digest ?? reference.tag ?? "latest");
  const name = (digest: Digest) => formatReference({ ...reference, digest });
  const document = readDocument(root);
  if (document === undefined || !options.verbose) return [describe(root, name(root.digest), undefined)];
  if (document.length > ENTRIES_MAX) {
    throw new BoxError("manifest-invalid", `Cannot show ${quote(text)}: it lists more than ${ENTRIES_MAX} manifests`);
  }
  return await Promise.all(document.map((entry) => getEntry(repository, entry, name(entry.digest))));
}

interface Entry {
  readonly digest: Digest;
  readonly platform: Platform | undefined;
}

/** What an index lists; undefined for whatever is none. */
function readDocument({ bytes, contentType }: ManifestBytes): readonly Entry[] | undefined {
  try {
    const document = parseManifest(bytes, contentType);
    return document.kind === "index" ? document.manifests : undefined;
  } catch (error) {
    // Manifests of things that are no images can be looked at as well, as long as they are JSON.
    if (error instanceof BoxError && isJson(bytes)) return undefined;
    throw error;
  }
}

async function getEntry(repository: Repository, { digest, platform }: Entry, name: string): Promise<InspectedManifest> {
  return describe(await repository.manifest(digest), name, platform);
}

function describe(
  { bytes, digest, contentType }: ManifestBytes,
  reference: string,
  platform: Platform | undefined,
): InspectedManifest {
  return {
    reference,
    mediaType: contentType,
    digest,
    size: bytes.length,
    platform,
    bytes,
  };
}

function isJson(bytes: Uint8Array): boolean {
  try {
    JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return true;
  } catch {
    return false;
  }
}
