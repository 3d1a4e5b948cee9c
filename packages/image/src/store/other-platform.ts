import { formatPlatform, hostPlatform, parsePlatform, platformDistance } from "../document/platform.ts";
import type { Image, ImageStore } from "./store.ts";

/** What an image here, or the host, is made for, where that cannot stand for `wanted`. @throws {BoxError} `platform-invalid` */
export function otherPlatform(store: ImageStore, image: Image | undefined, wanted: string): string | undefined {
  const row = image && platformOf(store, image.id);
  const offer = row === undefined ? hostPlatform() : parsePlatform(row);
  return platformDistance(parsePlatform(wanted), offer) === undefined ? formatPlatform(offer) : undefined;
}

function platformOf({ database }: ImageStore, id: string): string | undefined {
  return database.query<{ platform: string }, [string]>("SELECT platform FROM image WHERE id = ?1").get(id)?.platform;
}
