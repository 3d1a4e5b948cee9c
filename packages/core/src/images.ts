/** Images and registries. Each function's code is loaded when it is first called. */
import type {
  Credentials,
  FoundImage,
  ImageFilter,
  ImageStep,
  ImageSummary,
  ImportOptions,
  InitOptions,
  InspectedManifest,
  Loaded,
  LoadOptions,
  LoginResult,
  Pruned,
  PruneOptions,
  PulledTags,
  PullOptions,
  PullResult,
  PushOptions,
  PushResult,
  RegistryOptions,
  Removed,
  SaveOptions,
  SearchOptions,
} from "@bantubox/image";
import type { Engine } from "./engine/state/engine.ts";

/** Brings an image from its registry. */
export async function pullImage(engine: Engine, name: string, options?: PullOptions): Promise<PullResult> {
  return (await import("@bantubox/image")).pullImage(engine, name, options);
}

/** Brings every tag of a repository. */
export async function pullAllTags(engine: Engine, name: string, options?: PullOptions): Promise<PulledTags> {
  return (await import("@bantubox/image")).pullAllTags(engine, name, options);
}

/** Brings an image to a registry. */
export async function pushImage(engine: Engine, name: string, options?: PushOptions): Promise<PushResult> {
  return (await import("@bantubox/image")).pushImage(engine, name, options);
}

/** Brings every tag of a repository that is here to its registry. */
export async function pushAllTags(engine: Engine, name: string, options?: PushOptions): Promise<PushResult[]> {
  return (await import("@bantubox/image")).pushAllTags(engine, name, options);
}

/** Shows a registry who we are, and keeps that in Docker's config.json; Docker Hub when none is named. */
export async function login(
  server: string | undefined,
  credentials: Credentials,
  options?: RegistryOptions,
): Promise<LoginResult> {
  return (await import("@bantubox/image")).login(server, credentials, options);
}

/** As `login`, with what an earlier one has kept. @returns undefined when there is nothing. */
export async function loginAgain(
  server: string | undefined,
  options?: RegistryOptions,
): Promise<{ readonly registry: string; readonly username: string } | undefined> {
  return (await import("@bantubox/image")).loginAgain(server, options);
}

/** Forgets who we are at a registry. */
export async function logout(server: string | undefined): Promise<{ registry: string; wasKnown: boolean }> {
  return (await import("@bantubox/image")).logout(server);
}

/** Looks for images by name, on Docker Hub or in the registry that the term begins with. */
export async function searchImages(term: string, options?: SearchOptions): Promise<FoundImage[]> {
  return (await import("@bantubox/image")).searchImages(term, options);
}

/** What a name stands for in its registry, as it was sent. */
export async function inspectManifest(
  name: string,
  options?: RegistryOptions & { readonly verbose?: boolean | undefined },
): Promise<InspectedManifest[]> {
  return (await import("@bantubox/image")).inspectManifest(name, options);
}

/** The images that are here, the newest first. */
export async function listImages(engine: Engine, filter?: ImageFilter): Promise<ImageSummary[]> {
  return (await import("@bantubox/image")).listImages(engine, filter);
}

/** Gives an image one more name. @returns The name. */
export async function tagImage(engine: Engine, name: string, newName: string): Promise<string> {
  return (await import("@bantubox/image")).tagImage(engine, name, newName);
}

/** How an image was made, the last step first. */
export async function imageHistory(engine: Engine, name: string): Promise<ImageStep[]> {
  return (await import("@bantubox/image")).imageHistory(engine, name);
}

/** Makes an image of a root file system's tar, from a descriptor or a path. @returns Its ID. */
export async function importImage(engine: Engine, from: string | number, options?: ImportOptions): Promise<string> {
  return (await import("@bantubox/image")).importImage(engine, from, options);
}

/** Takes an image's name away, or deletes it, unless a container is made of it. */
export async function removeImage(engine: Engine, name: string, options: { force?: boolean } = {}): Promise<Removed> {
  const [{ containersOf }, { sweepAll }] = await Promise.all([
    import("./engine/state/container.ts"),
    import("./engine/state/sweep.ts"),
  ]);
  // Rows of --rm containers that have ended would still hold it.
  sweepAll(engine);
  const { removeImage: deleteImage } = await import("@bantubox/image");
  return await deleteImage(engine, name, { ...options, inUse: (id) => containersOf(engine, id) });
}

/** Deletes images that no container is made of: those without a name, or all of them. */
export async function pruneImages(engine: Engine, options: Omit<PruneOptions, "inUse"> = {}): Promise<Pruned> {
  const [{ containersOf }, { sweepAll }] = await Promise.all([
    import("./engine/state/container.ts"),
    import("./engine/state/sweep.ts"),
  ]);
  // Rows of --rm containers that have ended would still hold some.
  sweepAll(engine);
  const { pruneImages: prune } = await import("@bantubox/image");
  return await prune(engine, { ...options, inUse: (id) => containersOf(engine, id) });
}

/** Makes an image of a directory. @returns Its ID. */
export async function initImage(
  engine: Engine,
  directory: string,
  name: string,
  options?: InitOptions,
): Promise<string> {
  const { initImage: makeImage } = await import("@bantubox/image");
  return (await makeImage(engine, directory, name, options)).id;
}

/** Writes images as an archive to a descriptor or a path; see save.ts of packages/image. */
export async function saveImages(
  engine: Engine,
  names: readonly string[],
  target: number | string,
  options?: SaveOptions,
): Promise<void> {
  await (await import("@bantubox/image")).saveImages(engine, names, target, options);
}

/** Takes in the images of an archive, from a descriptor or a path; see load.ts of packages/image. */
export async function loadImages(engine: Engine, from: string | number, options?: LoadOptions): Promise<Loaded[]> {
  return await (await import("@bantubox/image")).loadImages(engine, from, options);
}
