import { getContainer } from "../state/container.ts";
import type { Engine } from "../state/engine.ts";
import { readEnd, watchEnd } from "../state/exit-watch.ts";
import { LOCK_TIMEOUT_MS, tryLock, waitLock } from "../state/lock.ts";
import { openProcess, waitProcess } from "../state/process.ts";
import { readStatus } from "../state/status.ts";

const RECORD_TIMEOUT_MS = 10_000;
const POLL_MS = 20;

/**
 * Waits until a container does not run (any more).
 *
 * @returns Its exit status: 128 + n for a signal, 255 when nobody knows; of one that was never started 0, as Docker has
 * it, or how its start failed.
 */
export async function waitContainer(engine: Engine, idOrName: string): Promise<number> {
  const container = getContainer(engine, idOrName);
  const { id, autoRemove } = container;
  for (;;) {
    const running = openProcess(engine, container);
    if (running !== undefined) {
      using pidfd = running.pidfd;
      // A --rm container takes its record with it, so its monitor has to tell.
      using watch = autoRemove ? watchEnd(engine, id) : undefined;
      await waitProcess(pidfd, Number.POSITIVE_INFINITY);
      const deadline = performance.now() + RECORD_TIMEOUT_MS;
      while (watch !== undefined && performance.now() < deadline) {
        const end = readEnd(watch);
        if (typeof end === "number") return end;
        if (end === "lost") break;
        await Bun.sleep(POLL_MS);
      }
      // The monitor keeps its lock until the record is written.
      const lock = await waitLock(engine, id, LOCK_TIMEOUT_MS);
      lock?.close();
    }
    const status = readStatus(engine, running === undefined ? getContainer(engine, id) : container);
    if (status.state === "exited") return status.exitCode;
    // Somebody may just be starting it.
    if (status.state === "created" && isNobodys(engine, id)) return status.exitCode;
    await Bun.sleep(POLL_MS);
  }
}

function isNobodys(engine: Engine, id: string): boolean {
  using lock = tryLock(engine, id);
  return lock !== undefined;
}
