import { existsSync } from "node:fs";
import { join } from "node:path";
import { BoxError, call, cstr, Fd, O } from "@bantubox/ffi";
import { type Digest, digestHex } from "../document/digest.ts";
import { extractLayer } from "../layer/layer.ts";
import type { StorageDriver, WholeTrees } from "../storage/driver.ts";
import { driverOf } from "../storage/drivers.ts";
import { removeTree } from "../storage/remove.ts";
import { blobPath, hasBlob } from "../store/blobs.ts";
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

/** Checks the trees of all images. @returns Why an image is lost, for those that are. */
export async function checkTrees(context: Context, images: readonly CheckedImage[]): Promise<Map<string, string>> {
  const driver = driverOf(context.store);
  const lost = new Map<string, string>();
  const fine = new Set<string>();
  const missing = new Map<string, string>();
  for (const image of images) {
    try {
      if (driver.whole === undefined) await checkDifferences(context, image, fine, missing);
      else await checkChain(context, image, driver, fine);
    } catch (error) {
      if (!(error instanceof Lost)) throw error;
      lost.set(image.id, error.message);
    }
  }
  return lost;
}

async function checkDifferences(
  context: Context,
  image: CheckedImage,
  fine: Set<string>,
  lost: Map<string, string>,
): Promise<void> {
  const { options } = context;
  for (const layer of image.layers) {
    const tree = digestHex(layer.diffId);
    const known = lost.get(tree);
    if (known !== undefined) throw new Lost(known);
    if (fine.has(tree)) continue;
    try {
      if (options.quick) checkPresence(context, image, layer, tree);
      else {
        const rebuilt = await rebuild(context, image, layer, tree);
        if (rebuilt !== undefined) {
          const found = await compare(context, image, tree, rebuilt).catch(async (error: unknown) => {
            await removeTree(rebuilt.directory);
            throw error;
          });
          if (found !== "replaced") await removeTree(rebuilt.directory);
        }
      }
      fine.add(tree);
    } catch (error) {
      if (error instanceof Lost) lost.set(tree, error.message);
      throw error;
    }
  }
}

async function checkChain(
  context: Context,
  image: CheckedImage,
  driver: StorageDriver,
  fine: Set<string>,
): Promise<void> {
  const { store, options } = context;
  const { keepsEveryLayer, copy } = driver.whole as WholeTrees;
  const chain = chainOf(image.layers.map(({ diffId }) => diffId));
  /** What lies below: a tree of the store, or one that was made here. */
  let below: { directory: string; isOurs: boolean; bytes: number } | undefined;

  async function drop(): Promise<void> {
    if (below?.isOurs) await removeTree(below.directory);
    below = undefined;
  }

  try {
    for (const [index, layer] of image.layers.entries()) {
      const tree = chain[index] as string;
      const isKept = keepsEveryLayer || index === chain.length - 1 || hasTree(store, tree);
      if (options.quick) {
        if (isKept) checkPresence(context, image, layer, tree);
        continue;
      }
      const stored = join(layersDirectory(store), tree);
      if (!fine.has(tree)) {
        const rebuilt = await rebuild(context, image, layer, tree);
        if (rebuilt !== undefined) {
          const bytes = (keepsEveryLayer || rebuilt.isRootOpaque ? 0 : (below?.bytes ?? 0)) + rebuilt.bytes;
          below = await mergeOver(rebuilt, bytes);
          if (!isKept) continue;
          const found = await compare(context, image, tree, { ...rebuilt, ...below, isRootOpaque: false }, true);
          // What lies above is compared with what it should lie on.
          if (found === "broken") continue;
          if (found === "replaced") below = undefined;
        }
      }
      fine.add(tree);
      await drop();
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

/** Whether the files are there, without a look at what is in them. */
function checkPresence({ store, problems }: Context, image: CheckedImage, layer: Layer, tree: string): void {
  const { digest } = layer.descriptor;
  if (!hasBlob(store, digest) && (image.kind === "pulled" || digest !== layer.diffId)) {
    problems.push(blobProblem(store, digest));
    throw new Lost(`its layer ${digest} is missing`);
  }
  const problem = presenceProblem(store, tree);
  if (problem !== undefined) problems.push(layerProblem(tree, problem, "--repair extracts it again"));
}

function presenceProblem(store: ImageStore, tree: string): string | undefined {
  if (!existsSync(join(layersDirectory(store), tree))) return "its directory is missing";
  return hasTree(store, tree) ? undefined : "its row is missing";
}

/**
 * Extracts a layer's blob again, which verifies both of its digests.
 *
 * @returns Undefined when the tree itself is the only thing there is, and is right.
 */
async function rebuild(
  context: Context,
  image: CheckedImage,
  { descriptor: { digest }, diffId }: Layer,
  tree: string,
): Promise<Rebuilt | undefined> {
  const { store, options, problems } = context;
  options.onProgress?.(digest);
  if (!hasBlob(store, digest)) {
    if (digest === diffId && image.kind === "local" && tree === digestHex(diffId)) {
      await checkArchive(context, diffId, tree);
      return undefined;
    }
    problems.push(blobProblem(store, digest));
    throw new Lost(`its layer ${digest} is missing`);
  }
  const directory = makeLayerDirectory(store);
  try {
    const blob = blobPath(store, digest);
    const { bytes, isRootOpaque } = await extractLayer({ blob, directory, digest, diffId, signal: options.signal });
    return { directory, bytes, isRootOpaque };
  } catch (error) {
    await removeTree(directory);
    if (!(error instanceof BoxError) || !/^(layer|tar)-/.test(error.code)) throw error;
    image.corrupt.push(digest);
    problems.push({ ...blobProblem(store, digest), problem: error.message });
    throw new Lost(`its layer ${digest} is damaged`);
  }
}

/** A layer that was made of a directory has no blob: its tar is made again, and must be the same. */
async function checkArchive({ store, options }: Context, diffId: Digest, tree: string): Promise<void> {
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
