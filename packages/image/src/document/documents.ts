import { BoxError } from "@bantubox/ffi";
import type { Repository } from "../registry/registry.ts";
import { type Digest, quote, sha256 } from "./digest.ts";
import { type Descriptor, DOCUMENT_MAX, type Index, type Manifest, parseManifest, selectPlatform } from "./manifest.ts";
import type { Platform } from "./platform.ts";

/** An index may list indexes; none that anybody makes goes deeper. */
const INDEX_DEPTH = 3;

/** All that says what an image is, verified. */
export interface Documents {
  /** Of what the name stands for. */
  readonly digest: Digest;
  readonly manifestDigest: Digest;
  readonly manifest: Manifest;
  readonly config: Uint8Array;
  /** Index, manifest and config as they were sent. */
  readonly blobs: readonly { readonly digest: Digest; readonly bytes: Uint8Array }[];
}

/**
 * Asks what a name stands for: its manifest, through indexes down to the platform's own, and its config.
 *
 * @param name As the user wrote it, for messages.
 */
export async function fetchDocuments(
  repository: Repository,
  target: string,
  wanted: Platform,
  name: string,
): Promise<Documents> {
  const root = await repository.manifest(target);
  const blobs: { digest: Digest; bytes: Uint8Array }[] = [root];
  let digest = root.digest;
  let document: Manifest | Index = parseManifest(root.bytes, root.contentType);
  for (let depth = 0; document.kind === "index"; depth++) {
    if (depth === INDEX_DEPTH) {
      throw new BoxError("manifest-invalid", `Cannot pull ${quote(name)}: its indexes are nested too deep`);
    }
    const entry: Descriptor = selectPlatform(document, wanted, name);
    const next = await repository.manifest(entry.digest);
    checkSize(entry, next.bytes.length);
    // The index vouches for the type: a registry that calls it something else contradicts itself.
    const type = /^application\/(?:octet-stream|json)?$|^$|^text\/plain$/.test(next.contentType)
      ? entry.mediaType
      : next.contentType;
    if (type !== entry.mediaType) {
      throw new BoxError(
        "manifest-invalid",
        `Cannot use the image's manifest: its index calls it ${quote(entry.mediaType)}, the registry ${quote(type)}`,
      );
    }
    document = parseManifest(next.bytes, type);
    digest = next.digest;
    blobs.push(next);
  }
  const { config } = document;
  if (config.size > DOCUMENT_MAX) {
    throw new BoxError("config-invalid", `Cannot use the image's config: it is larger than ${DOCUMENT_MAX} bytes`);
  }
  const answer = await repository.blob(config.digest, 0);
  const bytes = await answer.read(config.size);
  checkSize(config, bytes.length);
  if (sha256(bytes) !== config.digest) {
    throw new BoxError("blob-corrupt", `Cannot use blob ${config.digest}: its bytes have the digest ${sha256(bytes)}`);
  }
  blobs.push({ digest: config.digest, bytes });
  return { digest: root.digest, manifestDigest: digest, manifest: document, config: bytes, blobs };
}

function checkSize({ digest, size }: Descriptor, length: number): void {
  if (length === size) return;
  throw new BoxError("blob-corrupt", `Cannot use blob ${digest}: it has ${length} bytes instead of ${size}`);
}
