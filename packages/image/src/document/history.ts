import { BoxError } from "@bantubox/ffi";
import * as z from "zod/mini";
import type { HistoryEntry } from "../make/new-image.ts";
import { getImage } from "../store/find.ts";
import { driverName, type ImageStore } from "../store/store.ts";
import { chainOf } from "../store/trees.ts";
import { imageDetails, incomplete, readDocument } from "./details.ts";
import { type Manifest, parseConfig, parseManifest } from "./manifest.ts";

/** One step of how an image was made. */
export interface ImageStep extends HistoryEntry {
  /** The image's ID for its last step; absent for the others, which are no images. */
  readonly id: string | undefined;
  /** What its layer adds; 0 for a step without one. */
  readonly bytes: number;
}

/**
 * How an image was made, the last step first; by its own words.
 *
 * @throws {BoxError} `no-such-image`, `image-ambiguous`, `image-built-in`, `image-incomplete`
 */
export async function imageHistory(store: ImageStore, text: string): Promise<ImageStep[]> {
  const image = getImage(store, text);
  if (image.kind === "host") throw new BoxError("image-built-in", 'Cannot tell how "host" was made: it is built in');
  const { id, manifest: digest } = imageDetails(store, image.id);
  const manifest = parseManifest(await readDocument(store, id, digest), "");
  if (manifest.kind !== "manifest") throw incomplete(id, "manifest is an index");
  const config = await readDocument(store, id, id);
  const sizes = layerSizes(store, manifest, config);
  const history = readHistory(config);
  const steps: ImageStep[] = history.map((entry) => ({
    ...entry,
    id: undefined,
    bytes: entry.isEmpty === true ? 0 : (sizes.shift() ?? 0),
  }));
  // Some builders leave out what they add.
  for (const bytes of sizes) steps.push({ id: undefined, bytes });
  return steps.reverse().map((step, at) => (at === 0 ? { ...step, id } : step));
}

const text = z.nullish(z.string());
const schema = z.object({
  history: z.nullish(
    z.array(
      z.object({ created: text, created_by: text, author: text, comment: text, empty_layer: z.nullish(z.boolean()) }),
    ),
  ),
});

/** The steps that a config tells of, the first one first. Those of a config that `parseConfig` takes; others are none. */
export function readHistory(config: Uint8Array): HistoryEntry[] {
  const result = z.safeParse(schema, JSON.parse(new TextDecoder().decode(config)));
  return (result.data?.history ?? []).map((entry) => ({
    created: entry.created ?? undefined,
    createdBy: entry.created_by ?? undefined,
    author: entry.author ?? undefined,
    comment: entry.comment ?? undefined,
    isEmpty: entry.empty_layer ?? undefined,
  }));
}

/** From bottom to top; of a layer that has no tree of its own, what its blob has. */
function layerSizes(store: ImageStore, { layers }: Manifest, config: Uint8Array): number[] {
  const { diffIds } = parseConfig(config, layers.length);
  const trees = driverName(store) === "overlay" ? diffIds.map((diffId) => diffId.slice(7)) : chainOf(diffIds);
  const find = store.database.query<{ bytes: number }, [string]>("SELECT bytes FROM layer WHERE id = ?1");
  return layers.map(({ size }, at) => find.get(trees[at] ?? "")?.bytes ?? size);
}
