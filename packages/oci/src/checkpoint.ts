import {
  type Criu,
  descriptorsOf,
  dump,
  externalMounts,
  externalNamespace,
  findCriu,
  REQUEST,
} from "@bantubox/core/runtime/criu";
import {
  AT,
  attempt,
  BoxError,
  call,
  cstr,
  existsSync,
  Fd,
  isDirectory,
  mkdirSync,
  nodeFs,
  O,
  readTextSync,
  statIfThere,
} from "@bantubox/ffi";
import { cgroupHost } from "./cgroup-host.ts";
import { CONFIG, type Container, getContainer, type Saved, statusOf } from "./container.ts";
import { configFile, type criuOptions, DESCRIPTORS, MOUNTS } from "./criu-flags.ts";
import type { Globals } from "./globals.ts";
import { removeContainer } from "./remove.ts";

export interface CheckpointOptions {
  /** Absolute directories. */
  readonly images: string;
  readonly work: string;
  /** Relative to `images`. */
  readonly parent: string | undefined;
  readonly leaveRunning: boolean;
  readonly preDump: boolean;
  /** [address, port] */
  readonly pageServer: readonly [string, number] | undefined;
  /** Gets a zero byte once memory can be asked for. */
  readonly statusFd: number | undefined;
  readonly criu: ReturnType<typeof criuOptions>;
}

/** Dumps a container's processes; unless it is left running, nothing of it remains but the images. */
export async function checkpointContainer(globals: Globals, id: string, options: CheckpointOptions): Promise<void> {
  const container = getContainer(globals, id);
  const { saved } = container;
  const { status, pid } = statusOf(container);
  if (saved === undefined || (status !== "running" && status !== "paused"))
    throw new BoxError("container-not-running", `Container cannot be checkpointed in ${status} state`);
  checkParent(options);
  const criu = findCriu(globals.values.criu, `checkpoint "${id}"`);
  // Without the lock: with lazy pages this waits until somebody has asked for them all, and may be deleted meanwhile.
  await dumpContainer(criu, { ...container, saved }, pid, options);
  if (!options.leaveRunning && !options.preDump) await removeContainer(globals, container, true);
}

/** As runc has it: a path that is relative to the images', so that both can be moved. */
function checkParent({ images, parent }: CheckpointOptions): void {
  if (parent === undefined) return;
  if (parent.startsWith("/")) throw new BoxError("usage", "--parent-path must be relative");
  const path = `${images}/${parent}`;
  if (isDirectory(statIfThere(path))) return;
  const state = existsSync(path) ? "not a directory" : "no such file or directory";
  throw new BoxError("usage", `invalid --parent-path: stat ${path}: ${state}`);
}

async function dumpContainer(
  criu: Criu,
  container: Container & { readonly saved: Saved },
  pid: number,
  options: CheckpointOptions,
): Promise<void> {
  const { saved, directory, id } = container;
  const { parseConfig } = await import("@bantubox/core/runtime");
  const spec = parseConfig(readTextSync(`${directory}/${CONFIG}`), saved.bundle);
  for (const path of [options.images, options.work]) mkdirSync(path, { mode: 0o700, recursive: true });
  using images = openDirectory(options.images);
  using work = openDirectory(options.work);
  const external: string[] = [];
  for (const [type, short] of [
    ["network", "net"],
    ["pid", "pid"],
  ] as const) {
    if (spec.linux.namespaces.some((each) => each.type === type && each.path !== undefined))
      external.push(externalNamespace(short, `/proc/${pid}/ns/${short}`));
  }
  const mounts = options.preDump ? [] : externalMounts(pid, spec.mounts);
  if (!options.preDump) {
    write(images, DESCRIPTORS, JSON.stringify(descriptorsOf(pid)));
    write(images, MOUNTS, JSON.stringify(mounts));
  }
  await dump(criu, {
    type: options.preDump ? REQUEST.PRE_DUMP : REQUEST.DUMP,
    what: `checkpoint "${id}"`,
    log: `${options.work}/dump.log`,
    group: { host: cgroupHost(), path: saved.cgroup },
    options: {
      ...options.criu,
      imagesFd: images.raw,
      workFd: work.raw,
      pid,
      logLevel: 4,
      logFile: "dump.log",
      root: saved.rootfs,
      manageCgroups: true,
      notifyScripts: true,
      orphanTerminals: true,
      leaveRunning: options.leaveRunning,
      configFile: configFile(spec.annotations),
      external,
      mounts: mounts.map(({ point }) => [point, point] as const),
      pageServer: options.pageServer,
      parentImage: options.parent,
      trackMem: options.parent !== undefined,
    },
    onNotify: (script) => {
      if (script === "status-ready") sayReady(options.statusFd);
    },
  });
}

/** Lazy pages: whoever waits learns that they can be asked for. */
function sayReady(fd: number | undefined): void {
  if (fd === undefined) return;
  attempt("write", fd, new Uint8Array(new ArrayBuffer(1)), 1);
  attempt("close", fd);
}

function openDirectory(path: string): Fd {
  return new Fd(call("openat", `"${path}"`, AT.FDCWD, cstr(path), O.RDONLY | O.DIRECTORY | O.CLOEXEC));
}

function write(directory: Fd, name: string, text: string): void {
  nodeFs().writeFileSync(`/proc/self/fd/${directory.raw}/${name}`, text, { mode: 0o600 });
}
