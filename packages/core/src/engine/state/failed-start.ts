import { BoxError, existsSync, type Fd, nodeFs } from "@bantubox/ffi";
import { RECORD } from "../../runtime/records.ts";
import { type Container, findContainer } from "./container.ts";
import { containerDirectory, type Engine } from "./engine.ts";
import { isLocked, tryLock } from "./lock.ts";

/** As Docker has them, for a container whose command never ran. */
const STATUSES: Readonly<Record<string, number>> = { "command-not-found": 127, "command-not-executable": 126 };
const OTHER_STATUS = 128;

/**
 * Remembers of a container that stays how its start failed: it has ended with that status, or, when it was its first
 * start, it is still as it was created.
 *
 * @param isFirst It had never been started before.
 */
export function recordFailure(engine: Engine, id: string, isFirst: boolean, error: unknown): void {
  using lock = lockUnlessTaken(engine, id);
  const container = lock && findContainer(engine, id);
  if (container !== undefined) writeFailure(engine, container, isFirst, error);
}

/** Undefined when somebody has it: who starts it again, or removes it. Who only looks at it is waited for. */
function lockUnlessTaken(engine: Engine, id: string): Fd | undefined {
  for (;;) {
    const lock = tryLock(engine, id);
    if (lock !== undefined || isLocked(engine, id) || !existsSync(containerDirectory(engine, id))) return lock;
    Bun.sleepSync(1);
  }
}

/** As `recordFailure`, for who holds the container's lock. */
export function writeFailure(engine: Engine, { id, autoRemove }: Container, isFirst: boolean, error: unknown): void {
  if (autoRemove) return;
  const status = (error instanceof BoxError ? STATUSES[error.code] : undefined) ?? OTHER_STATUS;
  const path = `${containerDirectory(engine, id)}/${RECORD.exit}`;
  // Nanoseconds do not fit into a number.
  nodeFs().writeFileSync(path, `${status << 8} ${Date.now()}000000\n`, { mode: 0o600 });
  if (isFirst) engine.database.query("UPDATE container SET started_ms = NULL WHERE id = ?").run(id);
}
