import { BoxError } from "@bantubox/ffi";
import { quote } from "../document/digest.ts";
import { familiarName, formatReference, parseReference, repositoryName } from "../document/reference.ts";
import { HOST_IMAGE, type Image, type ImageKind, type ImageStore, type RunConfig } from "./store.ts";

/**
 * Finds an image by name, digest, ID or the beginning of an ID. By name it is one query.
 *
 * @throws {BoxError} `reference-invalid`, or `image-ambiguous` when several IDs begin so.
 */
export function findImage(store: ImageStore, text: string): Image | undefined {
  if (text === "host") return HOST_IMAGE;
  return toImage(findByName(store, text) ?? findById(store, text));
}

/** As `findImage`. @throws {BoxError} Also `no-such-image`, with names that are near. */
export function getImage(store: ImageStore, text: string): Image {
  const image = findImage(store, text);
  if (image !== undefined) return image;
  const near = suggestNames(store, text);
  throw new BoxError("no-such-image", `Cannot find image ${quote(text)}: there is none of that name here`, {
    hint: near.length === 0 ? undefined : `Did you mean ${near.map(quote).join(" or ")}?`,
  });
}

/** Names of images here that `text` may have been meant to be: at most three, the nearest first. */
export function suggestNames(store: ImageStore, text: string): string[] {
  const rows = store.database.query<{ name: string }, []>("SELECT name FROM image_name").all();
  const wanted = text
    .slice(0, 128)
    .toLowerCase()
    .replace(/:latest$/, "");
  const [wantedRepository = ""] = wanted.split(/[:@]/);
  const near: { name: string; distance: number }[] = [];
  for (const full of [...rows.map(({ name }) => familiarName(name)), "host"]) {
    const name = full.replace(/:latest$/, "");
    const [repository = ""] = name.split(/[:@]/);
    // Another tag of the same repository is what people miss most.
    const distance =
      repository === wantedRepository
        ? 0
        : Math.min(editDistance(wanted, name), editDistance(wantedRepository, repository));
    if (distance <= Math.max(1, Math.floor(wantedRepository.length / 3))) near.push({ name, distance });
  }
  near.sort((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1));
  return near.slice(0, 3).map(({ name }) => name);
}

interface ImageRow {
  readonly id: string;
  readonly kind: ImageKind;
  readonly name: string | null;
  readonly config: string;
  readonly layers: string;
}

function toImage(row: ImageRow | undefined): Image | undefined {
  if (row === undefined) return undefined;
  return {
    id: row.id,
    kind: row.kind,
    name: row.name === null ? "" : familiarName(row.name),
    // Our own writing, typed when it was written.
    config: JSON.parse(row.config) as RunConfig,
    layers: row.layers === "" ? [] : row.layers.split(" "),
  };
}

function findByName(store: ImageStore, text: string): ImageRow | undefined {
  // 64 digits are an ID, which the grammar of names rules out.
  if (text.length === 64 && !/[^0-9a-f]/.test(text)) return undefined;
  const reference = parseReference(text);
  const row = store.database
    .query<ImageRow, [string]>(
      "SELECT i.id, i.kind, n.name, i.config, i.layers FROM image_name n JOIN image i ON i.id = n.image WHERE n.name = ?1",
    )
    .get(formatReference(reference));
  if (row !== null || reference.digest === undefined) return row ?? undefined;
  return (
    store.database
      .query<ImageRow, [string, string]>(
        "SELECT i.id, i.kind, n.name, i.config, i.layers FROM image_name n JOIN image i ON i.id = n.image WHERE (n.digest = ?1 OR i.manifest = ?1) AND n.repository = ?2 LIMIT 1",
      )
      .get(reference.digest, repositoryName(reference)) ?? undefined
  );
}

function findById(store: ImageStore, text: string): ImageRow | undefined {
  const hex = text.startsWith("sha256:") ? text.slice(7) : text;
  if (!/^[0-9a-f]{1,64}$/.test(hex)) return undefined;
  const rows = store.database
    .query<ImageRow, [string, string]>(
      `SELECT i.id, i.kind, (SELECT min(name) FROM image_name WHERE image = i.id) AS name, i.config, i.layers
       FROM image i WHERE i.id >= ?1 AND i.id < ?2 LIMIT 4`,
    )
    .all(`sha256:${hex}`, `sha256:${hex}g`);
  if (rows.length > 1) throw ambiguous(text, hex, rows);
  return rows[0];
}

/** Shows as much of each ID as tells it from the others, and one digit more. */
function ambiguous(text: string, hex: string, rows: readonly ImageRow[]): BoxError {
  const ids = rows.map(({ id }) => id.slice(7));
  let length = hex.length + 1;
  while (new Set(ids.map((id) => id.slice(0, length))).size < ids.length) length++;
  const candidates = rows.slice(0, 3).map(({ name }, at) => {
    const id = ids[at]?.slice(0, Math.max(12, length + 1));
    return name === null ? id : `${id} (${familiarName(name)})`;
  });
  const more = rows.length > 3 ? " or others" : "";
  return new BoxError("image-ambiguous", `Cannot tell which image ${quote(text)} is: several IDs begin so`, {
    hint: `Write more of the ID: it could be ${candidates.join(" or ")}${more}`,
  });
}

/** How many letters were typed wrongly, left out, added or swapped with their neighbour. For short strings. */
function editDistance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, index) => index)];
  const at = (i: number, j: number) => rows[i]?.[j] ?? 0;
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j++) {
      const replaced = at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let best = Math.min(replaced, at(i - 1, j) + 1, at(i, j - 1) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, at(i - 2, j - 2) + 1);
      row.push(best);
    }
  }
  return at(a.length, b.length);
}
