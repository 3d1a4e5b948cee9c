import { BoxError, MONITOR, nodeFs } from "@bantubox/ffi";
import { requireAppArmorProfile } from "../../runtime/apparmor.ts";
import type { Origin, StartContext } from "../../runtime/compile.ts";
import { compileStart } from "../../runtime/compile.ts";
import { type Criu, criuEnvironment, findCriu, sourceOf } from "../../runtime/criu/mod.ts";
import { type Checkpoint, compileRestored, followRestore, rememberStage } from "../../runtime/criu/restore.ts";
import { raiseHostEnd } from "../../runtime/network.ts";
import { RECORD } from "../../runtime/records.ts";
import { TAG } from "../../runtime/tags.ts";
import type { Created } from "../create/create.ts";
import { prepareNetwork } from "../create/network.ts";
import { startContext, takeForStart } from "../start/launch.ts";
import { SPAWNED_FDS, spawnPlan } from "../start/plan-process.ts";
import { getContainer } from "../state/container.ts";
import { cgroupPath, type Engine } from "../state/engine.ts";
import { type CheckpointRecord, checkpointDirectory, DUMP, readRecord } from "./checkpoint-files.ts";

export interface RestoreOptions {
  /** The checkpoint stays for another time. */
  readonly keep?: boolean;
  /** Its TCP connections come back; so they do when the checkpoint was made with them. */
  readonly tcpEstablished?: boolean;
  /** CRIU's path; it is looked for in PATH without one. */
  readonly criu?: string | undefined;
}

/**
 * Lets a container go on where `checkpointContainer` has saved it, with a monitor as at a start.
 *
 * @returns Its ID.
 * @throws {BoxError} `no-checkpoint`, `already-running`, `no-criu`, `criu-cannot`, `criu-failed`, `address-taken`
 */
export async function restoreContainer(
  engine: Engine,
  idOrName: string,
  options: RestoreOptions = {},
): Promise<string> {
  const container = getContainer(engine, idOrName);
  const { id, name } = container;
  const record = readRecord(checkpointDirectory(engine, id));
  if (record === undefined) {
    throw new BoxError("no-checkpoint", `Cannot restore "${name}": it has no checkpoint`, {
      hint: `Make one while it runs: bb checkpoint ${name}`,
    });
  }
  const criu = findCriu(options.criu, `restore "${name}"`);
  const created = takeForStart(engine, container);
  using _lock = created.lock;
  await launchRestored(engine, created, record, criu, options);
  return id;
}

/** Restores a container whose lock the caller has, from the checkpoint in its directory. */
export async function launchRestored(
  engine: Engine,
  created: Created,
  record: CheckpointRecord,
  criu: Criu,
  { keep = false, tcpEstablished = false }: RestoreOptions,
): Promise<void> {
  const { container, spec } = created;
  const directory = checkpointDirectory(engine, container.id);
  const { apparmorProfile } = spec.process;
  if (apparmorProfile !== undefined) requireAppArmorProfile(apparmorProfile);
  const network = prepareNetwork(engine, container, SPAWNED_FDS.network, true);
  using namespace = network.namespace;
  const hasConnections = tcpEstablished || record.tcpEstablished;
  if (hasConnections && network.bridged?.address !== record.address) {
    throw new BoxError(
      "address-taken",
      `Cannot restore "${container.name}" with its TCP connections: its address ${record.address} is another container's`,
      { hint: "End that one first; connections are bound to their addresses" },
    );
  }
  const images = `${directory}/${DUMP}`;
  const checkpoint: Checkpoint = {
    criu: {
      path: criu.path,
      environment: Object.entries(criuEnvironment()).map(([name, value]) => `${name}=${value}`),
    },
    images,
    work: images,
    descriptors: record.descriptors,
    mounts: record.mounts.map((mount) => [mount.point, sourceOf(mount, spec.mounts)] as const),
    options: {
      tcpEstablished: hasConnections,
      fileLocks: record.fileLocks,
      // Under another ID its groups have another name.
      ...(record.id !== container.id && { cgroupRoots: [[undefined, `/${cgroupPath(container.id)}`]] }),
    },
  };
  const stays = { attach: false, interactive: false };
  const context = await startContext(engine, created, stays, SPAWNED_FDS, network);
  await spawnPlan(compileStart(context, restored(context, checkpoint)), created.lock, spec, namespace);
  if (!keep) nodeFs().rmSync(directory, { recursive: true, force: true });
}

/** A container's process that comes out of a checkpoint. */
function restored(context: StartContext, checkpoint: Checkpoint): Origin {
  return {
    forkFlags: 0,
    monitorFlags: MONITOR.STAGED | MONITOR.RESTORED,
    isBornInGroup: false,
    compile(build, { streams, hostSocket, intoCgroup, pid, run }) {
      const reapStage = rememberStage(build, pid);
      compileRestored(build, {
        ...context,
        checkpoint,
        streams,
        hostSocket,
        intoCgroup,
        makesNetwork: true,
        outputFd: undefined,
      });
      build.plan.parent.builtin("recordStart", run, RECORD.pid).tag(TAG.STATE);
      followRestore(build, reapStage);
      if (context.network.kind === "veth") raiseHostEnd(build, context.network.veth);
    },
  };
}
