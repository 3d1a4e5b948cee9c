import { closeSync } from "node:fs";
import type { BoxError, Fd } from "@bantubox/ffi";
import type { FileSink } from "bun";
import { explainFailure, type StepFailure } from "../../runtime/explain.ts";
import type { Spec } from "../../runtime/spec.ts";
import { makeContainer } from "../create/create.ts";
import type { ContainerOptions } from "../create/options.ts";
import { withPlaces } from "../kept/keep-start.ts";
import { type KeptStart, keyOf } from "../kept/kept-start.ts";
import { killEverything } from "../life/stop.ts";
import type { Container } from "../state/container.ts";
import type { Engine } from "../state/engine.ts";
import { compileLaunch } from "./launch.ts";
import {
  noReport,
  openReport,
  parseReport,
  REPORT_BYTES,
  type Report,
  readReport,
  SPAWNED_FDS,
  spawnTrampoline,
} from "./plan-process.ts";
import { findSource, makeAnother } from "./run.ts";
import { orRemove } from "./run-new.ts";

const STATUS_UNKNOWN = 255;
const KILL_PAUSE_MS = 5;

/** What a container that has ended leaves. */
export interface RunResult {
  /** As a shell has it: 128 + n for a signal; 255 when its monitor was killed and nobody knows. */
  readonly exitCode: number;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
}

export interface RunContainerOptions {
  /** What the command reads; without it, /dev/null. */
  readonly stdin?: string | Uint8Array<ArrayBuffer> | undefined;
  /** Ends the container by SIGKILL. */
  readonly signal?: AbortSignal | undefined;
}

/** A container that runs beside this program. */
export interface SpawnedContainer {
  readonly id: string;
  /** Undefined unless the container is `interactive`. */
  readonly stdin: FileSink | undefined;
  readonly stdout: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly stderr: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** As `RunResult.exitCode`, once the container has ended. Its files go soon after. */
  readonly exited: Promise<number>;
}

/**
 * Runs a container to its end and collects what it prints. It removes itself then, unless `autoRemove` is false.
 *
 * @throws {BoxError} When it could not be started; nothing is left then.
 * @throws `signal.reason` When that aborted; the container has ended then.
 * @example
 * const { stdout } = await runContainer(openEngine(), { image: "host", command: ["uname", "-n"] });
 */
export async function runContainer(
  engine: Engine,
  options: ContainerOptions,
  { stdin, signal }: RunContainerOptions = {},
): Promise<RunResult> {
  signal?.throwIfAborted();
  const input = typeof stdin === "string" ? new TextEncoder().encode(stdin) : stdin;
  const made = await make(engine, { ...options, interactive: input !== undefined });
  return await orRemove(engine, made, async () => {
    using report = openReport();
    const child = await spawn(made, report.write, input ?? "ignore");
    const abort = (): void => void killUntilEnded(engine, made.container, child);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) abort();
    const [stdout, stderr] = await Promise.all([
      Bun.readableStreamToBytes(child.stdout),
      Bun.readableStreamToBytes(child.stderr),
      child.exited,
    ]);
    signal?.removeEventListener("abort", abort);
    signal?.throwIfAborted();
    const end = readReport(report.read.raw);
    if (end.failure !== undefined) throw failureOf(engine, made, end.failure);
    return { exitCode: statusOf(end), stdout, stderr };
  });
}

/**
 * Starts a container and gives its standard streams; one that nobody reads holds it up. It removes itself when it
 * has ended, unless `autoRemove` is false. `killContainer` ends it.
 *
 * @returns Once its command runs.
 * @throws {BoxError} When it could not be started; nothing is left then.
 */
export async function spawnContainer(engine: Engine, options: ContainerOptions): Promise<SpawnedContainer> {
  const made = await make(engine, options);
  return await orRemove(engine, made, async () => {
    using report = openReport();
    const child = await spawn(made, report.write, options.interactive ? "pipe" : "ignore");
    report.write.close();
    const reports = readReports(report.read.take());
    const started = await reports.next();
    const { failure } = started.value ?? {};
    if (started.done || failure !== undefined) {
      await reports.return(undefined);
      throw failure === undefined ? noReport() : failureOf(engine, made, failure);
    }
    const exited = async (): Promise<number> => {
      const { value = {} } = await reports.next();
      await reports.return(undefined);
      await child.exited;
      return statusOf(value);
    };
    const { stdin, stdout, stderr } = child;
    const writer = typeof stdin === "object" ? stdin : undefined;
    return { id: made.container.id, stdin: writer, stdout, stderr, exited: exited() };
  });
}

/** A container that exists, and the plan of its start. */
interface Made {
  readonly container: Container;
  readonly lock: Fd;
  readonly plan: Uint8Array;
  readonly spec: () => Spec;
  /** Another container's, to join. */
  readonly namespace?: Fd | undefined;
}

/**
 * Plans of earlier starts, as kept-start.ts has them for commands. A program's own memory is the place for them: a
 * file would outlive the build that compiled it.
 */
const keptStarts = new WeakMap<Engine, Map<string, KeptStart>>();
const MAX_KEPT = 64;

/** As `bb run --rm` does; what runs is marked as started from the beginning. */
async function make(engine: Engine, wanted: ContainerOptions): Promise<Made> {
  const options = { autoRemove: true, ...wanted };
  const source = findSource(engine, options);
  const key = source && keyOf(engine, options, source.image)?.text;
  const kept = key === undefined ? undefined : keptStarts.get(engine)?.get(key);
  if (kept !== undefined) {
    // Several starts may be under way at once, each with a plan of its own.
    const made = await makeAnother(engine, { ...kept, plan: kept.plan.slice() });
    return { ...made, spec: () => JSON.parse(kept.config) };
  }
  const created = await makeContainer(engine, options, {}, true);
  const attachment = { attach: true, interactive: options.interactive === true };
  const { plan, network } = await compileLaunch(engine, created, attachment, SPAWNED_FDS).catch((error: unknown) =>
    orRemove(engine, created, () => Promise.reject<never>(error)),
  );
  const { container, lock, spec } = created;
  const start = key === undefined ? undefined : withPlaces({ container, config: JSON.stringify(spec), plan, network });
  if (key !== undefined && start !== undefined) {
    const starts = keptStarts.get(engine) ?? new Map<string, KeptStart>();
    if (starts.size >= MAX_KEPT) starts.clear();
    starts.set(key, start);
    keptStarts.set(engine, starts);
  }
  return { container, lock, plan, spec: () => spec, namespace: network.namespace };
}

type Input = "ignore" | "pipe" | Uint8Array<ArrayBuffer>;

/** Starts the trampoline as a client that relays the streams: it ends as the container ends. */
async function spawn<In extends Input>(
  { plan, lock, namespace }: Made,
  report: Fd,
  stdin: In,
): Promise<Bun.Subprocess<In, "pipe", "pipe">> {
  using _namespace = namespace;
  return await spawnTrampoline(plan, report, lock, { stdin, stdout: "pipe", stderr: "pipe" }, namespace);
}

/** Why a start failed. It may have been with a plan that was kept while the host changed, so none is kept after it. */
function failureOf(engine: Engine, { plan, spec }: Made, failure: StepFailure): BoxError {
  keptStarts.delete(engine);
  return explainFailure(plan, failure, spec());
}

/** Reads a report's records as they come, and closes it when it ends. */
async function* readReports(fd: number): AsyncGenerator<Report, undefined> {
  try {
    for await (const bytes of Bun.file(fd).stream()) {
      for (let at = 0; at + REPORT_BYTES <= bytes.length; at += REPORT_BYTES) yield parseReport(bytes, at);
    }
  } finally {
    closeSync(fd);
  }
}

function statusOf({ waitStatus }: Report): number {
  if (waitStatus === undefined) return STATUS_UNKNOWN;
  const signal = waitStatus & 0x7f;
  return signal === 0 ? (waitStatus >> 8) & 0xff : 128 + signal;
}

/** A container that does not run yet cannot be killed: it is tried until the client has ended. */
async function killUntilEnded(engine: Engine, container: Container, child: Bun.Subprocess): Promise<void> {
  while (child.exitCode === null && child.signalCode === null) {
    // Ended meanwhile; or stuck in the kernel, which the caller then waits for.
    await killEverything(engine, container).catch(() => {});
    await Bun.sleep(KILL_PAUSE_MS);
  }
}
