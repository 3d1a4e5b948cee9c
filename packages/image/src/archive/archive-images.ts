import { BoxError } from "@bantubox/ffi";
import * as z from "zod/mini";
import { type Digest, digestHex, quote, sha256 } from "../document/digest.ts";
import {
  type Descriptor,
  DOCUMENT_MAX,
  type ImageDocument,
  type Index,
  type Manifest,
  OCI_CONFIG,
  OCI_LAYER,
  OCI_MANIFEST,
  parseConfig,
  parseManifest,
  selectPlatform,
} from "../document/manifest.ts";
import { formatPlatform, hostPlatform, type Platform, platformDistance } from "../document/platform.ts";
import { formatReference, parseReference } from "../document/reference.ts";
import { detectCompression } from "../layer/layer-stream.ts";
import { archiveInvalid, namedInside } from "./archive-names.ts";
import { type ArchiveFile, type ArchiveSource, readBytes, readHead } from "./archive-source.ts";

/** Indexes in indexes; nobody makes deeper ones. */
const INDEX_DEPTH = 3;
/** Images of one archive. */
const IMAGES_MAX = 1000;

/** An image that an archive holds: its documents are verified, its layers' bytes not yet. */
export interface ArchivedImage {
  /** Full: `docker.io/library/alpine:latest`. */
  readonly names: readonly string[];
  readonly manifest: { readonly digest: Digest; readonly bytes: Uint8Array };
  /** Whether the manifest is the archive's; else it was made here, for an archive that has none. */
  readonly hasManifest: boolean;
  readonly config: { readonly digest: Digest; readonly bytes: Uint8Array };
  readonly document: ImageDocument;
  /** From bottom to top. */
  readonly layers: readonly { readonly descriptor: Descriptor; readonly diffId: Digest; readonly file: ArchiveFile }[];
}

/**
 * The images of an archive: of an OCI layout, with their manifests as they are, or of a docker-archive.
 * What is both is read as a layout.
 *
 * @param wanted Of indexes, the platform; the host's, or the only one that is there, when absent.
 * @throws {BoxError} `archive-invalid`, `manifest-invalid`, `config-invalid`, `blob-corrupt`, `platform-missing`
 */
export async function findImages(source: ArchiveSource, wanted?: Platform): Promise<ArchivedImage[]> {
  const found =
    source.find("index.json") !== undefined && source.find("oci-layout") !== undefined
      ? layoutImages(source, wanted)
      : await dockerImages(source);
  if (wanted === undefined) return found;
  const fitting = found.filter(({ document }) => platformDistance(wanted, document.platform) !== undefined);
  if (fitting.length > 0 || found.length === 0) return fitting;
  throw new BoxError("platform-missing", `Cannot load the archive: nothing in it is for ${formatPlatform(wanted)}`, {
    hint: `It is for ${quote([...new Set(found.map(({ document }) => formatPlatform(document.platform)))].join(", ")).slice(1, -1)}`,
  });
}

function readDocument(source: ArchiveSource, name: string): Uint8Array {
  const file = source.find(name);
  if (file === undefined) throw archiveInvalid(`it has no ${quote(name)}`);
  if (file.size > DOCUMENT_MAX) throw archiveInvalid(`its ${quote(name)} is larger than ${DOCUMENT_MAX} bytes`);
  return readHead(file, DOCUMENT_MAX);
}

function blobName(digest: Digest): string {
  return `blobs/sha256/${digestHex(digest)}`;
}

/** A small blob of a layout, verified. */
function readBlob(source: ArchiveSource, { digest, size }: Descriptor): Uint8Array {
  const bytes = readDocument(source, blobName(digest));
  if (bytes.length !== size) throw corrupt(digest, `it has ${bytes.length} bytes instead of ${size}`);
  if (sha256(bytes) !== digest) throw corrupt(digest, `its bytes have the digest ${sha256(bytes)}`);
  return bytes;
}

function corrupt(digest: Digest, why: string): BoxError {
  return new BoxError("blob-corrupt", `Cannot use blob ${digest}: ${why}`);
}

const annotationsSchema = z.object({
  manifests: z.array(z.object({ annotations: z.nullish(z.record(z.string(), z.string())) })),
});

function layoutImages(source: ArchiveSource, wanted: Platform | undefined): ArchivedImage[] {
  const layout = parseJson(
    readDocument(source, "oci-layout"),
    "oci-layout",
    z.object({ imageLayoutVersion: z.string() }),
  );
  if (!layout.imageLayoutVersion.startsWith("1.")) {
    throw archiveInvalid(`it is a layout of version ${quote(layout.imageLayoutVersion)}`);
  }
  const bytes = readDocument(source, "index.json");
  const index = parseManifest(bytes, "");
  if (index.kind !== "index") throw archiveInvalid('its "index.json" is no index');
  const { manifests: annotated } = parseJson(bytes, "index.json", annotationsSchema);

  // Several entries of one name are one image for several platforms; those without a name are images each.
  const groups = new Map<string, { name: string | undefined; entries: Index["manifests"][number][] }>();
  index.manifests.forEach((entry, at) => {
    if (entry.platform?.os === "unknown") return;
    const name = nameIn(annotated[at]?.annotations ?? {});
    const key = name ?? entry.digest;
    const group = groups.get(key) ?? { name, entries: [] };
    groups.set(key, group);
    group.entries.push(entry);
  });
  if (groups.size > IMAGES_MAX) throw archiveInvalid(`it has more than ${IMAGES_MAX} images`);

  const images = new Map<Digest, ArchivedImage>();
  for (const { name, entries } of groups.values()) {
    const descriptor = choose(source, { kind: "index", manifests: entries }, wanted, name ?? "the archive");
    const image = images.get(descriptor.digest) ?? layoutImage(source, descriptor);
    const names = name === undefined ? image.names : [...image.names, checkedName(name, descriptor.digest)];
    images.set(descriptor.digest, { ...image, names });
  }
  return [...images.values()];
}

/** Goes down from an index to one manifest whose bytes are there. */
function choose(source: ArchiveSource, top: Index, wanted: Platform | undefined, name: string): Descriptor {
  let index = top;
  for (let depth = 0; depth <= INDEX_DEPTH; depth++) {
    const chosen = chooseOne(source, index, wanted, name);
    const document = parseManifest(readBlob(source, chosen), chosen.mediaType);
    if (document.kind === "manifest") return chosen;
    index = document;
  }
  throw archiveInvalid("its indexes are nested too deep");
}

function chooseOne(source: ArchiveSource, index: Index, wanted: Platform | undefined, name: string): Descriptor {
  const there = index.manifests.filter(({ digest }) => source.find(blobName(digest)) !== undefined);
  const [first] = index.manifests;
  if (there.length === 0 && first !== undefined) throw archiveInvalid(`it has no ${quote(blobName(first.digest))}`);
  const runnable = there.filter(({ platform }) => platform?.os !== "unknown");
  const [only] = runnable;
  // An archive of one image for another machine is loaded as it is; running it is another matter.
  if (only !== undefined && runnable.length === 1 && wanted === undefined) return only;
  return selectPlatform({ kind: "index", manifests: there }, wanted ?? hostPlatform(), name, "load");
}

function layoutImage(source: ArchiveSource, descriptor: Descriptor): ArchivedImage {
  const bytes = readBlob(source, descriptor);
  const manifest = parseManifest(bytes, descriptor.mediaType) as Manifest;
  const config = readBlob(source, manifest.config);
  const document = parseConfig(config, manifest.layers.length);
  const layers = manifest.layers.map((layer, at) => {
    const file = source.find(blobName(layer.digest));
    if (file === undefined) throw archiveInvalid(`it has no ${quote(blobName(layer.digest))}`);
    if (file.size !== layer.size) throw corrupt(layer.digest, `it has ${file.size} bytes instead of ${layer.size}`);
    return { descriptor: layer, diffId: document.diffIds[at] as Digest, file };
  });
  return {
    names: [],
    manifest: { digest: descriptor.digest, bytes },
    hasManifest: true,
    config: { digest: manifest.config.digest, bytes: config },
    document,
    layers,
  };
}

/** The full name that an entry of a layout's index says, if it does: containerd's and Docker's way first. */
function nameIn(annotations: Readonly<Record<string, string>>): string | undefined {
  const full = annotations["io.containerd.image.name"];
  if (full !== undefined) return fullName(full);
  const name = annotations["org.opencontainers.image.ref.name"];
  // By the OCI's words it is a tag; podman and skopeo write whole names there, which a tag alone cannot look like.
  return name !== undefined && /[:/]/.test(name) ? fullName(name) : undefined;
}

function fullName(text: string): string {
  try {
    return formatReference(parseReference(text));
  } catch (cause) {
    if (!(cause instanceof BoxError)) throw cause;
    throw archiveInvalid(`it calls an image ${quote(text)}, which is no name`);
  }
}

/** @throws {BoxError} `archive-invalid` when the name promises another digest. */
function checkedName(name: string, digest: Digest): string {
  const at = name.indexOf("@");
  if (at < 0 || name.slice(at + 1) === digest) return name;
  throw archiveInvalid(`it calls an image ${quote(name)}, whose digest is ${digest}`);
}

const dockerSchema = z.array(
  z.object({
    Config: z.string(),
    RepoTags: z.nullish(z.array(z.string())),
    Layers: z.nullish(z.array(z.string())),
  }),
);

async function dockerImages(source: ArchiveSource): Promise<ArchivedImage[]> {
  if (source.find("manifest.json") === undefined) {
    throw archiveInvalid(
      'it has neither "manifest.json" nor "index.json" with "oci-layout"',
      "To make an image of a root file system in a tar, use bb import",
    );
  }
  const entries = parseJson(readDocument(source, "manifest.json"), "manifest.json", dockerSchema);
  if (entries.length > IMAGES_MAX) throw archiveInvalid(`it has more than ${IMAGES_MAX} images`);
  const images: ArchivedImage[] = [];
  for (const { Config, RepoTags, Layers } of entries) {
    const names = (RepoTags ?? []).map((text) => {
      const name = fullName(text);
      if (name.includes("@")) throw archiveInvalid(`it tags an image ${quote(text)}, which has a digest`);
      return name;
    });
    images.push(await dockerImage(source, names, namedInside(Config), (Layers ?? []).map(namedInside)));
  }
  return images;
}

async function dockerImage(
  source: ArchiveSource,
  names: readonly string[],
  configName: string,
  layerNames: readonly string[],
): Promise<ArchivedImage> {
  const config = readDocument(source, configName);
  const document = parseConfig(config, layerNames.length);
  const layers: { descriptor: Descriptor; diffId: Digest; file: ArchiveFile }[] = [];
  for (const [at, name] of layerNames.entries()) {
    const file = source.find(name);
    if (file === undefined) throw archiveInvalid(`it has no ${quote(name)}`);
    const diffId = document.diffIds[at] as Digest;
    layers.push({ descriptor: await describe(file, diffId), diffId, file });
  }
  const id = sha256(config);
  const manifest = new TextEncoder().encode(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: { mediaType: OCI_CONFIG, digest: id, size: config.length },
      layers: layers.map(({ descriptor }) => descriptor),
    }),
  );
  return {
    names,
    manifest: { digest: sha256(manifest), bytes: manifest },
    hasManifest: false,
    config: { digest: id, bytes: config },
    document,
    layers,
  };
}

/** What a docker-archive's layer is called in a manifest. */
async function describe(file: ArchiveFile, diffId: Digest): Promise<Descriptor> {
  const compression = detectCompression(readHead(file, 4));
  const mediaType = compression === "none" ? OCI_LAYER : `${OCI_LAYER}+${compression}`;
  // Whether a plain tar is what the config says will be seen when it is read.
  const digest = compression === "none" ? diffId : (file.own?.digest ?? (await hashOf(file)));
  return { mediaType, digest, size: file.size };
}

async function hashOf(file: ArchiveFile): Promise<Digest> {
  const hash = new Bun.CryptoHasher("sha256");
  for await (const chunk of readBytes(file)) hash.update(chunk);
  return `sha256:${hash.digest("hex")}`;
}

function parseJson<T extends z.ZodMiniType>(bytes: Uint8Array, name: string, schema: T): z.infer<T> {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw archiveInvalid(`its ${quote(name)} is not JSON`);
  }
  const result = z.safeParse(schema, document);
  if (result.success) return result.data;
  const where = result.error.issues[0]?.path.map(String).join(".") ?? "";
  throw archiveInvalid(`its ${quote(name)} is not as it should be, at ${quote(where)}`);
}
