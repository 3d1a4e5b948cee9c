import { type Created, makeContainer } from "../create/create.ts";
import type { PullHooks } from "../create/images.ts";
import type { ContainerOptions } from "../create/options.ts";
import { keep } from "../kept/keep-start.ts";
import type { StartKey } from "../kept/kept-start.ts";
import { rememberRun } from "../kept/remember.ts";
import { getContainer } from "../state/container.ts";
import type { Engine } from "../state/engine.ts";
import { removeCompletely } from "../state/sweep.ts";
import { launchDetached, launchForeground, takeForStart } from "./launch.ts";
import type { RunHooks } from "./run.ts";

/**
 * Makes a container and becomes its client; `runForeground` (run.ts) is the shorter way to the same.
 *
 * @param key Under which the plan is kept for the next start of its kind.
 */
export async function runNew(
  engine: Engine,
  options: ContainerOptions,
  hooks: RunHooks,
  key: StartKey | undefined,
): Promise<never> {
  const created = await makeContainer(engine, options, hooks, true);
  const { container, spec } = created;
  return await orRemove(engine, created, () =>
    launchForeground(engine, created, { attach: true, interactive: options.interactive === true }, (compiled) => {
      if (key === undefined) return;
      const kept = keep(engine, key, { container, config: JSON.stringify(spec), ...compiled });
      if (kept === undefined || hooks.line === undefined) return;
      rememberRun(engine, hooks.line, options, key, { ...kept, network: compiled.network });
    }),
  );
}

/** Makes a container and leaves it to its monitor. @returns Its ID, once its command runs. */
export async function runDetached(engine: Engine, options: ContainerOptions, hooks?: PullHooks): Promise<string> {
  const created = await makeContainer(engine, options, hooks, true);
  await orRemove(engine, created, () => launchDetached(engine, created));
  return created.container.id;
}

/** Makes a container that `startContainer` may start. @returns Its ID. */
export async function createContainer(engine: Engine, options: ContainerOptions, hooks?: PullHooks): Promise<string> {
  const { container, lock } = await makeContainer(engine, options, hooks);
  lock.close();
  return container.id;
}

/** Starts a container that exists, in the background. @returns Its ID. */
export async function startContainer(engine: Engine, idOrName: string): Promise<string> {
  const created = takeForStart(engine, getContainer(engine, idOrName));
  using _lock = created.lock;
  await launchDetached(engine, created);
  return created.container.id;
}

/** Starts a container that exists and becomes its client. */
export async function startForeground(
  engine: Engine,
  idOrName: string,
  { interactive = false, detachKeys }: { interactive?: boolean | undefined; detachKeys?: string | undefined } = {},
): Promise<never> {
  const created = takeForStart(engine, getContainer(engine, idOrName));
  using _lock = created.lock;
  return await launchForeground(engine, created, { attach: true, interactive, detachKeys });
}

/** A container that was never started has no reason to stay when its own `run` fails. */
export async function orRemove<T>(
  engine: Engine,
  created: Pick<Created, "container" | "lock">,
  start: () => Promise<T>,
): Promise<T> {
  try {
    return await start();
  } catch (error) {
    if (created.container.autoRemove) removeCompletely(engine, created.container.id);
    throw error;
  } finally {
    created.lock.close();
  }
}
