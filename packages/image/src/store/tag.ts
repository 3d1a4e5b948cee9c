import { BoxError } from "@bantubox/ffi";
import { imageDetails } from "../document/details.ts";
import { familiarName } from "../document/reference.ts";
import { parseNewName } from "../make/new-image.ts";
import { getImage } from "./find.ts";
import { recordImages } from "./record.ts";
import type { ImageStore } from "./store.ts";

/**
 * Gives an image one more name; an image that had it loses it.
 *
 * @returns The name, as people write it.
 * @throws {BoxError} `no-such-image`, `image-ambiguous`, `image-built-in`, `reference-invalid`
 */
export function tagImage(store: ImageStore, text: string, newName: string): string {
  const { name, repository } = parseNewName(newName);
  store.database
    .transaction(() => {
      const image = getImage(store, text);
      if (image.kind === "host") throw new BoxError("image-built-in", 'Cannot name image "host": it is built in');
      const { id, manifest, platform, names } = imageDetails(store, image.id);
      // What the registry answered for one tag of a repository is as true for another one.
      const source = names.find((each) => familiarName(each.name) === image.name && each.repository === repository);
      const row = { name, repository, image: id, digest: source?.digest ?? manifest, requested: platform };
      recordImages(store, [{ image: undefined, names: [row] }]);
    })
    .immediate();
  return familiarName(name);
}
