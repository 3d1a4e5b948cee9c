import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Digest } from "../document/digest.ts";
import { familiarName } from "../document/reference.ts";
import { blobPath, hasBlob } from "../store/blobs.ts";
import { collectLocked, lockAlone } from "../store/garbage.ts";
import { imagesChanged } from "../store/marker.ts";
import { missingBlobs } from "../store/missing-blobs.ts";
import { blobsDirectory, type ImageStore, layersDirectory } from "../store/store.ts";
import { hasTree } from "../store/trees.ts";
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
  /** Mends what can be mended, and removes images that have lost files unless a container needs them. */
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
 *
 * An image whose trees are there is never removed, whatever else of it is missing: a pull brings that.
 */
export async function checkImages(store: ImageStore, options: CheckOptions = {}): Promise<Problem[]> {
  using _alone = await lockAlone(store, options.signal);
  const problems: Problem[] = [...checkDatabase(store)];
  const images: CheckedImage[] = [];
  for (const image of imageRows(store)) images.push(await checkDocuments(store, image, problems));
  const { lost, incomplete } = await checkTrees({ store, options, problems }, images);
  for (const image of images) {
    const gone = lost.get(image.id);
    const lacking = image.problem ?? incomplete.get(image.id);
    if (gone === undefined && lacking !== undefined && hasAllTrees(store, image)) {
      problems.push(leaveForPull(store, image, lacking, options));
    } else if (gone !== undefined || lacking !== undefined) {
      problems.push(giveUp(store, image, gone ?? lacking ?? "", options));
    }
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

/** Whether everything is there that containers of the image stand on. */
function hasAllTrees(store: ImageStore, { id, trees }: CheckedImage): boolean {
  const needed = store.database
    .query<{ layer: string }, [string]>("SELECT layer FROM image_layer WHERE image = ?1")
    .all(id)
    .map(({ layer }) => layer);
  return [...trees, ...needed].every((tree) => hasTree(store, tree) && existsSync(join(layersDirectory(store), tree)));
}

/** An image that runs, but cannot be saved or pushed: `repair` takes away what keeps a pull from mending it. */
function leaveForPull(store: ImageStore, image: CheckedImage, problem: string, options: CheckOptions): Problem {
  const { id, corrupt } = image;
  const isInTheWay = corrupt.some((digest) => hasBlob(store, digest));
  if (options.repair) for (const digest of corrupt) rmSync(blobPath(store, digest), { force: true });
  const first = isInTheWay && !options.repair ? "--repair throws away what is damaged; then " : "";
  const why = `${problem}; it can be run, but neither saved nor pushed`;
  const action = `${first}${howAgain(store, image)}`;
  return { kind: "image", id, problem: why, isDamage: true, action, isRepaired: false };
}

/** Where what is missing of an image can be had. */
function howAgain(store: ImageStore, { id, kind, names, corrupt }: CheckedImage): string {
  if (kind === "pulled" && names.length > 0) return `pull it again: ${names.join(", ")}`;
  // What was made here has its lower layers from another image.
  const query = store.database.query<{ name: string }, [string]>(
    `SELECT n.name FROM image_name n JOIN image i ON i.id = n.image JOIN image_blob b ON b.image = i.id
     WHERE i.kind = 'pulled' AND b.digest = ?1 ORDER BY n.name`,
  );
  const found = [...missingBlobs(store, id), ...corrupt].flatMap((digest) => query.all(digest));
  const below = [...new Set(found.map(({ name }) => familiarName(name)))];
  if (below.length > 0) return `pull what it was made of again: ${below.join(", ")}`;
  if (names.length === 0) return "make it again";
  return `pull it again if a registry has it, or make it again: ${names.join(", ")}`;
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
