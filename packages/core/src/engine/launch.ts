import { detectCgroups, planCgroup } from "@bantubox/cgroup";
import {
  allocate,
  attempt,
  BoxError,
  becomeTrampoline,
  call,
  existsSync,
  Fd,
  O,
  openPlan,
  openTrampoline,
} from "@bantubox/ffi";
import { compileStart, type StartContext } from "../runtime/compile.ts";
import { explainFailure, type StepFailure } from "../runtime/explain.ts";
import type { Spec } from "../runtime/spec.ts";
import { type Container, readSpec } from "./container.ts";
import type { Created } from "./create.ts";
import { LOG } from "./defaults.ts";
import { parseDetachKeys } from "./detach-keys.ts";
import { cgroupPath, containerDirectory, type Engine, runDirectory } from "./engine.ts";
import { tryLock } from "./lock.ts";
import { prepareNetwork } from "./network.ts";
import { compileFilter } from "./security.ts";
import { readStatus } from "./status.ts";

const F_SETFD = 2;
/** Where a spawned trampoline finds its plan. */
const PLAN_FD = 3;
/** By which numbers the plan of a spawned trampoline knows what it is given. */
export const SPAWNED_FDS = { lock: 5, report: 4 } as const;
export const REPORT_BYTES = 16;
/** How long a start waits for a container that does not run, but that somebody has. */
const LOCK_PATIENCE_MS = 2000;

/** Who the caller of a start is to the container. */
export interface Attachment {
  readonly attach: boolean;
  /** The caller's stdin is passed on. */
  readonly interactive: boolean;
  readonly detachKeys?: string | undefined;
}

/**
 * Takes a container that exists and does not run: its lock, and what its start needs.
 *
 * @throws {BoxError} `already-running`, `broken-container`
 */
export function takeForStart(engine: Engine, container: Container): Created {
  const lock = lockEnded(engine, container);
  if (lock === undefined) {
    readSpec(engine, container);
    throw new BoxError("already-running", `Cannot start "${container.name}": it is already running`);
  }
  const spec = readSpec(engine, container);
  engine.database.query("UPDATE container SET started_ms = ? WHERE id = ?").run(Date.now(), container.id);
  return { container, lock, spec, cgroupHost: detectCgroups() };
}

/** The lock of a container that does not run. Its last monitor may still be clearing up, and others look at it. */
function lockEnded(engine: Engine, container: Container): Fd | undefined {
  const deadline = performance.now() + LOCK_PATIENCE_MS;
  for (;;) {
    const lock = tryLock(engine, container.id);
    const isRunning = readStatus(engine, container).state === "running";
    if (lock !== undefined && !isRunning) return lock;
    lock?.close();
    if (isRunning || performance.now() > deadline) return undefined;
    if (!existsSync(containerDirectory(engine, container.id))) return undefined;
    Bun.sleepSync(1);
  }
}

/** Compiles the plan of one start. @param fds Numbers that the trampoline will know the lock and the report by. */
export async function compileLaunch(
  engine: Engine,
  { container, spec, cgroupHost }: Omit<Created, "lock">,
  attachment: Attachment,
  fds: { lock: number; report?: number },
): Promise<Uint8Array> {
  const { launch, id } = container;
  const { setup, files } = prepareNetwork(engine, container);
  const context: StartContext = {
    id,
    spec,
    root: launch.root,
    directory: containerDirectory(engine, id),
    lockFd: fds.lock,
    runDirectory: runDirectory(engine, id),
    cgroupHost,
    cgroup: planCgroup(cgroupHost, cgroupPath(id), spec.linux.resources ?? {}),
    network: setup,
    files,
    stdio: { tty: launch.tty, interactive: launch.interactive, ...attachmentOf(attachment) },
    filter: await compileFilter(spec),
    init: launch.init,
    autoRemove: container.autoRemove,
    log: LOG,
    detachKeys: parseDetachKeys(attachment.detachKeys ?? launch.detachKeys),
    ...(fds.report === undefined ? { failed: explainCommand(engine, container) } : { reportFd: fds.report }),
  };
  return compileStart(context);
}

function attachmentOf({ attach, interactive }: Attachment): { attach: boolean; forward: boolean } {
  return { attach, forward: interactive };
}

/** Becomes the container's client. Returns only by throwing; the container is not started then, and nothing of the start is left. */
export async function launchForeground(engine: Engine, created: Created, attachment: Attachment): Promise<never> {
  const plan = await compileLaunch(engine, created, attachment, { lock: created.lock.raw });
  keepOpen(created.lock);
  return await becomePlan(plan);
}

/**
 * Starts the container and leaves it to its monitor.
 *
 * @throws {BoxError} What `explainFailure` makes of the step that failed.
 */
export async function launchDetached(engine: Engine, created: Created): Promise<void> {
  const plan = await compileLaunch(engine, created, { attach: false, interactive: false }, SPAWNED_FDS);
  await spawnPlan(plan, created.lock, created.spec);
}

/** Turns this process into the trampoline with `plan`; descriptors that the plan names were passed to `keepOpen`. */
export async function becomePlan(plan: Uint8Array): Promise<never> {
  using trampoline = await openTrampoline();
  using memory = openPlan(plan);
  return becomeTrampoline(trampoline, memory);
}

/**
 * Runs the trampoline beside this process until the command has started.
 *
 * @param passed A descriptor that the plan knows as number 5; its report goes to number 4.
 * @throws {BoxError} What `explainFailure` makes of the step that failed.
 */
export async function spawnPlan(plan: Uint8Array, passed: Fd, spec: Spec): Promise<void> {
  using report = openReport();
  const child = await spawnTrampoline(plan, report.write, passed, {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
  });
  await child.exited;
  const { failure } = readReport(report.read.raw);
  if (failure !== undefined) throw explainFailure(plan, failure, spec);
}

/** Starts the trampoline. @param passed As for `spawnPlan`. */
export async function spawnTrampoline<
  In extends "ignore" | "pipe" | Uint8Array<ArrayBuffer>,
  Out extends "ignore" | "pipe",
>(
  plan: Uint8Array,
  report: Fd,
  passed: Fd,
  { stdin, stdout, stderr }: { stdin: In; stdout: Out; stderr: Out },
): Promise<Bun.Subprocess<In, Out, Out>> {
  using trampoline = await openTrampoline();
  using memory = openPlan(plan);
  return Bun.spawn([`/proc/self/fd/${trampoline.raw}`, String(PLAN_FD)], {
    argv0: "bb",
    cwd: "/",
    env: {},
    stdio: [stdin, stdout, stderr, memory.raw, report.raw, passed.raw],
  });
}

/** A pipe for struct plan_report; its reader never blocks. */
export function openReport(): { read: Fd; write: Fd } & Disposable {
  const pair = allocate(8);
  call("pipe2", undefined, pair, O.CLOEXEC | O.NONBLOCK);
  const [read = -1, write = -1] = new Int32Array(pair.buffer);
  const ends = { read: new Fd(read), write: new Fd(write) };
  return {
    ...ends,
    [Symbol.dispose]() {
      ends.read.close();
      ends.write.close();
    },
  };
}

/** What a trampoline has to say: that a step failed, or that the command started, and maybe how it ended. */
export interface Report {
  readonly failure?: StepFailure;
  /** As wait(2) has it. */
  readonly waitStatus?: number;
}

/** Reads what the client left in its report. @throws {BoxError} `no-report` if that is nothing. */
export function readReport(fd: number): Report {
  const bytes = allocate(4 * REPORT_BYTES);
  const n = attempt("read", fd, bytes, bytes.length);
  let report: Report | undefined;
  for (let at = 0; at + REPORT_BYTES <= n; at += REPORT_BYTES) report = parseReport(bytes, at);
  if (report !== undefined) return report;
  throw noReport();
}

/** One struct plan_report. */
export function parseReport(bytes: Uint8Array, at: number): Report {
  const REPORT_EXITED = 2;
  const REPORT_FAILED = 3;
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, REPORT_BYTES);
  const kind = view.getUint32(0, true);
  const a = view.getUint32(4, true);
  if (kind === REPORT_FAILED)
    return { failure: { section: a, step: view.getUint32(8, true), errno: view.getUint32(12, true) } };
  return kind === REPORT_EXITED ? { waitStatus: a } : {};
}

export function noReport(): BoxError {
  return new BoxError("no-report", "Cannot start the container: the trampoline ended without a word", {
    hint: 'See "bb doctor"',
  });
}

/** What the trampoline executes to say in words what failed: this program, wherever it came from. */
export function explainCommand(engine: Engine, { id }: Container): string[] {
  return [...ownCommand(), "internal", "failed", engine.root, engine.runRoot, id];
}

function ownCommand(): string[] {
  // In the compiled executable the entry point is a file of its own file system.
  if (Bun.main.startsWith("/$bunfs/")) return [process.execPath];
  // As the shebang of cli/src/main.ts: nothing of the directory that this runs in is loaded.
  return [process.execPath, "--config=/dev/null", "--tsconfig-override=/dev/null", "--no-env-file", Bun.main];
}

/** Lets the next program of this process have `fd`. */
export function keepOpen(fd: Fd): void {
  call("fcntl", "on a descriptor", fd.raw, F_SETFD, 0);
}
