import { BoxError } from "@bantubox/ffi";
import { type Digest, quote, sha256 } from "../document/digest.ts";
import { type Descriptor, OCI_CONFIG, OCI_MANIFEST, parseConfig } from "../document/manifest.ts";
import { formatPlatform, type Platform } from "../document/platform.ts";
import { formatReference, parseReference, repositoryName } from "../document/reference.ts";
import { writeBlob } from "../store/blobs.ts";
import type { NewImage, NewName } from "../store/record.ts";
import type { ImageStore, RunConfig } from "../store/store.ts";

/** How one step of an image came to be; `isEmpty` for one that changed no files. */
export interface HistoryEntry {
  /** RFC 3339. */
  readonly created?: string | undefined;
  readonly createdBy?: string | undefined;
  readonly author?: string | undefined;
  readonly comment?: string | undefined;
  readonly isEmpty?: boolean | undefined;
}

/** What an image that is made here consists of. */
export interface ImageParts {
  readonly platform: Platform;
  /** RFC 3339. */
  readonly created: string;
  readonly author?: string | undefined;
  readonly config: RunConfig;
  /** From bottom to top. */
  readonly layers: readonly { readonly descriptor: Descriptor; readonly diffId: Digest }[];
  readonly history: readonly HistoryEntry[];
}

/**
 * Writes the config and the manifest of an image that is made here, as the OCI has them: the same parts are the same
 * image. To be called before its layers are committed; what it returns is for `recordImage`, afterwards.
 */
export function writeDocuments(store: ImageStore, parts: ImageParts): NewImage {
  const config = encodeConfig(parts);
  const manifest = encode({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: OCI_CONFIG, digest: sha256(config), size: config.length },
    layers: parts.layers.map(({ descriptor: { mediaType, digest, size } }) => ({ mediaType, digest, size })),
  });
  for (const bytes of [config, manifest]) writeBlob(store, sha256(bytes), bytes);
  // Read back, so that an image means the same here as everywhere else.
  const document = parseConfig(config, parts.layers.length);
  return {
    id: sha256(config),
    kind: "local",
    manifest: sha256(manifest),
    platform: formatPlatform(document.platform),
    created: document.created ?? "",
    config: document.config,
    diffIds: document.diffIds,
    blobs: [sha256(config), sha256(manifest), ...parts.layers.map(({ descriptor }) => descriptor.digest)],
  };
}

/**
 * The full form of a name that somebody gives to an image here.
 *
 * @throws {BoxError} `reference-invalid`, also for `host` and for names with a digest.
 */
export function parseNewName(text: string): { readonly name: string; readonly repository: string } {
  const reference = parseReference(text);
  if (text === "host" || reference.digest !== undefined) {
    const why = text === "host" ? "that name is built in" : "a digest comes from what the image is";
    throw new BoxError("reference-invalid", `Cannot name an image ${quote(text)}: ${why}`, {
      hint: "Choose another name",
    });
  }
  return { name: formatReference(reference), repository: repositoryName(reference) };
}

/** The name's row for an image that was made here. */
export function nameRow(name: ReturnType<typeof parseNewName>, { manifest, platform }: NewImage): NewName {
  return { ...name, digest: manifest, requested: platform };
}

/** The config as the OCI has it, in its order of names; what is empty is left out. */
function encodeConfig({ platform, created, author, config, layers, history }: ImageParts): Uint8Array {
  const check = config.healthcheck;
  return encode({
    created,
    author: author || undefined,
    architecture: platform.architecture,
    variant: platform.variant,
    os: platform.os,
    config: {
      User: config.user || undefined,
      ExposedPorts: asSet(config.exposedPorts),
      Env: unlessEmpty(config.env),
      Entrypoint: unlessEmpty(config.entrypoint),
      Cmd: unlessEmpty(config.cmd),
      Volumes: asSet(config.volumes),
      WorkingDir: config.workdir || undefined,
      Labels: config.labels.length === 0 ? undefined : Object.fromEntries(config.labels),
      StopSignal: config.stopSignal || undefined,
      Healthcheck: check && {
        Test: unlessEmpty(check.test),
        Interval: check.intervalNs || undefined,
        Timeout: check.timeoutNs || undefined,
        StartPeriod: check.startPeriodNs || undefined,
        StartInterval: check.startIntervalNs || undefined,
        Retries: check.retries || undefined,
      },
      Shell: unlessEmpty(config.shell),
      OnBuild: unlessEmpty(config.onBuild),
    },
    rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
    history: history.map((entry) => ({
      created: entry.created,
      created_by: entry.createdBy || undefined,
      author: entry.author || undefined,
      comment: entry.comment || undefined,
      empty_layer: entry.isEmpty || undefined,
    })),
  });
}

function encode(document: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(document));
}

function unlessEmpty(list: readonly string[]): readonly string[] | undefined {
  return list.length === 0 ? undefined : list;
}

function asSet(list: readonly string[]): object | undefined {
  return list.length === 0 ? undefined : Object.fromEntries([...list].sort().map((key) => [key, {}]));
}
