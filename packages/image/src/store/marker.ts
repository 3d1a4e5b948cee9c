import { nodeFs, readIfThere } from "@bantubox/ffi";
import type { ImageStore } from "./store.ts";

/**
 * A file that stays as it is for as long as every image and every name of one does: whoever
 * has it in front of him needs no database to know that a name still leads where it led.
 *
 * All that changes images calls `imagesChanged`, within the transaction that does it.
 */
function markerPath({ root }: ImageStore): string {
  return `${root}/images.mark`;
}

/**
 * The marker's path and content, which differs from all that it was before a change.
 *
 * @param isStill Asked with all changes held off: whether what the caller knows of the images still is so.
 * @returns Undefined when it is not.
 */
export function markImages(store: ImageStore, isStill: () => boolean): { path: string; text: string } | undefined {
  const path = markerPath(store);
  return store.database
    .transaction(() => {
      if (!isStill()) return undefined;
      const text = readIfThere(path);
      if (text) return { path, text };
      const fresh = crypto.randomUUID();
      // Aside first: a file that a crash has left half written would be a marker, too.
      nodeFs().writeFileSync(`${path}.new`, fresh, { mode: 0o600 });
      nodeFs().renameSync(`${path}.new`, path);
      return { path, text: fresh };
    })
    .immediate();
}

/** Takes the marker away. Within the transaction, and before it asks who needs an image. */
export function imagesChanged(store: ImageStore): void {
  nodeFs().rmSync(markerPath(store), { force: true });
}
