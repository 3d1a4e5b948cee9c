import { imageDetails, readDocument } from "../document/details.ts";
import type { Digest } from "../document/digest.ts";
import { readHistory } from "../document/history.ts";
import { OCI_LAYER, parseConfig, parseManifest } from "../document/manifest.ts";
import { hostPlatform, type Platform } from "../document/platform.ts";
import type { ImageStore } from "../store/store.ts";
import type { ImageParts } from "./new-image.ts";

/** What an image has that another one stands on. */
export type Base = Pick<ImageParts, "layers" | "history"> & { readonly platform: Platform };

export const EMPTY_BASE: Base = { layers: [], history: [], platform: hostPlatform() };

/** @param id Of an image that is there. @throws {BoxError} `no-such-image` when it has just been removed. */
export async function readBase(store: ImageStore, id: Digest): Promise<Base> {
  const manifest = parseManifest(await readDocument(store, id, imageDetails(store, id).manifest), "");
  const bytes = await readDocument(store, id, id);
  const descriptors = manifest.kind === "manifest" ? manifest.layers : [];
  const { diffIds, platform } = parseConfig(bytes, descriptors.length);
  const layers = descriptors.flatMap((descriptor, index) => {
    const diffId = diffIds[index];
    const mediaType = asOci(descriptor.mediaType);
    return diffId === undefined ? [] : [{ descriptor: { ...descriptor, mediaType }, diffId }];
  });
  return { layers, history: readHistory(bytes), platform };
}

/** Docker's name for the same thing, in a manifest that is the OCI's. */
function asOci(mediaType: string): string {
  const [, compression] =
    /^application\/vnd\.docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:\.(.+))?$/.exec(mediaType) ?? [];
  if (!mediaType.includes("docker")) return mediaType;
  return compression === undefined ? OCI_LAYER : `${OCI_LAYER}+${compression}`;
}
