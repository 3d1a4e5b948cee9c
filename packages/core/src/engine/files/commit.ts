import { getImage, type RunConfig } from "@bantubox/image";
import { commitContainer as commitFiles } from "@bantubox/image/files";
import { EMPTY_CONFIG } from "@bantubox/image/store";
import { DEFAULT_PATH } from "../create/defaults.ts";
import type { Identity } from "../create/users.ts";
import { pauseFor } from "../life/pause.ts";
import { type Container, getContainer, readSpec } from "../state/container.ts";
import type { Engine } from "../state/engine.ts";
import { openProcess } from "../state/process.ts";
import { openFiles } from "./container-files.ts";

export interface CommitContainerOptions {
  readonly author?: string | undefined;
  readonly message?: string | undefined;
  /** Instructions of a Dockerfile: `CMD ["sh"]`. */
  readonly changes?: readonly string[] | undefined;
  /** Whether its processes stand still while its files are copied; true when absent. */
  readonly pause?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Bytes of files copied so far. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/**
 * Makes an image of a container: its image's layers and one of what it has changed, with its own settings.
 *
 * @param name For the image; without one it is known by its ID only.
 * @returns The image's ID.
 * @throws {BoxError} `no-such-container`, `in-memory`, `reference-invalid`, `change-invalid`
 */
export async function commitContainer(
  engine: Engine,
  idOrName: string,
  name: string | undefined,
  { author, message, changes, pause = true, signal, onProgress }: CommitContainerOptions = {},
): Promise<string> {
  const container = getContainer(engine, idOrName);
  const settings = configOf(engine, container);
  using files = openFiles(container, "make an image of");
  const running = openProcess(engine, container);
  running?.pidfd.close();
  await using paused = new AsyncDisposableStack();
  if (running !== undefined && pause) paused.use(await pauseFor(container));
  let goingOn: Promise<void> | undefined;
  try {
    return await commitFiles(engine, files, {
      ...settings,
      name,
      author,
      message,
      changes,
      signal,
      onProgress,
      onCopied() {
        goingOn = paused.disposeAsync();
      },
    });
  } finally {
    await goingOn;
  }
}

/** What the image is to say of its containers: the container's own settings, as they were asked for. */
function configOf(
  engine: Engine,
  container: Container,
): { base: `sha256:${string}` | undefined; config: RunConfig; createdBy: string } {
  const spec = readSpec(engine, container);
  const { launch } = container;
  const isOfImage = !container.image.startsWith("/");
  const image = isOfImage ? getImage(engine, container.image) : undefined;
  const of: RunConfig = image?.config ?? EMPTY_CONFIG;
  const { user, cwd, args, env } = spec.process;
  const same = identitiesOf(engine, container.image).filter(
    ({ identity }) => identity.user.uid === user.uid && identity.user.gid === user.gid,
  );
  const isRoot = user.uid === 0 && user.gid === 0;
  const given = [`PATH=${DEFAULT_PATH}`, `HOSTNAME=${spec.hostname ?? ""}`, "TERM=xterm"];
  // As the image has it, where that is who the container ran as; else by numbers.
  const isImages = same.some(({ text }) => text === of.user) || (isRoot && of.user === "");
  const config: RunConfig = {
    ...of,
    entrypoint: launch.entrypoint,
    cmd: launch.command,
    env: environmentOf(env, of.env, given),
    user: isImages ? of.user : `${user.uid}:${user.gid}`,
    workdir: cwd === "/" && of.workdir === "" ? "" : cwd,
    labels: launch.labels,
    stopSignal: launch.stopSignal === "SIGTERM" && of.stopSignal === "" ? "" : launch.stopSignal,
  };
  return { base: image?.id as `sha256:${string}` | undefined, config, createdBy: args.join(" ") };
}

/** Without what every container is given, as long as the image does not have it and nobody has changed it. */
function environmentOf(env: readonly string[], imageEnv: readonly string[], given: readonly string[]): string[] {
  return env.filter((entry) => imageEnv.includes(entry) || !given.includes(entry));
}

/** Users of the image that have been looked up, by the text that named them. */
function identitiesOf({ database }: Engine, image: string): { readonly text: string; readonly identity: Identity }[] {
  return database
    .query<{ user: string; identity: string }, [string]>("SELECT user, identity FROM image_user WHERE image = ?")
    .all(image)
    .map(({ user, identity }) => ({ text: user, identity: JSON.parse(identity) as Identity }));
}
