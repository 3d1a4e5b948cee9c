import {
  chmodSync,
  closeSync,
  copyFileSync,
  constants as fsConstants,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { BoxError, isErrno } from "@bantubox/ffi";
import { type ImageDetails, imageDetails, incomplete, readDocument } from "../document/details.ts";
import { type Digest, digestHex, quote } from "../document/digest.ts";
import { type Descriptor, manifestType, OCI_INDEX, parseConfig, parseManifest } from "../document/manifest.ts";
import { familiarName, formatReference, parseReference, repositoryName } from "../document/reference.ts";
import { hasLayerBytes, layerMissing, openLayerBytes } from "../layer/layer-bytes.ts";
import { findImage, getImage } from "../store/find.ts";
import { lockForWriting } from "../store/garbage.ts";
import type { ImageStore } from "../store/store.ts";
import { tarHeader } from "../tar/tar-entry.ts";
import { S } from "../tree/tree.ts";
import { copyFile, type Output, openOutput, outputTo, writeAll } from "./save-output.ts";

/** `docker-archive` is an OCI archive as well; `oci-dir` is a layout in a directory. */
export type SaveFormat = "docker-archive" | "oci-archive" | "oci-dir";

export interface SaveProgress {
  /** The blob's digest. */
  readonly layer: Digest;
  readonly phase: "saving" | "saved";
  readonly current: number;
  readonly total: number;
}

export interface SaveOptions {
  readonly format?: SaveFormat | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: SaveProgress) => void) | undefined;
}

const BLOCK = 512;

/** One file of an archive. */
interface Item {
  readonly path: string;
  readonly size: number;
  readonly bytes: Uint8Array | { readonly layer: Descriptor; readonly diffId: Digest; readonly imageId: string };
}

/** An image to be saved, and by which of its names. */
interface Chosen {
  readonly details: ImageDetails;
  /** Full. */
  readonly names: Set<string>;
}

/**
 * Writes images as an archive that docker, podman, skopeo and containerd load: manifests and compressed layers are
 * the bytes that came from the registry, so that their digests stay. The same images make the same archive.
 *
 * A name without tag stands for all tags of that repository. An image that is named by its ID is saved without name.
 *
 * @param target A descriptor that is open for writing, or a path: a file that appears when it is complete, or, for
 *   `oci-dir`, a directory that is new or empty.
 * @throws {BoxError} `no-such-image`, `image-ambiguous`, `image-built-in`, `image-incomplete`, `file-unwritable`,
 *   `directory-not-empty`
 */
export async function saveImages(
  store: ImageStore,
  texts: readonly string[],
  target: number | string,
  options: SaveOptions = {},
): Promise<void> {
  const { format = "docker-archive" } = options;
  // While it is held, nobody collects the blobs.
  using _writing = await lockForWriting(store, options.signal);
  const items = await listItems(store, choose(store, texts), format);
  if (format === "oci-dir") {
    if (typeof target !== "string") throw new TypeError("a layout needs a directory");
    return await writeLayout(store, items, target, options);
  }
  using output = typeof target === "number" ? outputTo(target) : openOutput(target);
  await writeArchive(store, items, output, options);
  output.commit();
}

/** The images that `texts` name, each once, in the order of their first mention. */
function choose(store: ImageStore, texts: readonly string[]): Chosen[] {
  const chosen = new Map<string, Chosen>();
  for (const text of texts) {
    for (const { id, name } of namedBy(store, text)) {
      const known = chosen.get(id) ?? { details: imageDetails(store, id), names: new Set() };
      chosen.set(id, known);
      if (name !== undefined) known.names.add(name);
    }
  }
  return [...chosen.values()];
}

function namedBy(store: ImageStore, text: string): { id: string; name?: string }[] {
  const repository = repositoryOf(text);
  if (repository !== undefined) {
    const rows = store.database
      .query<{ id: string; name: string }, [string]>(
        "SELECT image AS id, name FROM image_name WHERE repository = ?1 AND name NOT LIKE '%@%' ORDER BY name",
      )
      .all(repository);
    if (rows.length > 0 && findImage(store, text)?.kind !== "host") return rows;
  }
  const { id, kind } = getImage(store, text);
  if (kind === "host") throw new BoxError("image-built-in", `Cannot save image "host": it is built in`);
  const { names } = imageDetails(store, id);
  const full = /^(?:sha256:)?[a-f0-9]{64}$/.test(text) ? undefined : formatReference(parseReference(text));
  const called = names.find(({ name }) => name === full);
  // A digest is of what the registry answered; an archive can only promise its own manifest.
  return [{ id, ...(called !== undefined && !called.name.includes("@") && { name: called.name }) }];
}

/** The repository that a name without tag and digest stands for. */
function repositoryOf(text: string): string | undefined {
  if (/^(?:sha256:)?[a-f0-9]{64}$/.test(text)) return undefined;
  const reference = parseReference(text);
  return reference.tag === undefined && reference.digest === undefined ? repositoryName(reference) : undefined;
}

/** All files of the archive, documents first: so that a reader knows what the layers are when they come. */
async function listItems(store: ImageStore, chosen: readonly Chosen[], format: SaveFormat): Promise<Item[]> {
  const documents = new Map<string, Item>();
  const layers = new Map<string, Item>();
  const index: object[] = [];
  const dockerManifest: object[] = [];
  for (const { details, names } of chosen) {
    const { id, manifest: digest } = details;
    const manifestBytes = await readDocument(store, id, digest);
    const manifest = parseManifest(manifestBytes, "");
    if (manifest.kind !== "manifest") throw incomplete(id, "manifest is an index");
    const configBytes = await readDocument(store, id, id);
    const { diffIds, platform } = parseConfig(configBytes, manifest.layers.length);
    add(documents, { path: blobName(digest), size: manifestBytes.length, bytes: manifestBytes });
    add(documents, { path: blobName(id), size: configBytes.length, bytes: configBytes });
    manifest.layers.forEach((layer, at) => {
      const bytes = { layer, diffId: diffIds[at] as Digest, imageId: id };
      // Now, or half an archive would have been written when it is missed.
      if (!hasLayerBytes(store, layer, bytes.diffId)) throw layerMissing(id, layer);
      add(layers, { path: blobName(layer.digest), size: layer.size, bytes });
    });
    const sorted = [...names].sort();
    const descriptor = { mediaType: manifestType(manifest, manifestBytes), digest, size: manifestBytes.length };
    for (const name of sorted.length > 0 ? sorted : [undefined])
      index.push({ ...descriptor, ...annotated(name), platform });
    dockerManifest.push({
      Config: blobName(id),
      RepoTags: sorted.length > 0 ? sorted.map(familiarName) : null,
      Layers: manifest.layers.map((layer) => blobName(layer.digest)),
    });
  }
  return [
    json("oci-layout", { imageLayoutVersion: "1.0.0" }),
    json("index.json", { schemaVersion: 2, mediaType: OCI_INDEX, manifests: index }),
    ...(format === "docker-archive" ? [json("manifest.json", dockerManifest)] : []),
    ...documents.values(),
    ...layers.values(),
  ];
}

function add(items: Map<string, Item>, item: Item): void {
  if (!items.has(item.path)) items.set(item.path, item);
}

function json(path: string, document: object): Item {
  const bytes = new TextEncoder().encode(JSON.stringify(document));
  return { path, size: bytes.length, bytes };
}

function blobName(digest: Digest): string {
  return `blobs/sha256/${digestHex(digest)}`;
}

/** The name as containerd and Docker write it, and the tag as the OCI has it. */
function annotated(name: string | undefined): object {
  if (name === undefined) return {};
  return {
    annotations: {
      "io.containerd.image.name": name,
      "org.opencontainers.image.ref.name": name.slice(name.lastIndexOf(":") + 1),
    },
  };
}

/** A tar with times of nought: nothing of when and where it was made. */
async function writeArchive(
  store: ImageStore,
  items: readonly Item[],
  { fd }: Output,
  options: SaveOptions,
): Promise<void> {
  for (const path of ["blobs/", "blobs/sha256/"]) writeAll(fd, headerOf(path, S.DIR | 0o755, 0));
  for (const item of items) {
    writeAll(fd, headerOf(item.path, S.REG | 0o644, item.size));
    if (item.bytes instanceof Uint8Array) writeAll(fd, item.bytes);
    else await writeLayer(store, item.bytes, fd, options);
    writeAll(fd, new Uint8Array((BLOCK - (item.size % BLOCK)) % BLOCK));
  }
  writeAll(fd, new Uint8Array(2 * BLOCK));
}

function headerOf(path: string, mode: number, size: number): Uint8Array {
  const stat = { mode, size, uid: 0, gid: 0, mtime: 0, rdevMajor: 0, rdevMinor: 0 };
  return tarHeader({ path: Buffer.from(path), stat });
}

interface LayerItem {
  readonly layer: Descriptor;
  readonly diffId: Digest;
  readonly imageId: string;
}

/** @throws {BoxError} `image-incomplete` when it is not as long as its descriptor says. */
async function writeLayer(
  store: ImageStore,
  { layer, diffId, imageId }: LayerItem,
  fd: number,
  options: SaveOptions,
): Promise<void> {
  const { signal } = options;
  const onBytes = (current: number) => report(options, layer, "saving", current);
  const source = await openLayerBytes(store, imageId, layer, diffId);
  let length = 0;
  if (source.kind === "file") {
    length = await copyFile(source.path, fd, { signal, onBytes });
  } else {
    const hash = new Bun.CryptoHasher("sha256");
    for await (const chunk of source.bytes) {
      signal?.throwIfAborted();
      hash.update(chunk);
      writeAll(fd, chunk);
      length += chunk.length;
      onBytes(length);
    }
    if (`sha256:${hash.digest("hex")}` !== layer.digest) throw incomplete(imageId, `layer ${layer.digest} has changed`);
  }
  if (length !== layer.size) throw incomplete(imageId, `layer ${layer.digest} has ${length} bytes, not ${layer.size}`);
  report(options, layer, "saved", length);
}

function report(
  { onProgress }: SaveOptions,
  { digest, size }: Descriptor,
  phase: SaveProgress["phase"],
  current: number,
): void {
  onProgress?.({ layer: digest, phase, current, total: size });
}

/** The index comes last: without it the directory is no layout. */
async function writeLayout(
  store: ImageStore,
  items: readonly Item[],
  directory: string,
  options: SaveOptions,
): Promise<void> {
  const made = makeLayoutDirectory(directory);
  try {
    mkdirSync(join(directory, "blobs/sha256"), { recursive: true });
    const isIndex = ({ path }: Item) => path === "index.json";
    for (const { path, bytes } of [...items.filter((item) => !isIndex(item)), ...items.filter(isIndex)]) {
      const target = join(directory, path);
      if (bytes instanceof Uint8Array) writeFileSync(target, bytes, { flag: "wx", mode: 0o644 });
      else await writeLayerFile(store, bytes, target, options);
    }
  } catch (error) {
    if (made) rmSync(directory, { recursive: true, force: true });
    else
      for (const name of ["blobs", "oci-layout", "index.json"])
        rmSync(join(directory, name), { recursive: true, force: true });
    throw error;
  }
}

async function writeLayerFile(store: ImageStore, item: LayerItem, target: string, options: SaveOptions): Promise<void> {
  const source = await openLayerBytes(store, item.imageId, item.layer, item.diffId);
  if (source.kind === "file") {
    // Shares the blocks, where the file system can.
    copyFileSync(source.path, target, fsConstants.COPYFILE_EXCL | fsConstants.COPYFILE_FICLONE);
    chmodSync(target, 0o644);
    report(options, item.layer, "saved", item.layer.size);
    return;
  }
  const fd = openSync(target, "wx", 0o644);
  try {
    await writeLayer(store, item, fd, options);
  } finally {
    closeSync(fd);
  }
}

/** @returns Whether it was made. @throws {BoxError} `directory-not-empty`, `file-unwritable` */
function makeLayoutDirectory(directory: string): boolean {
  try {
    mkdirSync(directory, { mode: 0o755 });
    return true;
  } catch (cause) {
    if (!isErrno(cause, "EEXIST")) {
      const code = cause instanceof Error && "code" in cause ? String(cause.code) : "it cannot be made";
      throw new BoxError("file-unwritable", `Cannot write ${quote(directory)}: ${code}`, {
        hint: code === "ENOENT" ? `Make ${quote(dirname(directory))} first` : undefined,
        cause,
      });
    }
  }
  let names: readonly string[] | undefined;
  try {
    names = readdirSync(directory);
  } catch (error) {
    if (!isErrno(error, "ENOTDIR")) throw error;
  }
  if (names?.length === 0) return false;
  const why = names === undefined ? "it is not a directory" : "it is not empty";
  throw new BoxError("directory-not-empty", `Cannot write a layout to ${quote(directory)}: ${why}`, {
    hint: "Name a new or empty directory",
  });
}
