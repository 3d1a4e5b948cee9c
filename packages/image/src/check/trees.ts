import { existsSync } from "node:fs";
import { join } from "node:path";
import { BoxError, call, cstr, Fd, O } from "@bantubox/ffi";
import { type Digest, digestHex } from "../document/digest.ts";
import { extractLayer, type LayerResult } from "../layer/layer.ts";
import type { StorageDriver, WholeTrees } from "../storage/driver.ts";
import { driverOf } from "../storage/drivers.ts";
import { removeTree } from "../storage/remove.ts";
import { blobPath, hasBlob, isIntact } from "../store/blobs.ts";
import { makeLayerDirectory } from "../store/commit.ts";
import { type ImageStore, layersDirectory } from "../store/store.ts";
import { chainOf, hasTree } from "../store/trees.ts";
import { archiveStored } from "../tree/archive.ts";
import { copyTree } from "../tree/copy.ts";
import type { CheckOptions, Problem } from "./check.ts";
import { blobProblem, type CheckedImage } from "./documents.ts";
import { differenceOf } from "./same-tree.ts";

interface Context {
  readonly store: ImageStore;
  readonly options: CheckOptions;
  /** Found so far; more are added. */
  readonly problems: Problem[];
  /** Trees that need no second look. */
  readonly fine: Set<string>;
  /** What is wrong with blobs that were looked at: by digest and diff ID; undefined for nothing. */
  readonly blobs: Map<string, string | undefined>;
  readonly verdict: Verdict;
}

/** What is wrong with images as a whole, by their IDs. */
export interface Verdict {
  /** They have layers that can neither be used nor made again. */
  readonly lost: Map<string, string>;
  /** They lack bytes that they are saved and pushed from. */
  readonly incomplete: Map<string, string>;
}

type Layer = CheckedImage["layers"][number];

/** What a layer's tree should be, made once more. */
interface Rebuilt {
  readonly directory: string;
  readonly bytes: number;
  readonly isRootOpaque: boolean;
}

/** A layer that cannot be made again. */
class Lost extends Error {}

/** Checks the layers of all images: their blobs, their trees, and whether these belong together. */
export async function checkTrees(
  given: Pick<Context, "store" | "options" | "problems">,
  images: readonly CheckedImage[],
): Promise<Verdict> {
  const driver = driverOf(given.store);
  const verdict: Verdict = { lost: new Map(), incomplete: new Map() };
  const context: Context = { ...given, fine: new Set(), blobs: new Map(), verdict };
  for (const image of images) {
    try {
      if (driver.whole === undefined) await checkDifferences(context, image);
      else await checkChain(context, image, driver);
    } catch (error) {
      if (!(error instanceof Lost)) throw error;
      verdict.lost.set(image.id, error.message);
    }
  }
  return verdict;
}

async function checkDifferences(context: Context, image: CheckedImage): Promise<void> {
  const { options, fine } = context;
  for (const layer of image.layers) {
    const tree = digestHex(layer.diffId);
    if (options.quick) checkPresence(context, image, layer, tree);
    else if (fine.has(tree)) await checkBlob(context, image, layer, tree);
    else {
      const rebuilt = await rebuild(context, image, layer, tree);
      if (rebuilt === "unknown") continue;
      if (rebuilt !== "itself") {
        const found = await compare(context, image, tree, rebuilt).catch(async (error: unknown) => {
          await removeTree(rebuilt.directory);
          throw error;
        });
        if (found !== "replaced") await removeTree(rebuilt.directory);
      }
      fine.add(tree);
    }
  }
}

async function checkChain(context: Context, image: CheckedImage, driver: StorageDriver): Promise<void> {
  const { store, options, fine } = context;
  const { keepsEveryLayer, copy } = driver.whole as WholeTrees;
  const chain = chainOf(image.layers.map(({ diffId }) => diffId));
  /** What lies below: a tree of the store, or one that was made here. */
  let below: { directory: string; isOurs: boolean; bytes: number } | undefined;
  /** It cannot be told, as a blob is missing: then neither can what is above it, up to the next tree of the store. */
  let isUnknown = false;

  async function drop(): Promise<void> {
    if (below?.isOurs) await removeTree(below.directory);
    below = undefined;
  }

  try {
    for (const [index, layer] of image.layers.entries()) {
      const tree = chain[index] as string;
      const isKept = keepsEveryLayer || index === chain.length - 1 || hasTree(store, tree);
      if (options.quick) {
        checkPresence(context, image, layer, isKept ? tree : undefined);
        continue;
      }
      const stored = join(layersDirectory(store), tree);
      if (fine.has(tree) || isUnknown) await checkBlob(context, image, layer, tree);
      else {
        const rebuilt = await rebuild(context, image, layer, tree);
        if (rebuilt === "unknown") isUnknown = true;
        else if (rebuilt !== "itself") {
          const bytes = (keepsEveryLayer || rebuilt.isRootOpaque ? 0 : (below?.bytes ?? 0)) + rebuilt.bytes;
          below = await mergeOver(rebuilt, bytes);
          if (!isKept) continue;
          const found = await compare(context, image, tree, { ...rebuilt, ...below, isRootOpaque: false }, true);
          // What lies above is compared with what it should lie on.
          if (found === "broken") continue;
          if (found === "replaced") below = undefined;
        }
      }
      await drop();
      if (isUnknown && !(isKept && presenceProblem(store, tree) === undefined)) continue;
      if (!isUnknown) fine.add(tree);
      isUnknown = false;
      below = { directory: stored, isOurs: false, bytes: 0 };
    }
  } finally {
    await drop();
  }

  /** The layer over what is below it, in a tree of our own. */
  async function mergeOver(layer: Rebuilt, bytes: number): Promise<{ directory: string; isOurs: true; bytes: number }> {
    const target = below?.isOurs && !layer.isRootOpaque ? below.directory : makeLayerDirectory(store);
    try {
      if (below !== undefined && !below.isOurs && !layer.isRootOpaque) {
        await removeTree(target);
        await copy(below.directory, target, options.signal);
      }
      await copyTree(layer.directory, target, { difference: { move: false }, signal: options.signal });
    } catch (error) {
      await removeTree(target);
      throw error;
    } finally {
      await removeTree(layer.directory);
    }
    if (below?.isOurs && below.directory !== target) await removeTree(below.directory);
    return { directory: target, isOurs: true, bytes };
  }
}

/** Whether the files are there, without a look at what is in them. @param tree If it is to be there. */
function checkPresence(context: Context, image: CheckedImage, layer: Layer, tree: string | undefined): void {
  const { store, problems } = context;
  const isThere = hasBlob(store, layer.descriptor.digest);
  if (!isThere && !isMadeHere(image, layer, tree)) lacks(context, image, layer, "is missing");
  else {
    const problem = tree === undefined ? undefined : presenceProblem(store, tree);
    if (problem === undefined) return;
    if (!isThere) throw new Lost(`of its layer ${layer.diffId} ${problem}`);
    problems.push(layerProblem(tree as string, problem, "--repair extracts it again"));
  }
}

/** Its blob need not be stored: its tree makes it again, where that is the layer's alone. */
function isMadeHere({ kind }: CheckedImage, { descriptor, diffId }: Layer, tree: string | undefined): boolean {
  return kind === "local" && descriptor.digest === diffId && tree === digestHex(diffId);
}

/** Says that the image cannot be saved or pushed for want of a layer's blob. */
function lacks({ store, problems, verdict }: Context, image: CheckedImage, layer: Layer, why: string): void {
  const { digest } = layer.descriptor;
  problems.push({ ...blobProblem(store, digest), ...(why !== "is missing" && { problem: why }) });
  const text = why === "is missing" ? "is missing" : "is damaged";
  if (!verdict.incomplete.has(image.id)) verdict.incomplete.set(image.id, `its layer ${digest} ${text}`);
}

function presenceProblem(store: ImageStore, tree: string): string | undefined {
  if (!existsSync(join(layersDirectory(store), tree))) return "its directory is missing";
  return hasTree(store, tree) ? undefined : "its row is missing";
}

/**
 * Extracts a layer's blob again, which verifies both of its digests.
 *
 * @returns `itself` when the tree is the only thing there is, and is right; `unknown` when there is nothing to tell it
 *   by.
 */
async function rebuild(
  context: Context,
  image: CheckedImage,
  layer: Layer,
  tree: string,
): Promise<Rebuilt | "itself" | "unknown"> {
  const { store } = context;
  const { descriptor, diffId } = layer;
  const isStored = hasBlob(store, descriptor.digest);
  if (!isStored && isMadeHere(image, layer, tree)) {
    await checkArchive(context, diffId, tree);
    return "itself";
  }
  const directory = isStored ? makeLayerDirectory(store) : undefined;
  const result = await readLayerBlob(context, image, layer, directory).catch(async (error: unknown) => {
    if (directory !== undefined) await removeTree(directory);
    throw error;
  });
  if (result !== undefined && directory !== undefined) {
    const { bytes, isRootOpaque } = result;
    return { directory, bytes, isRootOpaque };
  }
  if (directory !== undefined) await removeTree(directory);
  return "unknown";
}

/** Looks at the blob of a layer whose tree is known by another one, or cannot be made. */
async function checkBlob(context: Context, image: CheckedImage, layer: Layer, tree: string): Promise<void> {
  if (!hasBlob(context.store, layer.descriptor.digest) && isMadeHere(image, layer, tree)) {
    await checkArchive(context, layer.diffId, tree);
  } else await readLayerBlob(context, image, layer, undefined);
}

/** Extracts a blob into `directory`, or only verifies it. @returns Undefined when it is missing or not as it should be. */
async function readLayerBlob(
  context: Context,
  image: CheckedImage,
  layer: Layer,
  directory: string | undefined,
): Promise<LayerResult | undefined> {
  const { store, options, blobs } = context;
  const { descriptor, diffId } = layer;
  const { digest } = descriptor;
  const key = `${digest} ${diffId}`;
  if (!hasBlob(store, digest)) {
    lacks(context, image, layer, "is missing");
    return undefined;
  }
  const known = blobs.get(key);
  if (known !== undefined) lacks(context, image, layer, known);
  if (known !== undefined || (blobs.has(key) && directory === undefined)) return undefined;
  options.onProgress?.(digest);
  try {
    const blob = blobPath(store, digest);
    const result = await extractLayer({ blob, directory, digest, diffId, signal: options.signal });
    blobs.set(key, undefined);
    return result;
  } catch (error) {
    if (!(error instanceof BoxError) || !/^(layer|tar)-/.test(error.code)) throw error;
    // What is wrong may be what this image says of it: then others need it.
    if (!(await isIntact(store, digest))) image.corrupt.push(digest);
    blobs.set(key, error.message);
    lacks(context, image, layer, error.message);
    return undefined;
  }
}

/** A layer that was made of a directory has no blob: its tar is made again, and must be the same. */
async function checkArchive(context: Context, diffId: Digest, tree: string): Promise<void> {
  const { options, blobs } = context;
  const known = blobs.get(tree);
  if (known !== undefined) throw new Lost(known);
  if (blobs.has(tree)) return;
  options.onProgress?.(diffId);
  try {
    await hashArchive(context, diffId, tree);
    blobs.set(tree, undefined);
  } catch (error) {
    if (error instanceof Lost) blobs.set(tree, error.message);
    throw error;
  }
}

async function hashArchive({ store, options }: Context, diffId: Digest, tree: string): Promise<void> {
  const problem = presenceProblem(store, tree);
  if (problem !== undefined) throw new Lost(`of its layer ${diffId} ${problem}`);
  const hash = new Bun.CryptoHasher("sha256");
  for await (const chunk of archiveStored(join(layersDirectory(store), tree))) {
    hash.update(chunk);
    options.signal?.throwIfAborted();
  }
  if (`sha256:${hash.digest("hex")}` !== diffId) throw new Lost(`the files of its layer ${diffId} have changed`);
}

/**
 * Compares a tree of the store with what it should be, which `repair` puts into its place: then it is gone from where
 * it was.
 *
 * @param isWhole Containers have copies of their own, so that it can be exchanged at any time.
 */
async function compare(
  { store, options, problems }: Context,
  image: CheckedImage,
  tree: string,
  rebuilt: Rebuilt,
  isWhole = false,
): Promise<"fine" | "broken" | "replaced"> {
  const stored = join(layersDirectory(store), tree);
  const isThere = existsSync(stored);
  const difference = isThere ? await differenceOf(stored, rebuilt.directory, options.signal) : undefined;
  const problem = difference ?? presenceProblem(store, tree);
  if (problem === undefined) return "fine";
  const running = isWhole || !isThere ? [] : (options.running?.(image.id) ?? []);
  if (!options.repair || running.length > 0) {
    const first = running.length > 0 ? `stop what runs on it (${running.join(", ")}), then ` : "";
    problems.push(layerProblem(tree, problem, `${first}--repair extracts it again`));
    return "broken";
  }
  exchange(rebuilt.directory, stored, isThere);
  store.database
    .query("INSERT OR IGNORE INTO layer (id, bytes, opaque) VALUES (?1, ?2, ?3)")
    .run(tree, rebuilt.bytes, rebuilt.isRootOpaque ? 1 : 0);
  store.database.query("INSERT OR IGNORE INTO image_layer (image, layer) VALUES (?1, ?2)").run(image.id, tree);
  if (isThere) await removeTree(rebuilt.directory);
  problems.push({ ...layerProblem(tree, problem, "extracted again"), isRepaired: true });
  return "replaced";
}

/** Puts a tree into another one's place, in one step; what was there is under its name afterwards. */
function exchange(from: string, to: string, isThere: boolean): void {
  const RENAME_EXCHANGE = 2;
  using parent = new Fd(call("openat", JSON.stringify(from), -100, cstr(join(from, "..")), O.RDONLY | O.DIRECTORY));
  call("syncfs", JSON.stringify(from), parent.raw);
  call("renameat2", `"${from}" to "${to}"`, -100, cstr(from), -100, cstr(to), isThere ? RENAME_EXCHANGE : 0);
  call("fsync", JSON.stringify(to), parent.raw);
}

function layerProblem(tree: string, problem: string, action: string): Problem {
  return { kind: "layer", id: tree, problem, isDamage: true, action, isRepaired: false };
}
