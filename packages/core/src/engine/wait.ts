import { getContainer } from "./container.ts";
import type { Engine } from "./engine.ts";
import { waitLock } from "./lock.ts";
import { openProcess, waitProcess } from "./process.ts";
import { readStatus } from "./status.ts";

const RECORD_TIMEOUT_MS = 10_000;

/**
 * Waits for a container to end. One that was never started is waited for until it was.
 *
 * @returns Its exit status: 128 + n for a signal, 255 when nobody knows.
 */
export async function waitContainer(engine: Engine, idOrName: string): Promise<number> {
  const container = getContainer(engine, idOrName);
  for (;;) {
    const running = openProcess(engine, container);
    if (running !== undefined) {
      using pidfd = running.pidfd;
      await waitProcess(pidfd, Number.POSITIVE_INFINITY);
      // The monitor keeps its lock until the record is written. A --rm container's is gone with it.
      const lock = await waitLock(engine, container.id, RECORD_TIMEOUT_MS);
      lock?.close();
    }
    const status = readStatus(engine, getContainer(engine, container.id));
    if (status.state === "exited") return status.exitCode;
    await Bun.sleep(20);
  }
}
