import { BoxError } from "@bantubox/ffi";
import {
  findImage,
  getImage,
  type Image,
  otherPlatform,
  type PullProgress,
  pullImage,
  suggestNames,
} from "@bantubox/image";
import type { Engine } from "../state/engine.ts";
import type { ContainerOptions } from "./options.ts";

/** Who is told of a pull that a command turns out to need. */
export interface PullHooks {
  readonly onProgress?: ((progress: PullProgress) => void) | undefined;
}

/**
 * The image of a new container, brought from its registry as `--pull` says. The host is nowhere else than here.
 *
 * @throws {BoxError} `no-such-image`, `platform-missing`
 */
export async function findOrPull(
  engine: Engine,
  name: string,
  { pull = "missing", platform }: Pick<ContainerOptions, "pull" | "platform">,
  hooks: PullHooks,
): Promise<Image> {
  const local = findImage(engine, name);
  const isFinal = local?.kind === "host" || pull === "never";
  const other =
    local === undefined || platform === undefined ? undefined : await otherPlatform(engine, local, platform);
  if (local !== undefined && other === undefined && (isFinal || pull === "missing")) return local;
  if (isFinal) {
    if (local === undefined || other === undefined) return getImage(engine, name);
    throw wrongPlatform(JSON.stringify(name), platform, local.kind === "host" ? `this machine, ${other}` : other);
  }
  const policy = pull === "always" ? "always" : "missing";
  try {
    return (await pullImage(engine, name, { platform, policy, onProgress: hooks.onProgress })).image;
  } catch (error) {
    if (!(error instanceof BoxError)) throw error;
    const hint = local === undefined ? nearHint(engine, name) : hereHint(name, other);
    if (hint === undefined || (local === undefined && error.hint !== undefined)) throw error;
    throw new BoxError(error.code, error.message, { cause: error.cause, hint });
  }
}

/** What cannot be run as what is made for another machine. @param what Quoted. */
export function wrongPlatform(what: string, wanted = "", offer = ""): BoxError {
  return new BoxError("platform-missing", `Cannot run ${what} for ${wanted}: it is for ${offer}`, {
    hint: "Leave out --platform",
  });
}

/** Near names help more than what a registry says of a name that was mistyped. */
function nearHint(engine: Engine, name: string): string | undefined {
  const near = suggestNames(engine, name);
  return near.length === 0 ? undefined : `Did you mean ${near.map((n) => `"${n}"`).join(" or ")}?`;
}

/** What is here under that name all the same. */
function hereHint(name: string, other: string | undefined): string {
  return other === undefined
    ? `"${name}" is here: leave out "--pull always" to use it as it is`
    : `"${name}" is here for ${other}: leave out --platform to use it`;
}
