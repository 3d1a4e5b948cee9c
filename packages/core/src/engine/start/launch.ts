import { detectCgroups, planCgroup } from "@bantubox/cgroup";
import { BoxError, existsSync, type Fd } from "@bantubox/ffi";
import { becomePlan, PASSED_FD, passAs } from "../../runtime/become.ts";
import { compileStart, type StartContext } from "../../runtime/compile.ts";
import type { Created } from "../create/create.ts";
import { LOG } from "../create/defaults.ts";
import { type NetworkStart, prepareNetwork } from "../create/network.ts";
import { compileFilter } from "../create/security.ts";
import { type Container, readSpec } from "../state/container.ts";
import { cgroupPath, containerDirectory, type Engine, runDirectory } from "../state/engine.ts";
import { writeFailure } from "../state/failed-start.ts";
import { tryLock } from "../state/lock.ts";
import { readStatus } from "../state/status.ts";
import { parseDetachKeys } from "./detach-keys.ts";
import { explainCommand, SPAWNED_FDS, spawnPlan } from "./plan-process.ts";

/** How long a start waits for a container that does not run, but that somebody has. */
const LOCK_PATIENCE_MS = 2000;

/** Who the caller of a start is to the container. */
export interface Attachment {
  readonly attach: boolean;
  /** The caller's stdin is passed on. */
  readonly interactive: boolean;
  readonly detachKeys?: string | undefined;
}

/**
 * Takes a container that exists and does not run: its lock, and what its start needs.
 *
 * @throws {BoxError} `already-running`, `store-busy`, `broken-container`
 */
export function takeForStart(engine: Engine, container: Container): Created {
  const lock = lockEnded(engine, container);
  if (lock === undefined) {
    readSpec(engine, container);
    if (readStatus(engine, container).state === "running")
      throw new BoxError("already-running", `Cannot start "${container.name}": it is already running`);
    throw new BoxError("store-busy", `Cannot start "${container.name}": another command is working on it`, {
      hint: 'Try again when that has ended: "bb cp", for instance, has a container that does not run for as long as it copies',
    });
  }
  try {
    const spec = readSpec(engine, container);
    engine.database.query("UPDATE container SET started_ms = ? WHERE id = ?").run(Date.now(), container.id);
    return { container, lock, spec, cgroupHost: detectCgroups(), isFirst: container.startedMs === undefined };
  } catch (error) {
    lock.close();
    throw error;
  }
}

/** The lock of a container that does not run. Its last monitor may still be clearing up, and others look at it. */
function lockEnded(engine: Engine, container: Container): Fd | undefined {
  const deadline = performance.now() + LOCK_PATIENCE_MS;
  for (;;) {
    const lock = tryLock(engine, container.id);
    const isRunning = readStatus(engine, container).state === "running";
    if (lock !== undefined && !isRunning) return lock;
    lock?.close();
    if (isRunning || performance.now() > deadline) return undefined;
    if (!existsSync(containerDirectory(engine, container.id))) return undefined;
    Bun.sleepSync(1);
  }
}

/** A plan, and the network that it was compiled for. */
export interface Compiled {
  readonly plan: Uint8Array;
  readonly network: NetworkStart;
}

/** Compiles the plan of one start. @param fds Numbers that the trampoline will know the lock, a network to join and the report by. */
export async function compileLaunch(
  engine: Engine,
  created: Omit<Created, "lock">,
  attachment: Attachment,
  fds: { lock: number; network: number; report?: number },
): Promise<Compiled> {
  const network = prepareNetwork(engine, created.container, fds.network);
  const context = await startContext(engine, created, attachment, fds, network);
  return { plan: compileStart(context), network };
}

/** What a start's plan is made of. */
export async function startContext(
  engine: Engine,
  { container, spec, cgroupHost, isFirst }: Omit<Created, "lock">,
  attachment: Attachment,
  fds: { lock: number; report?: number },
  network: NetworkStart,
): Promise<StartContext> {
  const { launch, id } = container;
  return {
    id,
    spec,
    root: launch.root,
    directory: containerDirectory(engine, id),
    lockFd: fds.lock,
    runDirectory: runDirectory(engine, id),
    cgroupHost,
    cgroup: planCgroup(cgroupHost, cgroupPath(id), spec.linux.resources ?? {}),
    network: network.setup,
    files: network.files,
    lease: network.bridged?.lease,
    stdio: { tty: launch.tty, interactive: launch.interactive, ...attachmentOf(attachment) },
    filter: await compileFilter(spec),
    init: launch.init,
    autoRemove: container.autoRemove,
    log: LOG,
    detachKeys: parseDetachKeys(attachment.detachKeys ?? launch.detachKeys),
    ...(fds.report === undefined
      ? { failed: explainCommand(engine, container, isFirst ? "first" : "again") }
      : { reportFd: fds.report }),
  };
}

function attachmentOf({ attach, interactive }: Attachment): { attach: boolean; forward: boolean } {
  return { attach, forward: interactive };
}

/** Becomes the container's client. Returns only by throwing; the container is not started then, and nothing of the start is left. */
export async function launchForeground(
  engine: Engine,
  created: Created,
  attachment: Attachment,
  onCompiled?: (compiled: Compiled) => void,
): Promise<never> {
  return await orRecord(engine, created, async () => {
    const compiled = await compileLaunch(engine, created, attachment, { lock: PASSED_FD, network: PASSED_FD + 1 });
    onCompiled?.(compiled);
    passAs(created.lock, PASSED_FD);
    const { namespace } = compiled.network;
    if (namespace !== undefined) passAs(namespace, PASSED_FD + 1);
    return await becomePlan(compiled.plan);
  });
}

/**
 * Starts the container and leaves it to its monitor.
 *
 * @throws {BoxError} What `explainFailure` makes of the step that failed.
 */
export async function launchDetached(engine: Engine, created: Created): Promise<void> {
  await orRecord(engine, created, async () => {
    const { plan, network } = await compileLaunch(engine, created, { attach: false, interactive: false }, SPAWNED_FDS);
    using namespace = network.namespace;
    await spawnPlan(plan, created.lock, created.spec, namespace);
  });
}

/** A start that fails is one that the container remembers. */
async function orRecord<T>(engine: Engine, { container, isFirst }: Created, start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    writeFailure(engine, container, isFirst, error);
    throw error;
  }
}
