import { BoxError, type Fd } from "@bantubox/ffi";
import { findPlaceholders, type Passed } from "@bantubox/image/files";
import { openDirectory, openLayers } from "../create/image-root.ts";
import type { Container } from "../state/container.ts";

/** A container's files as they lie on the host, by descriptors of their roots. */
export interface ContainerFiles extends Disposable {
  /** Whether `upper` is what an overlay adds to `lower`, or complete like it, or complete and of no image. */
  readonly kind: "layer" | "tree" | "all";
  readonly lower: number | undefined;
  readonly upper: number;
  /** What the engine made to mount something on it. */
  readonly passed: Passed;
}

/** Where each start mounts something, and makes it when it is missing; below the root. */
const MOUNT_POINTS = ["dev", "proc", "sys", "etc", "etc/resolv.conf", "etc/hostname", "etc/hosts"];

/**
 * Opens the directories that hold a container's files. They are read while it runs, and whatever it does meanwhile.
 *
 * @param verb For errors: `export`.
 * @throws {BoxError} `in-memory`
 */
export function openFiles({ name, image, launch: { root } }: Container, verb: string): ContainerFiles {
  if (root.kind === "memory-overlay") {
    throw new BoxError("in-memory", `Cannot ${verb} "${name}": what it writes lies in memory only`, {
      hint: 'A container of "host" keeps nothing; copy what you need out of it with "bb cp"',
    });
  }
  using stack = new DisposableStack();
  const open = (path: string): number => stack.use(openDirectory(path)).raw;
  let lower: number | undefined;
  let upper: number;
  let kind: ContainerFiles["kind"];
  if (root.kind === "overlay") {
    lower = stack.use<Fd>(openLayers(root.base, root.lower)).raw;
    upper = open(`${root.directory}/upper`);
    kind = image.startsWith("/") ? "all" : "layer";
  } else {
    const origin = root.kind === "directory" ? root.origin : undefined;
    upper = open(root.path);
    lower = origin === undefined ? undefined : open(origin);
    kind = origin === undefined ? "all" : "tree";
  }
  // Who writes through to a directory of their own keeps all that is in it.
  const placeholders = lower === undefined ? [] : MOUNT_POINTS;
  const found = findPlaceholders(lower, upper, placeholders);
  const kept = stack.move();
  return {
    kind,
    lower,
    upper,
    passed: (path) => found.has(path.toString()),
    [Symbol.dispose]: () => kept.dispose(),
  };
}
