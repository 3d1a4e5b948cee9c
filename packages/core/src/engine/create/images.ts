import { BoxError } from "@bantubox/ffi";
import { findImage, getImage, type Image, type PullProgress, pullImage } from "@bantubox/image";
import type { Engine } from "../state/engine.ts";
import type { ContainerOptions } from "./options.ts";

/** Who is told of a pull that a command turns out to need. */
export interface PullHooks {
  readonly onProgress?: ((progress: PullProgress) => void) | undefined;
}

/** The image of a new container, brought from its registry as `--pull` says. @throws {BoxError} `no-such-image` */
export async function findOrPull(
  engine: Engine,
  name: string,
  { pull = "missing", platform }: Pick<ContainerOptions, "pull" | "platform">,
  hooks: PullHooks,
): Promise<Image> {
  if (pull === "never") return getImage(engine, name);
  if (pull === "missing" && platform === undefined) {
    const image = findImage(engine, name);
    if (image !== undefined) return image;
  }
  const policy = pull === "always" ? "always" : "missing";
  try {
    return (await pullImage(engine, name, { platform, policy, onProgress: hooks.onProgress })).image;
  } catch (error) {
    // Near names help more than what a registry says of a name that was mistyped.
    const { suggestNames } = await import("@bantubox/image");
    const near = suggestNames(engine, name);
    if (!(error instanceof BoxError) || error.hint !== undefined || near.length === 0) throw error;
    throw new BoxError(error.code, error.message, {
      cause: error.cause,
      hint: `Did you mean ${near.map((n) => `"${n}"`).join(" or ")}?`,
    });
  }
}
