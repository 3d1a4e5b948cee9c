import { existsSync } from "node:fs";
import { BoxError, type Fd, nodeFs } from "@bantubox/ffi";
import { forgetNames } from "../kept/kept-exec.ts";
import { type Container, checkName, getContainer, nameTaken, writeRow } from "../state/container.ts";
import { containerDirectory, type Engine } from "../state/engine.ts";
import { LOCK_TIMEOUT_MS, waitLock } from "../state/lock.ts";
import { readRowless, recordPath } from "../state/rowless.ts";
import { readStatus } from "../state/status.ts";
import { removeCompletely } from "../state/sweep.ts";
import { killEverything } from "./stop.ts";

/** How long the lock is waited for before the container is looked at again. */
const LOOK_AGAIN_MS = 100;

export interface RemoveContainerOptions {
  /** Kill it first if it runs. */
  readonly force?: boolean | undefined;
  /** Also its anonymous volumes. */
  readonly volumes?: boolean | undefined;
}

/**
 * Removes a container with all that belongs to it.
 *
 * @returns Its ID.
 * @throws {BoxError} `container-running` without `force`, `store-busy` while another command has it.
 */
export async function removeContainer(
  engine: Engine,
  idOrName: string,
  { force = false, volumes = false }: RemoveContainerOptions = {},
): Promise<string> {
  const container = getContainer(engine, idOrName);
  using _lock = await takeEnded(engine, container, force);
  removeCompletely(engine, container.id, volumes || container.autoRemove);
  return container.id;
}

/**
 * Takes the lock of a container that does not run, or that `force` ends. One that is just being started has its
 * lock taken before it shows as running, and who is removed by another command loses its directory meanwhile.
 *
 * @returns Undefined when the directory is gone, which is half of what was asked.
 */
async function takeEnded(engine: Engine, container: Container, force: boolean): Promise<Fd | undefined> {
  const deadline = performance.now() + LOCK_TIMEOUT_MS;
  while (performance.now() < deadline) {
    if (readStatus(engine, container).state === "running") {
      if (!force) {
        throw new BoxError("container-running", `Cannot remove "${container.name}": it is running`, {
          hint: `Stop it first, or use "bb rm -f ${container.name}"`,
        });
      }
      await killEverything(engine, container);
    }
    const lock = await waitLock(engine, container.id, LOOK_AGAIN_MS);
    if (lock !== undefined || !existsSync(containerDirectory(engine, container.id))) return lock;
  }
  throw new BoxError("store-busy", `Cannot remove "${container.name}": another command is working on it`, {
    hint: "Try again",
  });
}

/** Gives a container another name. @throws {BoxError} `bad-name`, `name-taken` */
export function renameContainer(engine: Engine, idOrName: string, name: string): void {
  checkName(name);
  const container = getContainer(engine, idOrName);
  // Before as well: a command that is killed in between has at most given a name away that nobody remembers.
  forgetNames(engine);
  giveName(engine, container, name);
  forgetNames(engine);
}

function giveName(engine: Engine, container: Container, name: string): void {
  if (readRowless(engine, container.id) !== undefined) {
    // A name has to be unique, so from now on it needs a row.
    if (!writeRow(engine, { ...container, name }, container.imageName)) throw nameTaken(engine, name);
    nodeFs().rmSync(recordPath(engine, container.id), { force: true });
    return;
  }
  const { changes } = engine.database
    .query("UPDATE OR IGNORE container SET name = ? WHERE id = ?")
    .run(name, container.id);
  if (changes === 0) throw nameTaken(engine, name);
}
