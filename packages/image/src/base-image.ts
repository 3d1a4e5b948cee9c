import { BoxError } from "@bantubox/ffi";
import { readBlob } from "./blobs.ts";
import { type Digest, quote } from "./digest.ts";
import { OCI_LAYER, parseConfig, parseManifest } from "./manifest.ts";
import type { ImageParts } from "./new-image.ts";
import { hostPlatform, type Platform } from "./platform.ts";
import type { ImageStore } from "./store.ts";

/** What an image has that another one stands on. */
export type Base = Pick<ImageParts, "layers" | "history"> & { readonly platform: Platform };

export const EMPTY_BASE: Base = { layers: [], history: [], platform: hostPlatform() };

/** @param id Of an image that is there. @throws {BoxError} `no-such-image` when it has just been removed. */
export async function readBase(store: ImageStore, id: Digest): Promise<Base> {
  const row = store.database.query<{ manifest: Digest }, [string]>("SELECT manifest FROM image WHERE id = ?1").get(id);
  if (row === null) throw new BoxError("no-such-image", `Cannot find image ${quote(id)}: it has been removed`);
  const manifest = parseManifest(await readBlob(store, row.manifest), "");
  const bytes = await readBlob(store, id);
  const descriptors = manifest.kind === "manifest" ? manifest.layers : [];
  const { diffIds, platform } = parseConfig(bytes, descriptors.length);
  const layers = descriptors.flatMap((descriptor, index) => {
    const diffId = diffIds[index];
    const mediaType = asOci(descriptor.mediaType);
    return diffId === undefined ? [] : [{ descriptor: { ...descriptor, mediaType }, diffId }];
  });
  return { layers, history: historyOf(bytes), platform };
}

/** Docker's name for the same thing, in a manifest that is the OCI's. */
function asOci(mediaType: string): string {
  const [, compression] =
    /^application\/vnd\.docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:\.(.+))?$/.exec(mediaType) ?? [];
  if (!mediaType.includes("docker")) return mediaType;
  return compression === undefined ? OCI_LAYER : `${OCI_LAYER}+${compression}`;
}

/** A config's history; what an entry lacks is left out, what is of another kind as well. */
function historyOf(config: Uint8Array): ImageParts["history"] {
  const { history } = JSON.parse(new TextDecoder().decode(config)) as { history?: unknown };
  if (!Array.isArray(history)) return [];
  const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);
  return history.map((entry: Readonly<Record<string, unknown>>) => ({
    created: text(entry["created"]),
    createdBy: text(entry["created_by"]),
    author: text(entry["author"]),
    comment: text(entry["comment"]),
    isEmpty: entry["empty_layer"] === true,
  }));
}
