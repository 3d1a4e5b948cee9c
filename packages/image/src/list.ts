import { familiarName } from "./reference.ts";
import type { ImageKind, ImageStore } from "./store.ts";

export interface ImageSummary {
  readonly id: string;
  readonly kind: ImageKind;
  /** As people write them, sorted; none for an image whose tag went on to another. */
  readonly names: readonly string[];
  /** `repository@sha256:…` as the registries answered. */
  readonly digests: readonly string[];
  readonly platform: string;
  /** RFC 3339; empty when the image does not say. */
  readonly created: string;
  /** Of all its layers, shared ones included. */
  readonly bytes: number;
  readonly layers: number;
}

interface Row {
  readonly id: string;
  readonly kind: ImageKind;
  readonly platform: string;
  readonly created: string;
  readonly bytes: number;
  readonly layers: string;
  readonly names: string | null;
  readonly digests: string | null;
}

/** All images, the newest first. The built-in `host` is not among them. */
export function listImages({ database }: ImageStore): ImageSummary[] {
  const rows = database
    .query<Row, []>(
      `SELECT i.id, i.kind, i.platform, i.created, i.bytes, i.layers, group_concat(n.name, ' ') AS names,
         group_concat(n.repository || '@' || n.digest, ' ') AS digests
       FROM image i LEFT JOIN image_name n ON n.image = i.id GROUP BY i.id ORDER BY i.created DESC, i.id`,
    )
    .all();
  return rows.map((row) => ({
    id: row.id,
    kind: row.kind,
    names: split(row.names).map(familiarName).sort(),
    digests: [...new Set(split(row.digests).map(familiarName))].sort(),
    platform: row.platform,
    created: row.created,
    bytes: row.bytes,
    layers: split(row.layers).length,
  }));
}

/** Names, layers and digests hold no spaces. */
function split(text: string | null): string[] {
  return text === null || text === "" ? [] : text.split(" ");
}
