import { BoxError } from "@bantubox/ffi";
import type { Digest } from "../document/digest.ts";
import { markGarbage } from "./garbage.ts";
import { imagesChanged } from "./marker.ts";
import type { ImageStore, RunConfig } from "./store.ts";
import { treesOf } from "./trees.ts";

export interface NewImage {
  readonly id: Digest;
  readonly kind: "pulled" | "local";
  readonly manifest: Digest;
  readonly platform: string;
  readonly created: string;
  readonly config: RunConfig;
  /** From bottom to top, as in the config; all of them have rows. */
  readonly diffIds: readonly Digest[];
  /** Every blob that the image needs: index, manifest, config, layers. */
  readonly blobs: readonly Digest[];
}

export interface NewName {
  /** Full: `docker.io/library/alpine:latest`. */
  readonly name: string;
  readonly repository: string;
  /** What the registry answered for it. */
  readonly digest: Digest;
  /** The platform that was asked for. */
  readonly requested: string;
}

/** What `recordImages` writes: an image, or one that is there already, and its names. */
export interface ImageRows {
  readonly image: NewImage | undefined;
  readonly names: readonly (NewName & { readonly image: Digest })[];
}

/** Writes the rows of an image whose layers and blobs are all in place. From here on it exists. */
export function recordImage(store: ImageStore, image: NewImage, name?: NewName): void {
  recordImages(store, [{ image, names: name === undefined ? [] : [{ ...name, image: image.id }] }]);
}

/**
 * As `recordImage` for several at once: all of them exist then, or none.
 *
 * @throws {BoxError} `image-layer-missing`; `no-such-image` when one that was there has just been removed.
 */
export function recordImages(store: ImageStore, rows: readonly ImageRows[]): void {
  const { database } = store;
  database
    .transaction(() => {
      imagesChanged(store);
      for (const { image, names } of rows) {
        if (image !== undefined) insertImage(store, image);
        for (const name of names) insertName(store, name);
      }
    })
    .immediate();
}

function insertImage(store: ImageStore, image: NewImage): void {
  const { database } = store;
  const findLayer = database.query<{ bytes: number; opaque: number }, [string]>(
    "SELECT bytes, opaque FROM layer WHERE id = ?1",
  );
  const trees = treesOf(store, image);
  const rows = trees.needed.map((tree) => findLayer.get(tree));
  if (rows.includes(null)) {
    throw new BoxError("image-layer-missing", `Cannot record image ${image.id}: a layer of it is gone`, {
      hint: "Pull it again",
    });
  }
  const bottom = Math.max(
    0,
    rows.findLastIndex((row) => row?.opaque === 1),
  );
  const total = (trees.isCumulative ? rows.slice(-1) : rows).reduce((sum, row) => sum + (row?.bytes ?? 0), 0);
  database
    .query(
      `INSERT INTO image (id, kind, manifest, platform, created, bytes, config, layers) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
       ON CONFLICT (id) DO UPDATE SET kind = ?2, manifest = ?3, config = ?7, layers = ?8`,
    )
    .run(
      image.id,
      image.kind,
      image.manifest,
      image.platform,
      image.created,
      total,
      JSON.stringify(image.config),
      (trees.root ?? trees.needed.slice(bottom)).join(" "),
    );
  const before = database
    .query<{ digest: Digest }, [string]>("DELETE FROM image_blob WHERE image = ?1 RETURNING digest")
    .all(image.id);
  // What another manifest of the same config had, with its layers compressed otherwise.
  if (before.some(({ digest }) => !image.blobs.includes(digest))) markGarbage(store);
  for (const layer of trees.needed) {
    database.query("INSERT OR IGNORE INTO image_layer (image, layer) VALUES (?1, ?2)").run(image.id, layer);
  }
  for (const blob of image.blobs) {
    database.query("INSERT OR IGNORE INTO image_blob (image, digest) VALUES (?1, ?2)").run(image.id, blob);
  }
}

function insertName({ database }: ImageStore, name: NewName & { readonly image: Digest }): void {
  if (database.query("SELECT 1 FROM image WHERE id = ?1").get(name.image) === null) {
    throw new BoxError("no-such-image", `Cannot name image ${name.image}: it has been removed`, {
      hint: "Load it again",
    });
  }
  database
    .query(
      `INSERT INTO image_name (name, repository, image, digest, requested) VALUES (?1, ?2, ?3, ?4, ?5)
       ON CONFLICT (name) DO UPDATE SET image = ?3, digest = ?4, requested = ?5`,
    )
    .run(name.name, name.repository, name.image, name.digest, name.requested);
}
