import { groupPath, planCgroup, planScope, systemdGroup } from "@bantubox/cgroup";
import type { Spec } from "@bantubox/core/runtime";
import { becomePlan, passAs } from "@bantubox/core/runtime/become";
import {
  type Checkpoint,
  type Criu,
  criuEnvironment,
  type ExternalMount,
  findCriu,
  sourceOf,
} from "@bantubox/core/runtime/criu";
import { BoxError, existsSync, mkdirSync, nodeFs, readIfThere } from "@bantubox/ffi";
import { cgroupHost } from "./cgroup-host.ts";
import { checkId, directoryOf, saveContainer } from "./container.ts";
import { configFile, type criuOptions, DESCRIPTORS, MOUNTS } from "./criu-flags.ts";
import { endGroupsOf, explainWith } from "./explain-command.ts";
import { absolute, type Globals } from "./globals.ts";
import { debugPlan, log } from "./log.ts";
import { checkCgroup, checkSystemd, makeDirectory, passOutput } from "./make.ts";
import { checkConsole, savedOf } from "./prepare.ts";

export interface RestoreOptions {
  readonly id: string;
  readonly mode: "detach" | "foreground";
  readonly bundle: string | undefined;
  /** Absolute. */
  readonly pidFile: string | undefined;
  readonly consoleSocket: string | undefined;
  readonly images: string;
  readonly work: string;
  readonly noPivot: boolean;
  /** `apparmor:NAME` or `selinux:LABEL`. */
  readonly lsmProfile: string | undefined;
  readonly lsmMountContext: string | undefined;
  readonly criu: ReturnType<typeof criuOptions>;
}

/** Above all that Bun has open. */
const LOCK_FD = 97;
const OUTPUT_FD = 98;
const SEED_FD = 99;

/**
 * Makes a container of a checkpoint, and becomes what carries it out: this process ends when it runs, or as it ends.
 *
 * Returns only by throwing.
 */
export async function restoreContainer(globals: Globals, options: RestoreOptions): Promise<never> {
  const { id, mode } = options;
  checkId(id);
  checkSystemd(globals);
  const bundle = absolute(options.bundle || ".");
  const text = readIfThere(`${bundle}/config.json`);
  if (text === undefined) {
    throw new BoxError(
      "no-config",
      `Cannot restore "${id}": JSON specification file config.json not found in "${bundle}"`,
    );
  }
  const { checkConfig, compileOciRestore, networkOf, parseConfig, settleDeviceRules } = await import(
    "@bantubox/core/runtime"
  );
  const { value: spec, warnings } = checkConfig(parseConfig(text, bundle));
  checkConsole(options, spec.process.terminal === true);
  const directory = directoryOf(globals, id);
  const host = cgroupHost();
  const resources = { ...spec.linux.resources, devices: settleDeviceRules(spec.linux.resources?.devices) };
  const isGiven = globals.values["systemd-cgroup"] === true;
  const { annotations } = spec;
  const { cgroupsPath } = spec.linux;
  const cgroup = planCgroup(host, groupPath(cgroupsPath, id, isGiven), resources, { isGiven, isWhole: true });
  const scope = isGiven
    ? { ...planScope(systemdGroup(cgroupsPath, id), { id, resources, annotations }), seed: SEED_FD }
    : undefined;
  const criu = findCriu(globals.values.criu, `restore "${id}"`);
  const checkpoint = checkpointOf(options, spec, criu, cgroup.path);
  const plan = compileOciRestore({
    id,
    mode,
    bundle,
    directory,
    spec,
    root: { kind: "bundle", path: spec.root.path },
    lockFd: LOCK_FD,
    outputFd: OUTPUT_FD,
    seedFd: scope?.seed,
    cgroupHost: host,
    cgroup,
    network: networkOf(spec),
    filter: undefined,
    isMoved: options.noPivot,
    keepsKeyring: true,
    keeps: false,
    pidFile: options.pidFile,
    consoleSocket: options.consoleSocket,
    preserved: 0,
    failed: explainWith(globals, ["restore", String(OUTPUT_FD)]),
    endGroups: endGroupsOf(globals, cgroup.path),
    checkpoint,
  });
  for (const warning of warnings) log(globals, "warning", warning);
  checkCgroup(globals, cgroup.path);
  debugPlan(globals, "make", plan);

  using lock = makeDirectory(globals, id);
  try {
    const saved = savedOf(spec, { id, bundle, cgroup: cgroup.path, ...(scope && { unit: scope.unit }) });
    saveContainer(directory, { saved, config: text, line: undefined });
    passOutput(OUTPUT_FD);
    passAs(lock, LOCK_FD);
    if (scope !== undefined) await (await import("./seed.ts")).makeScope(scope);
    return await becomePlan(plan);
  } catch (error) {
    nodeFs().rmSync(directory, { recursive: true, force: true });
    throw error;
  }
}

function checkpointOf(options: RestoreOptions, spec: Spec, criu: Criu, group: string): Checkpoint {
  const { images, work, lsmProfile, lsmMountContext } = options;
  if (![DESCRIPTORS, "inventory.img"].every((name) => existsSync(`${images}/${name}`))) {
    throw new BoxError("no-checkpoint", `Cannot restore "${options.id}": there is no checkpoint in "${images}"`, {
      hint: "Name its directory with --image-path",
    });
  }
  mkdirSync(work, { mode: 0o700, recursive: true });
  const mounts = parseFile<ExternalMount>(options.id, `${images}/${MOUNTS}`, isMount);
  return {
    criu: {
      path: criu.path,
      environment: Object.entries(criuEnvironment()).map(([name, value]) => `${name}=${value}`),
    },
    images,
    work,
    descriptors: parseFile<string>(options.id, `${images}/${DESCRIPTORS}`, (each) => typeof each === "string"),
    mounts: mounts.map((mount) => [mount.point, sourceOf(mount, spec.mounts)] as const),
    options: {
      ...options.criu,
      // Under another ID, or another path, its groups have another name than in the images.
      cgroupRoots: [[undefined, `/${group}`]],
      lsmProfile,
      lsmMountContext,
      configFile: configFile(spec.annotations),
    },
  };
}

/** A list beside CRIU's images; empty where there is no such file. @throws {BoxError} `bad-checkpoint` */
function parseFile<T>(id: string, path: string, isItem: (item: unknown) => boolean): readonly T[] {
  const isList = (value: unknown): value is T[] => Array.isArray(value) && value.every(isItem);
  try {
    const value: unknown = JSON.parse(readIfThere(path) ?? "[]");
    if (isList(value)) return value;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new BoxError("bad-checkpoint", `Cannot restore "${id}": "${path}" is not what a checkpoint has written`);
}

function isMount(item: unknown): boolean {
  const { point, path, destination = "" } = (item ?? {}) as Partial<Record<keyof ExternalMount, unknown>>;
  return [point, path, destination].every((each) => typeof each === "string");
}
