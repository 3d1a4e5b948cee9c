import { statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { resolve } from "node:path";
import { BoxError, isErrno } from "@bantubox/ffi";
import { archiveTree } from "./archive.ts";
import { writeBlob } from "./blobs.ts";
import { commitLayers, makeLayerDirectory } from "./commit.ts";
import { copyTree } from "./copy.ts";
import { type Digest, quote, sha256 } from "./digest.ts";
import { lockForWriting } from "./garbage.ts";
import { OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, parseConfig } from "./manifest.ts";
import { formatPlatform, hostPlatform, parsePlatform } from "./platform.ts";
import { formatReference, parseReference, repositoryName } from "./reference.ts";
import { getImage, hasLayer, type Image, type ImageStore, type RunConfig, recordImage } from "./store.ts";

export interface InitOptions extends Partial<Omit<RunConfig, "healthcheck">> {
  /** What the files are made for; the host's platform when absent. */
  readonly platform?: string | undefined;
  /** RFC 3339; now when absent. The same tree with the same time and settings is the same image. */
  readonly created?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Bytes of files copied so far. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/**
 * Makes an image of one layer from a directory.
 *
 * The files are copied (shared, where the file system can). The layer's blob is an uncompressed tar that
 * is not stored, since `archiveLayer` makes the same bytes again at any time.
 *
 * @throws {BoxError} `no-such-directory`, `reference-invalid`, `init-whiteout`
 */
export async function initImage(
  store: ImageStore,
  directory: string,
  name: string,
  options: InitOptions = {},
): Promise<Image> {
  const reference = parseReference(name);
  if (name === "host" || reference.digest !== undefined) {
    const why = name === "host" ? "that name is built in" : "a digest comes from what the image is";
    throw new BoxError("reference-invalid", `Cannot name an image ${quote(name)}: ${why}`, {
      hint: "Choose another name",
    });
  }
  const source = resolve(directory);
  if (!isDirectory(source)) {
    throw new BoxError("no-such-directory", `Cannot make an image of ${quote(directory)}: it is not a directory`);
  }
  const full = formatReference(reference);
  const { signal, onProgress } = options;
  using _writing = await lockForWriting(store, signal);
  const target = makeLayerDirectory(store);
  try {
    await copyTree(source, target, { asLayer: true, exclude: store.root, signal, onProgress });
    const layer = await measureArchive(target, signal);
    const platform = options.platform === undefined ? hostPlatform() : parsePlatform(options.platform);
    const configBytes = toConfig(layer.digest, platform, options);
    const config = parseConfig(configBytes, 1);
    const id = sha256(configBytes);
    const manifestBytes = encode({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: { mediaType: OCI_CONFIG, digest: id, size: configBytes.length },
      layers: [{ mediaType: OCI_LAYER, digest: layer.digest, size: layer.size }],
    });
    const manifest = sha256(manifestBytes);
    writeBlob(store, id, configBytes);
    writeBlob(store, manifest, manifestBytes);
    const prepared = { diffId: layer.digest, bytes: layer.size, directory: target, isRootOpaque: false };
    commitLayers(store, hasLayer(store, layer.digest) ? [] : [prepared]);
    recordImage(
      store,
      {
        id,
        kind: "local",
        manifest,
        platform: formatPlatform(platform),
        created: config.created ?? "",
        config: config.config,
        diffIds: [layer.digest],
        blobs: [id, manifest, layer.digest],
      },
      { name: full, repository: repositoryName(reference), digest: manifest, requested: formatPlatform(platform) },
    );
  } finally {
    await rm(target, { recursive: true, force: true });
  }
  return getImage(store, full);
}

async function measureArchive(
  directory: string,
  signal: AbortSignal | undefined,
): Promise<{ digest: Digest; size: number }> {
  const hash = new Bun.CryptoHasher("sha256");
  let size = 0;
  for await (const chunk of archiveTree(directory)) {
    signal?.throwIfAborted();
    hash.update(chunk);
    size += chunk.length;
  }
  return { digest: `sha256:${hash.digest("hex")}`, size };
}

/** The config as the OCI has it, in its order of names; what is empty is left out. */
function toConfig(diffId: Digest, platform: ReturnType<typeof hostPlatform>, options: InitOptions): Uint8Array {
  const created = options.created ?? new Date().toISOString();
  return encode({
    created,
    architecture: platform.architecture,
    variant: platform.variant,
    os: platform.os,
    config: {
      User: options.user || undefined,
      ExposedPorts: asSet(options.exposedPorts),
      Env: unlessEmpty(options.env),
      Entrypoint: unlessEmpty(options.entrypoint),
      Cmd: unlessEmpty(options.cmd),
      Volumes: asSet(options.volumes),
      WorkingDir: options.workdir || undefined,
      Labels:
        options.labels === undefined || options.labels.length === 0 ? undefined : Object.fromEntries(options.labels),
      StopSignal: options.stopSignal || undefined,
      Shell: unlessEmpty(options.shell),
      OnBuild: unlessEmpty(options.onBuild),
    },
    rootfs: { type: "layers", diff_ids: [diffId] },
    history: [{ created, created_by: "bantubox init" }],
  });
}

function encode(document: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(document));
}

function unlessEmpty(list: readonly string[] | undefined): readonly string[] | undefined {
  return list === undefined || list.length === 0 ? undefined : list;
}

function asSet(list: readonly string[] | undefined): object | undefined {
  return list === undefined || list.length === 0
    ? undefined
    : Object.fromEntries([...list].sort().map((key) => [key, {}]));
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return false;
    throw error;
  }
}
