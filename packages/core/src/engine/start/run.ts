import { BoxError, statIfThere } from "@bantubox/ffi";
import { findImage } from "@bantubox/image/find";
import type { Image } from "@bantubox/image/store";
import { becomePlan, PASSED_FD, passAs } from "../../runtime/become.ts";
import type { PullHooks } from "../create/images.ts";
import type { ContainerOptions } from "../create/options.ts";
import {
  forgetKept,
  type KeptStart,
  keyOf,
  type MadeStart,
  makeKept,
  recall,
  type StartKey,
} from "../kept/kept-start.ts";
import type { Engine } from "../state/engine.ts";

/** How a run was asked for. */
export interface RunHooks extends PullHooks {
  /** The words of the command line, where they alone say what the options are: the front may then carry it out next time. */
  readonly line?: readonly string[] | undefined;
}

/**
 * Makes a container and becomes its client: this process ends as the container ends.
 *
 * A start like an earlier one takes that one's plan; everything that compiles plans is loaded only for others.
 *
 * @throws {BoxError} When nothing was started; nothing is left then.
 */
export async function runForeground(engine: Engine, options: ContainerOptions, hooks: RunHooks = {}): Promise<never> {
  const source = findSource(engine, options);
  const key = source && keyOf(engine, options, source.image);
  const kept = key === undefined ? undefined : recall(engine, key);
  if (key === undefined || kept === undefined) return await runAsNew(engine, options, hooks, key);
  const made = await makeAnother(engine, kept);
  if (source?.image !== undefined && !isStillThere(engine, made.container.image)) {
    // Removed in between, by somebody who did not see the container yet.
    await forgetKept(engine, made);
    return await runAsNew(engine, options, hooks, key);
  }
  try {
    if (hooks.line !== undefined) {
      const { rememberRun } = await import("../kept/remember.ts");
      rememberRun(engine, hooks.line, options, key, { ...made, bridge: kept.bridge });
    }
    passAs(made.lock, PASSED_FD);
    return await becomePlan(made.plan);
  } catch (error) {
    await forgetKept(engine, made);
    throw error;
  }
}

/** With changes held off: whoever reads sees an image that somebody is just removing until that is done. */
function isStillThere(engine: Engine, image: string): boolean {
  return engine.database.transaction(() => findImage(engine, image) !== undefined).immediate();
}

async function runAsNew(
  engine: Engine,
  options: ContainerOptions,
  hooks: RunHooks,
  key: StartKey | undefined,
): Promise<never> {
  return await (await import("./run-new.ts")).runNew(engine, options, hooks, key);
}

/** A new container of a start that was kept, with an address of its own where it is on the bridge. */
export async function makeAnother(engine: Engine, kept: KeptStart): Promise<MadeStart> {
  if (kept.bridge === undefined) return makeKept(engine, kept);
  return (await import("../kept/kept-bridge.ts")).makeKeptOnBridge(engine, kept, kept.bridge);
}

/** What is here of the container's root: an image, or a directory; undefined for what has to be pulled, or is wrong. */
export function findSource(
  engine: Engine,
  { image: name, rootfsRw }: ContainerOptions,
): { image: Image | undefined } | undefined {
  if (name.startsWith("/")) return statIfThere(name) === undefined ? undefined : { image: undefined };
  if (name.startsWith(".") || rootfsRw) return undefined;
  try {
    const image = findImage(engine, name);
    return image && { image };
  } catch (error) {
    // A name that is wrong or ambiguous is explained on the longer way.
    if (error instanceof BoxError) return undefined;
    throw error;
  }
}
