import { BoxError } from "@bantubox/ffi";
import { quote } from "./digest.ts";
import { globMatches } from "./glob.ts";
import { familiarName } from "./reference.ts";
import { getImage, type ImageKind, type ImageStore, type RunConfig } from "./store.ts";

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

/** Which images are wanted: all that is said must hold. */
export interface ImageFilter {
  /** Those without a name, or those with one. */
  readonly dangling?: boolean | undefined;
  /** `key` or `key=value`: each of them must be there. */
  readonly labels?: readonly string[] | undefined;
  /** As `labels`: none of them may be there. */
  readonly withoutLabels?: readonly string[] | undefined;
  /** Made before or after this image. */
  readonly before?: string | undefined;
  readonly since?: string | undefined;
  /** Made before this moment, in milliseconds since 1970. */
  readonly untilMs?: number | undefined;
  /** Patterns such as `team/*:1.*`, of which one must fit a name; other names are left out. */
  readonly references?: readonly string[] | undefined;
}

interface Row {
  readonly id: string;
  readonly kind: ImageKind;
  readonly platform: string;
  readonly created: string;
  readonly bytes: number;
  readonly layers: string;
  readonly config: string;
  readonly names: string | null;
  readonly digests: string | null;
}

/**
 * Images, the newest first. The built-in `host` is not among them.
 *
 * @throws {BoxError} `no-such-image`, `image-ambiguous`, `reference-invalid` for what the filter names.
 */
export function listImages(store: ImageStore, filter: ImageFilter = {}): ImageSummary[] {
  const wantsLabels = filter.labels !== undefined || filter.withoutLabels !== undefined;
  const rows = store.database
    .query<Row, []>(
      `SELECT i.id, i.kind, i.platform, i.created, i.bytes, i.layers, ${wantsLabels ? "i.config" : "'' AS config"},
         group_concat(n.name, ' ') AS names, group_concat(n.repository || '@' || n.digest, ' ') AS digests
       FROM image i LEFT JOIN image_name n ON n.image = i.id GROUP BY i.id ORDER BY i.created DESC, i.id`,
    )
    .all();
  const isWanted = testOf(store, filter);
  const images: ImageSummary[] = [];
  for (const row of rows) {
    if (!isWanted(row)) continue;
    const all = split(row.names).map(familiarName).sort();
    const names = all.filter((name) => isReferred(name, filter.references));
    if (filter.references !== undefined && names.length === 0) continue;
    images.push({
      id: row.id,
      kind: row.kind,
      names,
      digests: [...new Set(split(row.digests).map(familiarName))].sort(),
      platform: row.platform,
      created: row.created,
      bytes: row.bytes,
      layers: split(row.layers).length,
    });
  }
  return images;
}

function testOf(store: ImageStore, filter: ImageFilter): (row: Row) => boolean {
  const { dangling, labels = [], withoutLabels = [], untilMs } = filter;
  const beforeMs = filter.before === undefined ? undefined : createdMs(store, filter.before);
  const sinceMs = filter.since === undefined ? undefined : createdMs(store, filter.since);
  for (const pattern of filter.references ?? []) checkPattern(pattern);
  return (row) => {
    if (dangling !== undefined && (row.names === null) !== dangling) return false;
    if (beforeMs !== undefined && !(Date.parse(row.created) < beforeMs)) return false;
    if (sinceMs !== undefined && !(Date.parse(row.created) > sinceMs)) return false;
    if (untilMs !== undefined && !(Date.parse(row.created) < untilMs)) return false;
    if (labels.length + withoutLabels.length === 0) return true;
    const has = (JSON.parse(row.config) as RunConfig).labels;
    return labels.every((label) => isLabelled(has, label)) && !withoutLabels.some((label) => isLabelled(has, label));
  };
}

function createdMs(store: ImageStore, text: string): number {
  const { id } = getImage(store, text);
  const row = store.database.query<{ created: string }, [string]>("SELECT created FROM image WHERE id = ?1").get(id);
  return Date.parse(row?.created ?? "");
}

function isLabelled(labels: RunConfig["labels"], wanted: string): boolean {
  const equals = wanted.indexOf("=");
  const name = equals < 0 ? wanted : wanted.slice(0, equals);
  return labels.some(([key, value]) => key === name && (equals < 0 || value === wanted.slice(equals + 1)));
}

/** A pattern is compared with names as people write them, with and without what follows the repository. */
function isReferred(name: string, patterns: readonly string[] | undefined): boolean {
  if (patterns === undefined) return true;
  const end = name.includes("@") ? name.indexOf("@") : name.lastIndexOf(":");
  const repository = name.slice(0, end);
  return patterns.some((pattern) => {
    const familiar = familiarName(pattern);
    return globMatches(familiar, name) === true || globMatches(familiar, repository) === true;
  });
}

function checkPattern(pattern: string): void {
  if (globMatches(pattern, "") !== undefined) return;
  throw new BoxError("reference-invalid", `Cannot use ${quote(pattern)} as a pattern of names: it is malformed`, {
    hint: 'Write it as "alpine", "team/*" or "*:1.[0-9]"',
  });
}

/** Names, layers and digests hold no spaces. */
function split(text: string | null): string[] {
  return text === null || text === "" ? [] : text.split(" ");
}
