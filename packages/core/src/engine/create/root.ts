import { BoxError, mkdirSync, nodeFs, statIfThere } from "@bantubox/ffi";
import { driverName } from "@bantubox/image";
import { OWN_ROOT, type RootFs } from "../../runtime/rootfs.ts";
import type { Engine } from "../state/engine.ts";
import type { ContainerOptions } from "./options.ts";
import type { Source } from "./source.ts";

type OverlayRoot = Extract<RootFs, { kind: "overlay" }>;

/** Bytes of the layers' names in overlay's options, which share a page with the paths of the container's directory. */
const LOWER_MAX = 2800;
/** Below a container's directory: links to layers, numbered from the top. */
const LINKS = "lower";

/** What is mounted as a container's root, and where. */
export function rootOf(engine: Engine, options: ContainerOptions, source: Source, directory: string): RootFs {
  const [path = "/"] = source.layers;
  if (options.rootfsRw) return { kind: "directory", path, directory };
  if (source.image.kind !== "host") {
    const driver = driverName(engine);
    if (driver !== "overlay") {
      const origin = `${source.base}/${path}`;
      return {
        kind: "directory",
        path: `${directory}/${OWN_ROOT}`,
        directory,
        origin,
        isSubvolume: driver === "btrfs",
      };
    }
  }
  // Overlay takes no upper layer that lies within its lower one, on the same file system.
  if (source.image.kind === "host" && holds(path, engine.root))
    return { kind: "memory-overlay", lower: path, directory };
  const isVolatile = options.autoRemove === true;
  return { kind: "overlay", ...lowerOf(source, directory), directory, isVolatile };
}

/**
 * mount(2) takes its options in one page, which holds the names of some sixty layers. Those of more get links with
 * short names in the container's directory (`makeRoot`); where the kernel ends, at 500 layers, images do, too.
 */
export function lowerOf({ base, layers }: Source, directory: string): Pick<OverlayRoot, "base" | "lower"> {
  const bytes = layers.reduce((sum, layer) => sum + layer.length + 1, 0);
  if (bytes <= LOWER_MAX) return { base, lower: layers };
  return { base: `${directory}/${LINKS}`, lower: layers.map((_, index) => String(index)) };
}

/** What of a root has to be there before its container is mounted. Nothing, for an image of few layers on overlay. */
export async function makeRoot(engine: Engine, root: RootFs, { base, layers }: Source): Promise<void> {
  if (root.kind === "directory" && root.origin !== undefined) {
    const { copyImage } = await import("@bantubox/image");
    await copyImage(engine, root.origin, root.path);
  }
  if (root.kind !== "overlay" || root.base === base) return;
  mkdirSync(root.base, { mode: 0o700 });
  const { symlinkSync } = nodeFs();
  for (const [index, layer] of layers.entries()) symlinkSync(`${base}/${layer}`, `${root.base}/${index}`);
}

function holds(outer: string, inner: string): boolean {
  const isBelow = outer === "/" || inner === outer || inner.startsWith(`${outer}/`);
  return isBelow && statIfThere(outer)?.device === statIfThere(inner)?.device;
}

/** @throws {BoxError} `storage-no-quota` */
export async function limitRoot(engine: Engine, root: RootFs, bytes: number): Promise<void> {
  const { limitSize } = await import("@bantubox/image");
  if (root.kind === "overlay") return await limitSize(engine, { isOverlay: true, directory: root.directory }, bytes);
  if (root.kind === "directory" && root.origin !== undefined) {
    return await limitSize(engine, { isOverlay: false, directory: root.path }, bytes);
  }
  const why = root.kind === "memory-overlay" ? "what it writes lies in memory" : `it writes to "${root.path}" itself`;
  throw new BoxError("storage-no-quota", `Cannot limit the container's size: ${why}`, {
    hint: root.kind === "memory-overlay" ? "Limit its memory: --memory" : "Leave out --rootfs-rw, or --storage-opt",
  });
}
