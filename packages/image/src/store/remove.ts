import { BoxError } from "@bantubox/ffi";
import { quote } from "../document/digest.ts";
import { familiarName, formatReference, parseReference } from "../document/reference.ts";
import { getImage } from "./find.ts";
import { collectGarbage, markGarbage } from "./garbage.ts";
import { type ImageFilter, listImages } from "./list.ts";
import { imagesChanged } from "./marker.ts";
import type { ImageStore } from "./store.ts";

export interface RemoveOptions {
  /** Takes all its names away, and deletes it unless containers still stand on it. */
  readonly force?: boolean | undefined;
  /**
   * Containers that need an image. Asked within the transaction, so a container that is created at
   * the same time is either seen, or does not find the image any more.
   */
  readonly inUse?: ((imageId: string) => readonly string[]) | undefined;
}

export interface Removed {
  /** Names, as people write them. */
  readonly untagged: readonly string[];
  /** The image's ID, if it is gone altogether. */
  readonly deleted: string | undefined;
}

/**
 * Takes a name from an image, and deletes the image with its last name; by ID, all names at once.
 *
 * An image in use is kept: without a name when forced to, which frees the name and harms no container.
 *
 * @throws {BoxError} `no-such-image`, `image-ambiguous`, `image-in-use`, `image-has-names`, `image-built-in`
 */
export async function removeImage(store: ImageStore, text: string, options: RemoveOptions = {}): Promise<Removed> {
  const removed = store.database.transaction(() => removeRows(store, text, options)).immediate();
  if (removed.deleted !== undefined) await collectGarbage(store);
  return removed;
}

function removeRows(store: ImageStore, text: string, { force = false, inUse }: RemoveOptions): Removed {
  const { database } = store;
  imagesChanged(store);
  const { id, kind } = getImage(store, text);
  if (kind === "host") {
    throw new BoxError("image-built-in", `Cannot remove image "host": it is built in`);
  }
  const names = database
    .query<{ name: string; repository: string }, [string]>(
      "SELECT name, repository FROM image_name WHERE image = ?1 ORDER BY name",
    )
    .all(id);
  const called = calledName(
    text,
    names.map(({ name }) => name),
  );
  const untag = database.query("DELETE FROM image_name WHERE name = ?1");
  if (called !== undefined && names.length > 1) {
    untag.run(called);
    return { untagged: [familiarName(called)], deleted: undefined };
  }
  if (called === undefined && !force && new Set(names.map(({ repository }) => repository)).size > 1) {
    throw new BoxError("image-has-names", `Cannot remove image ${quote(text)}: it has names in several repositories`, {
      hint: `Remove its names (${names.map(({ name }) => familiarName(name)).join(", ")}), or use --force`,
    });
  }
  const users = inUse?.(id) ?? [];
  if (users.length > 0 && !force) {
    const who = users.slice(0, 3).map(quote).join(", ");
    throw new BoxError(
      "image-in-use",
      `Cannot remove image ${quote(text)}: containers use it (${who}${users.length > 3 ? ", …" : ""})`,
      {
        hint: "Remove these first, or use --force to take only its name away",
      },
    );
  }
  if (users.length > 0 && names.length === 0) {
    throw new BoxError("image-in-use", `Cannot remove image ${quote(text)}: containers use it`, {
      hint: "Remove these first",
    });
  }
  if (users.length === 0) deleteRows(store, id);
  else for (const { name } of names) untag.run(name);
  return { untagged: names.map(({ name }) => familiarName(name)), deleted: users.length === 0 ? id : undefined };
}

/** Forgets an image and its names; its layers and blobs are garbage then. Part of the caller's transaction. */
function deleteRows(store: ImageStore, id: string): void {
  const { database } = store;
  // Spelt out: the database may have been opened without foreign keys.
  for (const table of ["image_name", "image_layer", "image_blob"])
    database.query(`DELETE FROM ${table} WHERE image = ?1`).run(id);
  database.query("DELETE FROM image WHERE id = ?1").run(id);
  markGarbage(store);
}

export interface PruneOptions extends Pick<ImageFilter, "labels" | "withoutLabels" | "untilMs"> {
  /** Also images that have names. */
  readonly all?: boolean | undefined;
  readonly inUse?: RemoveOptions["inUse"];
}

export interface Pruned {
  readonly removed: readonly Removed[];
  /** On disk. */
  readonly bytes: number;
}

/** Deletes images that no container needs: those without a name, or all. */
export async function pruneImages(store: ImageStore, options: PruneOptions = {}): Promise<Pruned> {
  const { all = false, inUse, ...filter } = options;
  const removed: Removed[] = [];
  for (const { id } of listImages(store, { ...filter, ...(!all && { dangling: true }) })) {
    const one = store.database.transaction(() => pruneRows(store, id, all, inUse)).immediate();
    if (one !== undefined) removed.push(one);
  }
  const { bytes } = await collectGarbage(store);
  return { removed, bytes };
}

/** Looked at once more: it may have got a name or a container since it was listed. */
function pruneRows(store: ImageStore, id: string, all: boolean, inUse: RemoveOptions["inUse"]): Removed | undefined {
  imagesChanged(store);
  const names = store.database
    .query<{ name: string }, [string]>("SELECT name FROM image_name WHERE image = ?1 ORDER BY name")
    .all(id);
  if ((!all && names.length > 0) || (inUse?.(id) ?? []).length > 0) return undefined;
  deleteRows(store, id);
  return { untagged: names.map(({ name }) => familiarName(name)), deleted: id };
}

/** Which of the image's names `text` is, if it is one and not an ID. */
function calledName(text: string, names: readonly string[]): string | undefined {
  if (/^[a-f0-9]{64}$/.test(text)) return undefined;
  const name = formatReference(parseReference(text));
  return names.includes(name) ? name : undefined;
}
