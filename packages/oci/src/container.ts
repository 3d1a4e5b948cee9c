import { freezerFiles } from "@bantubox/cgroup";
import { isAlive, parseStat } from "@bantubox/core/runtime/process-stat";
import { FIFO, RECORD } from "@bantubox/core/runtime/records";
import {
  AT,
  attempt,
  BoxError,
  close,
  cstr,
  ERRNO,
  Fd,
  O,
  readIfThere,
  SysError,
  statIfThere,
  writeNewSync,
} from "@bantubox/ffi";
import { cgroupHost } from "./cgroup-host.ts";
import type { Globals } from "./globals.ts";

/** What was intended with a container: `state.json` of its directory. Whether it runs is asked of the kernel. */
export interface Saved {
  readonly ociVersion: string;
  readonly id: string;
  /** Absolute. */
  readonly bundle: string;
  readonly rootfs: string;
  /** ISO 8601, UTC. Empty in the file, whose own time it is. */
  readonly created: string;
  /** User ID of whoever made it. */
  readonly owner: number;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  /** Relative path of its groups. */
  readonly cgroup: string;
  /** The unit of systemd's that made it, where one did. */
  readonly unit?: string;
  /** It has a PID namespace of its own: its processes end with its first. */
  readonly ownsPids: boolean;
  readonly hasHooks: boolean;
}

export type Status = "creating" | "created" | "running" | "paused" | "stopped";

/** A container's directory, which may be half made. */
export interface Container {
  readonly id: string;
  readonly directory: string;
  /** Undefined when whoever made the directory was killed before it could write it. */
  readonly saved: Saved | undefined;
}

export const STATE = "state.json";
/** The bundle's config.json as it was when the container was made. */
export const CONFIG = "config.json";

/** What the front starts, shows and deletes the container by: see made-line.ts. */
export const LINE = "line";

/** What `saveContainer` leaves. The last to be written is the first to go. */
export const STATE_FILES = [LINE, STATE, `.${STATE}`, CONFIG] as const;

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;

/** @throws {BoxError} `bad-id` for a name that could lead elsewhere. */
export function checkId(id: string): void {
  if (/^[A-Za-z0-9_+.-]{1,1024}$/.test(id) && id !== "." && id !== "..") return;
  throw new BoxError("bad-id", `invalid container ID format: ${JSON.stringify(id)}`, {
    hint: "Letters, digits and _ + . - are allowed",
  });
}

export function directoryOf({ root }: Pick<Globals, "root">, id: string): string {
  return `${root}/${id}`;
}

/** @throws {BoxError} `no-container` */
export function getContainer(globals: Globals, id: string): Container {
  checkId(id);
  const found = findContainer(globals, id);
  if (found !== undefined) return found;
  throw new BoxError("no-container", "container does not exist");
}

/** The container, or undefined when there is not even a directory. */
export function findContainer(globals: Pick<Globals, "root">, id: string): Container | undefined {
  const directory = directoryOf(globals, id);
  const path = `${directory}/${STATE}`;
  const text = readIfThere(path);
  if (text === undefined && attempt("faccessat", AT.FDCWD, cstr(directory), 0) < 0) return undefined;
  return { id, directory, saved: parseSaved(text, statIfThere(path)?.mtimeMs ?? 0) };
}

function parseSaved(text: string | undefined, mtimeMs: number): Saved | undefined {
  if (text === undefined) return undefined;
  try {
    return { ...(JSON.parse(text) as Saved), created: new Date(mtimeMs).toISOString() };
  } catch {
    // It is renamed into place when it is whole; a disk that lost it after a crash may have left an empty file.
    return undefined;
  }
}

/** Writes what is intended, before anything else is made. @param line Of `madeLine`. */
export function saveContainer(
  directory: string,
  { saved, config, line }: { readonly saved: Saved; readonly config: string; readonly line: Uint8Array | undefined },
): void {
  writeNewSync(`${directory}/${CONFIG}`, config, 0o600);
  const aside = `${directory}/.${STATE}`;
  writeNewSync(aside, JSON.stringify(saved), 0o600);
  const result = attempt("renameat2", AT.FDCWD, cstr(aside), AT.FDCWD, cstr(`${directory}/${STATE}`), 0);
  if (result < 0) throw new SysError("rename", -result, `"${aside}"`);
  if (line !== undefined) writeNewSync(`${directory}/${LINE}`, line, 0o600);
}

/** The container's first process, and when it started; undefined when it has ended, or none was ever recorded. */
export function findProcess({ directory }: Container): { pid: number; ticks: string } | undefined {
  const record = readIfThere(`${directory}/${RECORD.pid}`);
  if (record === undefined) return undefined;
  const [pid, ticks] = parseStat(record);
  return isAlive(pid, ticks) ? { pid, ticks } : undefined;
}

/** A handle on the first process that stays its own. Undefined as for `findProcess`. */
export function openProcess(container: Container): { pidfd: Fd; pid: number } | undefined {
  const found = findProcess(container);
  if (found === undefined) return undefined;
  const raw = attempt("pidfd_open", found.pid, 0);
  if (raw < 0) return undefined;
  const pidfd = new Fd(raw);
  // The number may have become somebody else's before the handle was taken.
  if (isAlive(found.pid, found.ticks)) return { pidfd, pid: found.pid };
  pidfd.close();
  return undefined;
}

/** What the container is, as the kernel has it. */
export function statusOf(container: Container): { status: Status; pid: number } {
  const found = findProcess(container);
  if (found === undefined) return { status: isLocked(container) ? "creating" : "stopped", pid: 0 };
  const { pid } = found;
  const held = isHeld(container);
  if (held && isLocked(container)) return { status: "creating", pid };
  return { status: isPaused(container) ? "paused" : held ? "created" : "running", pid };
}

/** Whether PID 1 waits at its fifo: nobody else has it open for reading. */
export function isHeld({ directory }: Container): boolean {
  const fd = attempt("openat", AT.FDCWD, cstr(`${directory}/${FIFO}`), O.WRONLY | O.NONBLOCK | O.CLOEXEC);
  if (fd < 0) return false;
  close(fd);
  return true;
}

/** Whether its processes were stopped by `pause`, or are about to be. */
export function isPaused({ saved }: Container): boolean {
  if (saved === undefined) return false;
  return freezerFiles(cgroupHost(), saved.cgroup).some((file) =>
    /^(FROZEN|FREEZING)|^frozen 1$/m.test(readIfThere(file) ?? ""),
  );
}

/** Shared: others may look at the same time, and are not taken for somebody who has it. */
export function isLocked(container: Container): boolean {
  using lock = tryLock(container, LOCK_SH);
  return lock === undefined && attempt("faccessat", AT.FDCWD, cstr(container.directory), 0) === 0;
}

/** The container's lock, held by whoever makes or deletes it; of those who start it the first one has the fifo's. Undefined when somebody else has it, or it is gone. */
function tryLock({ directory }: Pick<Container, "directory">, kind = LOCK_EX): Fd | undefined {
  const raw = attempt("openat", AT.FDCWD, cstr(directory), O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC);
  if (raw < 0) return undefined;
  const fd = new Fd(raw);
  const result = attempt("flock", fd.raw, kind | LOCK_NB);
  if (result === 0) return fd;
  fd.close();
  if (result === -ERRNO.EAGAIN) return undefined;
  throw new SysError("flock", -result, `"${directory}"`);
}

/** How long another command may have the container. */
const LOCK_PATIENCE_MS = 10_000;

/** As `tryLock`, after whoever has it. @throws {BoxError} `container-busy` */
export function waitLock(container: Pick<Container, "id" | "directory">): Fd | undefined {
  const deadline = performance.now() + LOCK_PATIENCE_MS;
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, 50)) {
    const lock = tryLock(container);
    if (lock !== undefined || attempt("faccessat", AT.FDCWD, cstr(container.directory), 0) < 0) return lock;
    if (performance.now() > deadline) {
      throw new BoxError("container-busy", `Cannot use "${container.id}": another command has it`);
    }
    Bun.sleepSync(pauseMs);
  }
}
