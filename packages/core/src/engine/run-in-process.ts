import { closeSync } from "node:fs";
import type { Fd } from "@bantubox/ffi";
import type { FileSink } from "bun";
import { explainFailure } from "../runtime/explain.ts";
import type { Container } from "./container.ts";
import { type Created, makeContainer } from "./create.ts";
import type { Engine } from "./engine.ts";
import { compileLaunch } from "./launch.ts";
import type { ContainerOptions } from "./options.ts";
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
import { orRemove } from "./run-new.ts";
import { killEverything } from "./stop.ts";

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
  /** As `RunResult.exitCode`, once the container has ended and has cleared up. */
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
  const created = await make(engine, { ...options, interactive: input !== undefined });
  return await orRemove(engine, created, async () => {
    using report = openReport();
    const { plan, child } = await spawn(engine, created, report.write, input ?? "ignore");
    const abort = (): void => void killUntilEnded(engine, created.container, child);
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
    orThrow(plan, created, end);
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
  const created = await make(engine, options);
  return await orRemove(engine, created, async () => {
    using report = openReport();
    const { plan, child } = await spawn(engine, created, report.write, options.interactive ? "pipe" : "ignore");
    report.write.close();
    const reports = readReports(report.read.take());
    const started = await reports.next();
    if (started.done) throw noReport();
    orThrow(plan, created, started.value);
    const exited = async (): Promise<number> => {
      const { value = {} } = await reports.next();
      await child.exited;
      return statusOf(value);
    };
    const { stdin, stdout, stderr } = child;
    const writer = typeof stdin === "object" ? stdin : undefined;
    return { id: created.container.id, stdin: writer, stdout, stderr, exited: exited() };
  });
}

/** As `bb run --rm` does; what runs is marked as started from the beginning. */
function make(engine: Engine, options: ContainerOptions): Promise<Created> {
  return makeContainer(engine, { autoRemove: true, ...options }, {}, true);
}

interface Spawned<In extends Input> {
  readonly plan: Uint8Array;
  readonly child: Bun.Subprocess<In, "pipe", "pipe">;
}

type Input = "ignore" | "pipe" | Uint8Array<ArrayBuffer>;

/** Starts the trampoline as a client that relays the streams: it ends as the container ends. */
async function spawn<In extends Input>(engine: Engine, created: Created, report: Fd, stdin: In): Promise<Spawned<In>> {
  const attachment = { attach: true, interactive: stdin !== "ignore" };
  const plan = await compileLaunch(engine, created, attachment, SPAWNED_FDS);
  const child = await spawnTrampoline(plan, report, created.lock, { stdin, stdout: "pipe", stderr: "pipe" });
  return { plan, child };
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

function orThrow(plan: Uint8Array, { spec }: Created, { failure }: Report): void {
  if (failure !== undefined) throw explainFailure(plan, failure, spec);
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
