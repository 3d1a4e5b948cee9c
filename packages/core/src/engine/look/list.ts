import { detectCgroups, isFrozen } from "@bantubox/cgroup";
import { allContainers, type Container } from "../state/container.ts";
import { cgroupPath, type Engine } from "../state/engine.ts";
import { idsThatMayRun, readStatus } from "../state/status.ts";
import { sweepAll } from "../state/sweep.ts";

export interface ContainerSummary {
  readonly id: string;
  readonly name: string;
  readonly image: string;
  readonly imageId: string;
  readonly command: readonly string[];
  readonly createdMs: number;
  readonly startedMs?: number;
  readonly finishedMs?: number;
  readonly status: "created" | "running" | "paused" | "exited";
  readonly exitCode?: number;
  readonly pid?: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly network: string;
}

/** The containers, the newest first; only running ones unless `all`. What killed commands left is cleared away first. */
export function listContainers(
  engine: Engine,
  { all = false }: { all?: boolean | undefined } = {},
): ContainerSummary[] {
  sweepAll(engine);
  const mayRun = idsThatMayRun(engine);
  const containers = allContainers(engine).filter(({ id }) => all || mayRun.has(id));
  const summaries = containers.map((container) => summarize(engine, container, mayRun));
  return all ? summaries : summaries.filter(({ status }) => status === "running" || status === "paused");
}

function summarize(engine: Engine, container: Container, mayRun: ReadonlySet<string>): ContainerSummary {
  const { launch } = container;
  const status = readStatus(engine, container, mayRun);
  return {
    id: container.id,
    name: container.name,
    image: container.imageName,
    imageId: container.image,
    command: [...launch.entrypoint, ...launch.command],
    createdMs: container.createdMs,
    ...(container.startedMs === undefined ? {} : { startedMs: container.startedMs }),
    labels: Object.fromEntries(launch.labels),
    network: launch.network,
    ...(status.state === "running"
      ? { status: isPaused(container.id) ? "paused" : "running", pid: status.pid }
      : { status: status.state }),
    ...(status.state === "exited" ? { exitCode: status.exitCode, ...finished(status.finishedMs) } : {}),
  };
}

function finished(finishedMs: number | undefined): { finishedMs?: number } {
  return finishedMs === undefined ? {} : { finishedMs };
}

let host: ReturnType<typeof detectCgroups> | undefined;

/** Whether the groups of a container that runs are frozen. */
export function isPaused(id: string): boolean {
  host ??= detectCgroups();
  return isFrozen(host, cgroupPath(id));
}
