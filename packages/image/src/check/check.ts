import { readdirSync, rmSync } from "node:fs";
import type { Digest } from "../document/digest.ts";
import { familiarName } from "../document/reference.ts";
import { blobPath } from "../store/blobs.ts";
import { collectLocked, lockAlone } from "../store/garbage.ts";
import { imagesChanged } from "../store/marker.ts";
import { blobsDirectory, type ImageStore, layersDirectory } from "../store/store.ts";
import { type CheckedImage, checkDocuments } from "./documents.ts";
import { checkTrees } from "./trees.ts";

/** Something that is not as it should be. */
export interface Problem {
  readonly kind: "database" | "image" | "blob" | "layer" | "container" | "leftover";
  /** What it is about: an ID, a digest, a directory's name. */
  readonly id: string;
  /** A sentence without a period. */
  readonly problem: string;
  /** What is left of an interrupted command is no damage: it is collected sooner or later. */
  readonly isDamage: boolean;
  /** What `repair` did, or what there is to do. */
  readonly action: string;
  readonly isRepaired: boolean;
}

export interface CheckOptions {
  /** Mends what can be mended, and removes what cannot unless a container needs it. */
  readonly repair?: boolean | undefined;
  /** Looks whether everything is there, but reads no contents. */
  readonly quick?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told of every layer that is looked at. */
  readonly onProgress?: ((what: string) => void) | undefined;
  /** Names of the containers that are made of an image. */
  readonly inUse?: ((imageId: string) => readonly string[]) | undefined;
  /** Names of those that run now: the trees below them are not exchanged. */
  readonly running?: ((imageId: string) => readonly string[]) | undefined;
}

/**
 * Looks at everything that images consist of: rows, blobs, trees.
 *
 * A blob is hashed. A tree is compared, file by file, with what its blob is extracted to once more; where the blob is
 * not kept, since the tree makes it again at any time, that is made and hashed. Waits until nobody writes images, and
 * keeps others from it.
 */
export async function checkImages(store: ImageStore, options: CheckOptions = {}): Promise<Problem[]> {
  using _alone = await lockAlone(store, options.signal);
  const problems: Problem[] = [...checkDatabase(store)];
  const images: CheckedImage[] = [];
  for (const image of imageRows(store)) images.push(await checkDocuments(store, image, problems));
  const broken = await checkTrees({ store, options, problems }, images);
  for (const image of images) {
    const why = image.problem ?? broken.get(image.id);
    if (why !== undefined) problems.push(giveUp(store, image, why, options));
  }
  for (const name of leftovers(store)) {
    const action = options.repair ? "removed" : "the next command that writes images removes it, or --repair";
    problems.push({
      kind: "leftover",
      id: name,
      problem: "no image needs it",
      isDamage: false,
      action,
      isRepaired: options.repair === true,
    });
  }
  if (options.repair) await collectLocked(store);
  // What several images share is told of once.
  const seen = new Set<string>();
  return problems.filter(({ kind, id, problem }) => {
    const key = `${kind} ${id} ${problem}`;
    return !seen.has(key) && seen.add(key);
  });
}

interface ImageRow {
  readonly id: Digest;
  readonly kind: "pulled" | "local";
  readonly manifest: Digest;
  readonly layers: string;
}

function imageRows({ database }: ImageStore): (ImageRow & { readonly names: readonly string[] })[] {
  const names = database.query<{ name: string }, [string]>(
    "SELECT name FROM image_name WHERE image = ?1 ORDER BY name",
  );
  return database
    .query<ImageRow, []>("SELECT id, kind, manifest, layers FROM image ORDER BY id")
    .all()
    .map((row) => ({ ...row, names: names.all(row.id).map(({ name }) => familiarName(name)) }));
}

function checkDatabase({ database }: ImageStore): Problem[] {
  const said = database
    .query<{ integrity_check: string }, []>("PRAGMA integrity_check(5)")
    .all()
    .map(({ integrity_check: text }) => text)
    .filter((text) => text !== "ok");
  return said.map((problem) => ({
    kind: "database",
    id: "db.sqlite",
    problem,
    isDamage: true,
    action: "restore it from a backup, or begin anew in another --root",
    isRepaired: false,
  }));
}

/** An image that cannot be made whole: removed by `repair`, so that it can be pulled again. */
function giveUp(store: ImageStore, image: CheckedImage, problem: string, options: CheckOptions): Problem {
  const { id, names } = image;
  const users = options.repair ? removeUnlessUsed(store, id, options) : (options.inUse?.(id) ?? []);
  const again = names.length === 0 || image.kind === "local" ? "make it again" : `pull it again: ${names.join(", ")}`;
  const common = { kind: "image", id, problem, isDamage: true } as const;
  if (users.length > 0) {
    const who = users.slice(0, 3).join(", ");
    return {
      ...common,
      action: `containers need it (${who}): remove them, then --repair; then ${again}`,
      isRepaired: false,
    };
  }
  if (!options.repair) return { ...common, action: `--repair removes it; then ${again}`, isRepaired: false };
  for (const digest of image.corrupt) rmSync(blobPath(store, digest), { force: true });
  return { ...common, action: `removed; ${again}`, isRepaired: true };
}

/** @returns Who uses it: nobody, if it is gone now. */
function removeUnlessUsed(store: ImageStore, id: Digest, { inUse }: CheckOptions): readonly string[] {
  const { database } = store;
  return database
    .transaction(() => {
      imagesChanged(store);
      const users = inUse?.(id) ?? [];
      if (users.length > 0) return users;
      for (const table of ["image_name", "image_layer", "image_blob"]) {
        database.query(`DELETE FROM ${table} WHERE image = ?1`).run(id);
      }
      database.query("DELETE FROM image WHERE id = ?1").run(id);
      return [];
    })
    .immediate();
}

/** What lies in the store and no row names. */
function leftovers(store: ImageStore): string[] {
  const { database } = store;
  const known = new Set(
    database
      .query<{ layer: string }, []>("SELECT layer FROM image_layer UNION SELECT substr(digest, 8) FROM image_blob")
      .all()
      .map(({ layer }) => layer),
  );
  const trees = readdirSync(layersDirectory(store)).map((name) => `layers/${name}`);
  const blobs = readdirSync(blobsDirectory(store)).map((name) => `blobs/sha256/${name}`);
  return [...trees, ...blobs].filter((path) => !known.has(path.slice(path.lastIndexOf("/") + 1)));
}
