import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { digestHex, sha256 } from "../document/digest.ts";
import { OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST } from "../document/manifest.ts";
import { hostPlatform } from "../document/platform.ts";
import { encode } from "../registry/registry-fixture.ts";
import { type FixtureEntry, tarOf } from "../tar/tar-fixture.ts";

/** Files of an archive by name, in their order. */
export type Files = Map<string, Uint8Array>;

export interface FixtureImage {
  readonly layers: readonly Uint8Array[];
  readonly config?: object;
  readonly platform?: object;
  readonly compress?: "gzip" | "zstd";
}

export function configOf({ layers, config = {}, platform = hostPlatform() }: FixtureImage): Uint8Array {
  return encode({ ...platform, config, rootfs: { type: "layers", diff_ids: layers.map(sha256) } });
}

export function blobName(bytes: Uint8Array): string {
  return `blobs/sha256/${digestHex(sha256(bytes))}`;
}

function layerBlobs({ layers, compress }: FixtureImage): Uint8Array[] {
  return layers.map((layer) => {
    if (compress === "gzip") return Bun.gzipSync(Buffer.from(layer));
    return compress === "zstd" ? Bun.zstdCompressSync(layer) : layer;
  });
}

/** Puts an image's blobs into a layout. @returns Its descriptor. */
export function addImage(files: Files, image: FixtureImage) {
  const config = configOf(image);
  const layers = layerBlobs(image);
  const mediaType = image.compress === undefined ? OCI_LAYER : `${OCI_LAYER}+${image.compress}`;
  const manifest = encode({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: OCI_CONFIG, digest: sha256(config), size: config.length },
    layers: layers.map((layer) => ({ mediaType, digest: sha256(layer), size: layer.length })),
  });
  for (const bytes of [manifest, config, ...layers]) files.set(blobName(bytes), bytes);
  return { mediaType: OCI_MANIFEST, digest: sha256(manifest), size: manifest.length };
}

/** An OCI layout of one image. */
export function layoutFiles(image: FixtureImage, name?: string): Files {
  const files: Files = new Map();
  const descriptor = addImage(files, image);
  return withIndex(files, [{ ...descriptor, ...named(name) }]);
}

export function named(name: string | undefined): object {
  return name === undefined ? {} : { annotations: { "io.containerd.image.name": name } };
}

export function withIndex(files: Files, manifests: readonly object[]): Files {
  files.set("oci-layout", encode({ imageLayoutVersion: "1.0.0" }));
  files.set("index.json", encode({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }));
  return files;
}

/** A docker-archive of one image, as docker wrote them before version 25. */
export function dockerFiles(image: FixtureImage, tags: readonly string[] | null = null): Files {
  const config = configOf(image);
  const files: Files = new Map();
  const id = digestHex(sha256(config));
  files.set(`${id}.json`, config);
  for (const [at, layer] of layerBlobs(image).entries()) files.set(`layer${at}/layer.tar`, layer);
  const Layers = image.layers.map((_, at) => `layer${at}/layer.tar`);
  files.set("manifest.json", encode([{ Config: `${id}.json`, RepoTags: tags, Layers }]));
  return files;
}

export function tarFiles(files: Files, more: readonly FixtureEntry[] = []): Buffer {
  return tarOf(...[...files].map(([name, data]) => ({ name, data: Buffer.from(data) })), ...more);
}

/** Where archives of one test lie; gone at its end. */
export class Place implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "bantubox-archive-"));

  /** @returns The file's path. */
  file(name: string, bytes: Uint8Array): string {
    writeFileSync(join(this.path, name), bytes);
    return join(this.path, name);
  }

  /** @returns The directory's path. */
  directory(name: string, files: Files): string {
    for (const [file, bytes] of files) {
      mkdirSync(dirname(join(this.path, name, file)), { recursive: true });
      writeFileSync(join(this.path, name, file), bytes);
    }
    return join(this.path, name);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
