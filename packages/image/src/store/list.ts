import { BoxError } from "@bantubox/ffi";
import { quote } from "../document/digest.ts";
import { familiarName } from "../document/reference.ts";
import { getImage } from "./find.ts";
import { globMatches } from "./glob.ts";
import type { ImageKind, ImageStore, RunConfig } from "./store.ts";

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
  readonly layers: number;
  readonly config: string;
}

interface NameRow {
  readonly image: string;
  readonly name: string;
  readonly repository: string;
  readonly digest: string;
}

/**
 * Images, the newest first. The built-in `host` is not among them.
 *
 * @throws {BoxError} `no-such-image`, `image-ambiguous`, `reference-invalid` for what the filter names.
 */
export function listImages(store: ImageStore, filter: ImageFilter = {}): ImageSummary[] {
  const wantsLabels = filter.labels !== undefined || filter.withoutLabels !== undefined;
  // Joined here: a thousand look-ups by SQLite take longer than reading both tables. A layer's name has 64 digits.
  const { rows, names } = store.database.transaction(() => ({
    rows: store.database
      .query<Row, []>(
        `SELECT id, kind, platform, created, bytes, (length(layers) + 1) / 65 AS layers,
           ${wantsLabels ? "config" : "'' AS config"} FROM image ORDER BY created DESC, id`,
      )
      .all(),
    names: namesByImage(store),
  }))();
  const isWanted = testOf(store, filter);
  const images: ImageSummary[] = [];
  for (const { config, ...row } of rows) {
    const called = names.get(row.id) ?? [];
    if (!isWanted({ ...row, config }, called.length > 0)) continue;
    const all = called.map(({ name }) => familiarName(name)).sort();
    const referred = all.filter((name) => isReferred(name, filter.references));
    if (filter.references !== undefined && referred.length === 0) continue;
    const digests = called.map(({ repository, digest }) => `${familiarName(repository)}@${digest}`);
    images.push({ ...row, names: referred, digests: [...new Set(digests)].sort() });
  }
  return images;
}

function namesByImage({ database }: ImageStore): Map<string, NameRow[]> {
  const names = new Map<string, NameRow[]>();
  for (const row of database.query<NameRow, []>("SELECT image, name, repository, digest FROM image_name").all()) {
    const known = names.get(row.image);
    if (known === undefined) names.set(row.image, [row]);
    else known.push(row);
  }
  return names;
}

function testOf(store: ImageStore, filter: ImageFilter): (row: Row, isNamed: boolean) => boolean {
  const { dangling, labels = [], withoutLabels = [], untilMs } = filter;
  const beforeMs = filter.before === undefined ? undefined : createdMs(store, filter.before);
  const sinceMs = filter.since === undefined ? undefined : createdMs(store, filter.since);
  for (const pattern of filter.references ?? []) checkPattern(pattern);
  return (row, isNamed) => {
    if (dangling === isNamed) return false;
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
