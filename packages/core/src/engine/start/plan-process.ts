import { allocate, attempt, BoxError, call, ERRNO, Fd, O, openPlan, openTrampoline } from "@bantubox/ffi";
import { ownCommand } from "../../runtime/become.ts";
import type { StepFailure } from "../../runtime/explain.ts";
import type { Spec } from "../../runtime/spec.ts";
import type { Engine } from "../state/engine.ts";

/** Where a spawned trampoline finds its plan. */
const PLAN_FD = 3;
/** By which numbers the plan of a spawned trampoline knows what it is given. */
export const SPAWNED_FDS = { lock: 5, report: 4, network: 6 } as const;
export const REPORT_BYTES = 16;

/**
 * Runs the trampoline beside this process until the command has started.
 *
 * @param passed A descriptor that the plan knows as number 5; its report goes to number 4.
 * @param network One that it knows as number 6.
 * @throws {BoxError} What `explainFailure` makes of the step that failed.
 */
export async function spawnPlan(plan: Uint8Array, passed: Fd, spec: Spec, network?: Fd): Promise<void> {
  using report = openReport();
  const streams = { stdin: "ignore", stdout: "ignore", stderr: "ignore" } as const;
  const child = await spawnTrampoline(plan, report.write, passed, streams, network);
  await child.exited;
  const { failure } = readReport(report.read.raw);
  if (failure === undefined) return;
  const { explainFailure } = await import("../../runtime/explain.ts");
  throw explainFailure(plan, failure, spec);
}

/** Kept open for a program's next containers: nobody can change it. */
let sealedTrampoline: Promise<Fd> | undefined;

/** A failure is no reason for the next one to fail. */
async function sealTrampoline(): Promise<Fd> {
  try {
    return await openTrampoline();
  } catch (error) {
    sealedTrampoline = undefined;
    throw error;
  }
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
  network?: Fd,
): Promise<Bun.Subprocess<In, Out, Out>> {
  sealedTrampoline ??= sealTrampoline();
  const trampoline = await sealedTrampoline;
  using memory = openPlan(plan);
  return Bun.spawn([`/proc/self/fd/${trampoline.raw}`, String(PLAN_FD)], {
    argv0: "bb",
    cwd: "/",
    env: {},
    stdio: [stdin, stdout, stderr, memory.raw, report.raw, passed.raw, ...(network ? [network.raw] : [])],
  });
}

/** A trampoline that has done its work and waits to be let go: it ends when this does, or is disposed of. */
export interface Waiting extends AsyncDisposable {
  readonly pid: number;
}

/** How long a trampoline may take to be ready; its steps are a few mounts and files. */
const READY_TIMEOUT_MS = 30_000;

/**
 * Starts a plan of `compileHold` or `compileThaw` beside this process, and returns when it waits.
 *
 * @throws {BoxError} What `explainFailure` makes of the step that failed.
 */
export async function spawnWaiting(plan: Uint8Array): Promise<Waiting> {
  using report = openReport();
  const wait = openReport();
  using _read = wait.read;
  const child = await spawnTrampoline(plan, report.write, wait.read, {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
  }).catch((error: unknown) => {
    wait.write.close();
    throw error;
  });
  report.write.close();
  const waiting = {
    pid: child.pid,
    async [Symbol.asyncDispose]() {
      wait.write.close();
      await child.exited;
    },
  };
  try {
    const { failure } = await nextReport(report.read.raw);
    if (failure === undefined) return waiting;
    const { explainFailure } = await import("../../runtime/explain.ts");
    throw explainFailure(plan, failure, undefined);
  } catch (error) {
    await waiting[Symbol.asyncDispose]();
    throw error;
  }
}

async function nextReport(fd: number): Promise<Report> {
  const bytes = allocate(REPORT_BYTES);
  const deadline = performance.now() + READY_TIMEOUT_MS;
  for (let pauseMs = 1; performance.now() < deadline; pauseMs = Math.min(pauseMs * 2, 20)) {
    const count = attempt("read", fd, bytes, bytes.length);
    if (count === REPORT_BYTES) return parseReport(bytes, 0);
    if (count !== -ERRNO.EAGAIN) break;
    await Bun.sleep(pauseMs);
  }
  throw noReport();
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

/** What the trampoline executes to say in words what failed: this program, wherever it came from. @param kind As failed.ts has it. */
export function explainCommand(
  engine: Engine,
  { id }: { readonly id: string },
  kind: "first" | "again" | "exec",
): string[] {
  return [...ownCommand(), "internal", "failed", engine.root, engine.runRoot, id, kind];
}
