import { AT, attempt, BoxError, cstr, existsSync, Fd, O } from "@bantubox/ffi";
import { compileHold, type HeldBind } from "../../runtime/hold.ts";
import { FILE_OPTION } from "../../runtime/mount-options.ts";
import { openDirectory } from "../create/image-root.ts";
import { SPAWNED_FDS, spawnWaiting } from "../start/plan-process.ts";
import { type Container, readSpec } from "../state/container.ts";
import type { Engine } from "../state/engine.ts";
import { LOCK_TIMEOUT_MS, waitLock } from "../state/lock.ts";
import { openProcess } from "../state/process.ts";

/** A container's root as its processes see it, with all that is mounted into it. */
export interface ContainerRoot extends AsyncDisposable {
  /** O_PATH. */
  readonly root: number;
}

/**
 * Opens a container's root: that of its first process, or, when it does not run, what its next start would mount.
 *
 * @throws {BoxError} `in-memory`, `store-busy`
 */
export async function openRoot(engine: Engine, container: Container): Promise<ContainerRoot> {
  const deadline = performance.now() + LOCK_TIMEOUT_MS;
  do {
    const running = openRunning(engine, container);
    if (running !== undefined)
      return {
        root: running.raw,
        async [Symbol.asyncDispose]() {
          running.close();
        },
      };
    const lock = await waitLock(engine, container.id, 100);
    if (lock !== undefined) return await openHeld(engine, container, lock);
  } while (performance.now() < deadline);
  throw new BoxError("store-busy", `Cannot copy from or to "${container.name}": another command is working on it`, {
    hint: "Try again",
  });
}

function openRunning(engine: Engine, container: Container): Fd | undefined {
  const running = openProcess(engine, container);
  if (running === undefined) return undefined;
  using pidfd = running.pidfd;
  const flags = O.PATH | O.DIRECTORY | O.CLOEXEC;
  const raw = attempt("openat", AT.FDCWD, cstr(`/proc/${running.pid}/root`), flags);
  if (raw < 0) return undefined;
  const root = new Fd(raw);
  // Until now it was there, so the number was its own.
  if (attempt("pidfd_send_signal", pidfd.raw, 0, null, 0) === 0) return root;
  root.close();
  return undefined;
}

async function openHeld(engine: Engine, container: Container, lock: Fd): Promise<ContainerRoot> {
  await using stack = new AsyncDisposableStack();
  stack.use(lock);
  const { root } = container.launch;
  if (root.kind === "bundle") throw new TypeError("the engine's containers are no bundles");
  if (root.kind === "memory-overlay") {
    throw new BoxError(
      "in-memory",
      `Cannot copy from or to "${container.name}": it does not run, and its files are gone`,
      {
        hint: "What a container of this machine's own root writes lies in memory",
      },
    );
  }
  const spec = readSpec(engine, container);
  const plan = compileHold({
    root: root.kind === "overlay" ? { ...root, isVolatile: false } : root,
    isReadOnly: spec.root.readonly === true,
    binds: spec.mounts.flatMap(({ type, source = "", destination, options = [] }): HeldBind[] => {
      if (type !== "bind" || !existsSync(source)) return [];
      return [{ source, destination, isFile: options.includes(FILE_OPTION), isReadOnly: options.includes("ro") }];
    }),
    reportFd: SPAWNED_FDS.report,
    waitFd: SPAWNED_FDS.lock,
  });
  const holder = stack.use(await spawnWaiting(plan));
  const opened = stack.use(openDirectory(`/proc/${holder.pid}/root${root.directory}/rootfs`));
  const kept = stack.move();
  return { root: opened.raw, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}
