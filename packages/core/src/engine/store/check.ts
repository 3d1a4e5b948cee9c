import { existsSync, nodeFs } from "@bantubox/ffi";
import { type CheckOptions, checkImages, findImage, type Problem } from "@bantubox/image";
import type { RootFs } from "../../runtime/rootfs.ts";
import { allContainers, type Container, containersOf, readSpec } from "../state/container.ts";
import { containerDirectory, type Engine } from "../state/engine.ts";
import { isLocked } from "../state/lock.ts";
import { readStatus } from "../state/status.ts";
import { removeCompletely, sweepAll } from "../state/sweep.ts";

export type { Problem } from "@bantubox/image";

export type SystemCheckOptions = Omit<CheckOptions, "inUse" | "running">;

/**
 * Looks whether everything in the store is there and as it should be: rows, blobs, layers, containers.
 *
 * @returns What is not, and with `repair` what became of it. Empty when all is well.
 */
export async function checkSystem(engine: Engine, options: SystemCheckOptions = {}): Promise<Problem[]> {
  const isRunning = (name: string): boolean =>
    allContainers(engine).some((each) => each.name === name && readStatus(engine, each).state === "running");
  const images = await checkImages(engine, {
    ...options,
    inUse: (image) => containersOf(engine, image),
    running: (image) => containersOf(engine, image).filter(isRunning),
  });
  const leftovers = leftoverContainers(engine).map((id) => leftover(id, options));
  if (options.repair) sweepAll(engine);
  const containers = allContainers(engine).flatMap((container) => checkContainer(engine, container, options));
  return [...images, ...containers, ...leftovers];
}

/** Directories that no row knows and nobody works on. */
function leftoverContainers(engine: Engine): string[] {
  const known = new Set(allContainers(engine).map(({ id }) => id));
  return nodeFs()
    .readdirSync(`${engine.root}/containers`)
    .filter((name) => !known.has(name) && !isLocked(engine, name));
}

function leftover(id: string, { repair = false }: SystemCheckOptions): Problem {
  const action = repair ? "removed" : "the next command that clears up removes it, or --repair";
  return {
    kind: "leftover",
    id: `containers/${id}`,
    problem: "no row knows it",
    isDamage: false,
    action,
    isRepaired: repair,
  };
}

function checkContainer(engine: Engine, container: Container, { repair }: SystemCheckOptions): Problem[] {
  const { id, name, image, imageName, launch } = container;
  const problem = (text: string, action: string, isRepaired = false): Problem[] => [
    { kind: "container", id, problem: `"${name}": ${text}`, isDamage: true, action, isRepaired },
  ];
  if (!existsSync(containerDirectory(engine, id))) {
    // It has ended and removed itself; the next command that clears up removes the row.
    if (container.autoRemove) return [];
    // Its files have gone with the directory: there is nothing to keep.
    if (!repair) return problem("its directory is missing", "--repair removes its row");
    removeCompletely(engine, id);
    return problem("its directory is missing", "removed", true);
  }
  try {
    readSpec(engine, container);
  } catch (error) {
    return problem((error as Error).message, `save what it has written, then "bb rm -f ${name}"`);
  }
  const lost = missingPart(launch.root);
  if (lost === undefined) return [];
  const isOfImage = !image.startsWith("/") && image !== "host";
  const hint = isOfImage && findImage(engine, image) === undefined ? `pull ${imageName} again` : `"bb rm -f ${name}"`;
  return problem(`${lost} is missing`, hint);
}

/** What of a root is not there; links are followed, since a layer of many is one. */
function missingPart(root: RootFs): string | undefined {
  if (root.kind === "directory" || root.kind === "bundle")
    return existsSync(root.path) ? undefined : `its root "${root.path}"`;
  if (root.kind === "memory-overlay") return existsSync(root.lower) ? undefined : `its root "${root.lower}"`;
  const layer = root.lower.find((each) => !existsSync(each.startsWith("/") ? each : `${root.base}/${each}`));
  if (layer !== undefined) return `its layer "${layer}"`;
  return existsSync(`${root.directory}/upper`) ? undefined : "what it has written";
}
