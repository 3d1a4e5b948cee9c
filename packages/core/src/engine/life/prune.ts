import { isErrno } from "@bantubox/ffi";
import { containerSize } from "../look/disk-usage.ts";
import { type ContainerSummary, listContainers } from "../look/list.ts";
import type { Engine } from "../state/engine.ts";
import { removeContainer } from "./remove.ts";

/** Which of what nobody needs is deleted; all of it when nothing is said. */
export interface PruneFilter {
  /** Only what was created before, in milliseconds since 1970. */
  readonly untilMs?: number | undefined;
  /** Only what has all of these labels, and none of those; `name` or `name=value`. */
  readonly labels?: readonly string[] | undefined;
  readonly withoutLabels?: readonly string[] | undefined;
}

export interface PrunedContainers {
  readonly removed: readonly string[];
  readonly bytes: number;
}

/** Removes the containers that do not run. */
export async function pruneContainers(engine: Engine, filter: PruneFilter = {}): Promise<PrunedContainers> {
  const removed: string[] = [];
  let bytes = 0;
  for (const container of listContainers(engine, { all: true })) {
    if (container.status === "running" || container.status === "paused" || !passes(container, filter)) continue;
    const size = containerSize(engine, container.id);
    try {
      await removeContainer(engine, container.id);
    } catch (error) {
      // Somebody started it meanwhile, removed it, or is at work on it.
      if (!isErrno(error, "container-running", "no-such-container", "store-busy")) throw error;
      continue;
    }
    removed.push(container.id);
    bytes += size;
  }
  return { removed, bytes };
}

function passes({ createdMs, labels }: ContainerSummary, filter: PruneFilter): boolean {
  const has = (wanted: string): boolean => {
    const equals = wanted.indexOf("=");
    const name = equals < 0 ? wanted : wanted.slice(0, equals);
    return Object.hasOwn(labels, name) && (equals < 0 || labels[name] === wanted.slice(equals + 1));
  };
  if (filter.untilMs !== undefined && createdMs >= filter.untilMs) return false;
  return (filter.labels ?? []).every(has) && !(filter.withoutLabels ?? []).some(has);
}
