import type { FileSink } from "bun";
import { explainFailure } from "../runtime/explain.ts";
import { makeContainer } from "./create.ts";
import type { Engine } from "./engine.ts";
import { compileLaunch, openReport, readReport, SPAWNED_FDS, spawnTrampoline } from "./launch.ts";
import type { ContainerOptions } from "./options.ts";
import { orRemove } from "./run.ts";
import { killEverything } from "./stop.ts";

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
  const started = await start(engine, { ...options, interactive: input !== undefined }, input ?? "ignore");
  const { child } = started;
  const abort = (): void => void killUntilEnded(engine, started.id, child);
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  try {
    const [stdout, stderr, exitCode] = await Promise.all([
      Bun.readableStreamToBytes(child.stdout),
      Bun.readableStreamToBytes(child.stderr),
      started.exited(),
    ]);
    signal?.throwIfAborted();
    return { exitCode, stdout, stderr };
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

/**
 * Starts a container and gives its standard streams; whoever does not read them holds it up. It removes itself when it
 * has ended, unless `autoRemove` is false. End it with `killContainer`.
 *
 * @throws {BoxError} When making it failed. That its start failed is told by `exited`, which rejects with a BoxError.
 */
export async function spawnContainer(engine: Engine, options: ContainerOptions): Promise<SpawnedContainer> {
  const { id, child, exited } = await start(engine, options, options.interactive ? "pipe" : "ignore");
  const { stdin, stdout, stderr } = child;
  return { id, stdin: typeof stdin === "object" ? stdin : undefined, stdout, stderr, exited: exited() };
}
