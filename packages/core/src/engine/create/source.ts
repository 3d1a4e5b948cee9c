import { BoxError, isDirectory, statIfThere } from "@bantubox/ffi";
import { HOST_IMAGE, type Image, layersDirectory, otherPlatform } from "@bantubox/image";
import type { Engine } from "../state/engine.ts";
import { findOrPull, type PullHooks, wrongPlatform } from "./images.ts";
import type { ContainerOptions } from "./options.ts";

/** What a container's root is made from. */
export interface Source {
  readonly image: Image;
  /** For the row: the image's ID, or the directory. */
  readonly id: string;
  readonly name: string;
  /** Lower layers from top to bottom, below `base`. */
  readonly base: string;
  readonly layers: readonly string[];
}

/** The image that was named, brought here if need be, or the directory. @throws {BoxError} `no-such-image`, `no-such-path` */
export async function findSource(engine: Engine, options: ContainerOptions, hooks: PullHooks): Promise<Source> {
  const { image: name } = options;
  if (/^(\/|\.\/|\.\.\/|\.$|\.\.$)/.test(name)) {
    const path = absolutePath(name);
    if (!isDirectory(statIfThere(path))) {
      throw new BoxError("no-such-path", `Cannot use "${path}" as a root: it is not a directory`, {
        hint: "A name that starts with '/', './' or '../' is a directory; an image's name starts with a letter or digit",
      });
    }
    const other = options.platform === undefined ? undefined : await otherPlatform(engine, undefined, options.platform);
    if (other !== undefined) throw wrongPlatform(JSON.stringify(name), options.platform, `this machine, ${other}`);
    return {
      image: { ...HOST_IMAGE, id: path, name: path, config: { ...HOST_IMAGE.config, cmd: [] } },
      id: path,
      name: "",
      base: "/",
      layers: [path],
    };
  }
  if (options.rootfsRw) {
    throw new BoxError("bad-option", `Cannot write through to image "${name}": only a root directory can be written`, {
      hint: "Leave out --rootfs-rw, or name a directory such as ./rootfs",
    });
  }
  const image = await findOrPull(engine, name, options, hooks);
  if (image.kind === "host") return { image, id: image.id, name: "host", base: "/", layers: ["/"] };
  return {
    image,
    id: image.id,
    name: image.name || name,
    base: layersDirectory(engine),
    layers: image.layers.toReversed(),
  };
}

/** Where the host's `path` is in a root that is a directory of the host, if it is there. */
export function pathIn({ layers: [root = "/"] }: Source, path: string): string[] {
  if (root === "/") return [path];
  return path.startsWith(`${root}/`) ? [path.slice(root.length)] : [];
}

/** node:path's resolve, loaded when a directory is named in another way than from the root. */
function absolutePath(path: string): string {
  return process.getBuiltinModule("node:path").resolve(path);
}
