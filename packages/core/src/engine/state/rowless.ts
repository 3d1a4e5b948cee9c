import { existsSync, nodeFs, readIfThere, statIfThere } from "@bantubox/ffi";
import type { Container } from "./container.ts";
import { containerDirectory, type Engine } from "./engine.ts";
import { nameOf } from "./names.ts";

/**
 * Rows are for what must be unique or is counted: names, volumes.
 * A `--rm` container that has none of them needs no row: its directory says
 * that it is there, and this file in it what a row would say. It goes with the directory.
 */
const RECORD = "container.json";

export function recordPath(engine: Engine, id: string): string {
  return `${containerDirectory(engine, id)}/${RECORD}`;
}

/** What is in it: the name follows from the ID, and the file's own time tells when it was made and started. */
export function recordText(container: Container): string {
  return JSON.stringify({ ...container, name: "", createdMs: 0, startedMs: 0 });
}

/** The container without a row whose directory `id` names, or undefined. */
export function readRowless(engine: Engine, id: string): Container | undefined {
  const path = recordPath(engine, id);
  const text = readIfThere(path);
  const createdMs = statIfThere(path)?.mtimeMs;
  if (text === undefined || createdMs === undefined) return undefined;
  // Its maker was killed while it wrote: nothing runs yet, and it is swept like any directory that nobody knows.
  try {
    const container = JSON.parse(text) as Partial<Container> | null;
    if (container?.id !== id || container.launch === undefined) return undefined;
    return { ...(container as Container), name: nameOf(id), createdMs, startedMs: createdMs };
  } catch {
    return undefined;
  }
}

/** All containers without a row whose IDs begin with `prefix`. @param known IDs that need no look. */
export function allRowless(engine: Engine, prefix = "", known?: ReadonlySet<string>): Container[] {
  const parent = `${engine.root}/containers`;
  if (!existsSync(parent)) return [];
  const found: Container[] = [];
  for (const name of nodeFs().readdirSync(parent)) {
    if (name.length !== 64 || !name.startsWith(prefix) || known?.has(name) === true) continue;
    const container = readRowless(engine, name);
    if (container !== undefined) found.push(container);
  }
  return found;
}
