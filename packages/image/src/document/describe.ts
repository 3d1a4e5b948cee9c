import * as z from "zod/mini";
import { driverName, type Image, type ImageStore, layersDirectory } from "../store/store.ts";
import { type ImageDetails, imageDetails, readDocument } from "./details.ts";
import type { Digest } from "./digest.ts";
import { manifestType, parseConfig, parseManifest } from "./manifest.ts";
import { hostPlatform, type Platform } from "./platform.ts";

/** What an image says of itself and its store knows of it, beside how its containers run. */
export interface ImageDescription {
  /** Full names, each with what the registry answered for it. */
  readonly names: ImageDetails["names"];
  /** RFC 3339; empty when the image does not say. */
  readonly created: string;
  readonly author: string;
  /** Of its last step. */
  readonly comment: string;
  readonly platform: Platform;
  readonly bytes: number;
  readonly diffIds: readonly Digest[];
  /** Absent for the built-in image. */
  readonly manifest: { readonly mediaType: string; readonly digest: Digest; readonly size: number } | undefined;
  readonly driver: string;
  /** Directories that a container's root is made of, from bottom to top. */
  readonly directories: readonly string[];
}

const text = z.nullish(z.string());
const schema = z.object({ author: text, history: z.nullish(z.array(z.object({ author: text, comment: text }))) });

/** @throws {BoxError} `no-such-image` when it has just been removed, `image-incomplete`, `blob-corrupt` */
export async function describeImage(store: ImageStore, image: Image): Promise<ImageDescription> {
  const driver = driverName(store);
  const directories = image.layers.map((layer) => `${layersDirectory(store)}/${layer}`);
  if (image.kind === "host") {
    const rest = { created: "", author: "", comment: "", bytes: 0, diffIds: [], manifest: undefined };
    return { names: [], platform: hostPlatform(), driver, directories, ...rest };
  }
  const { id, manifest: digest, names, created, bytes } = imageDetails(store, image.id);
  const manifestBytes = await readDocument(store, id, digest);
  const manifest = parseManifest(manifestBytes, "");
  const config = await readDocument(store, id, id);
  const layers = manifest.kind === "manifest" ? manifest.layers.length : 0;
  const { platform, diffIds } = parseConfig(config, layers);
  const said = z.safeParse(schema, JSON.parse(new TextDecoder().decode(config))).data;
  const mediaType = manifest.kind === "manifest" ? manifestType(manifest, manifestBytes) : "";
  return {
    names,
    created,
    author: said?.author ?? "",
    comment: said?.history?.at(-1)?.comment ?? "",
    platform,
    bytes,
    diffIds,
    manifest: { mediaType, digest, size: manifestBytes.length },
    driver,
    directories,
  };
}
