import { BoxError, readIfThere } from "@bantubox/ffi";
import { z } from "zod";
import type { Launch } from "../state/container.ts";
import { containerDirectory, type Engine } from "../state/engine.ts";

/**
 * What is kept of a checkpoint in a container's directory, and what an exported archive holds:
 *
 * ```
 * checkpoint.json   what a restore has to know; written last
 * config.json       the container's
 * dump/             CRIU's images and logs
 * upper.tar         of an export: what the container's writable layer holds, as a layer of an image
 * ```
 */
export const CHECKPOINT = "checkpoint";
/** Becomes the former when it is complete. */
export const NEW_CHECKPOINT = "checkpoint.new";
export const RECORD_FILE = "checkpoint.json";
export const DUMP = "dump";
export const UPPER = "upper.tar";

const VERSION = 1;

const schema = z.object({
  version: z.literal(VERSION),
  createdMs: z.number(),
  /** Of CRIU. */
  criu: z.string(),
  id: z.string(),
  name: z.string(),
  image: z.string(),
  imageName: z.string(),
  autoRemove: z.boolean(),
  launch: z.record(z.string(), z.unknown()),
  /** The store's directory, below which config.json has paths. */
  root: z.string(),
  /** On a bridge. */
  address: z.string().optional(),
  /** What the first process had at 0, 1 and 2. */
  descriptors: z.array(z.string()),
  mounts: z.array(z.object({ point: z.string(), destination: z.string().optional(), path: z.string() })),
  tcpEstablished: z.boolean(),
  fileLocks: z.boolean(),
});

/** `checkpoint.json` */
export type CheckpointRecord = Omit<z.infer<typeof schema>, "version" | "launch" | "mounts"> & {
  readonly launch: Launch;
  readonly mounts: readonly { readonly point: string; readonly destination?: string; readonly path: string }[];
};

export function recordText(record: CheckpointRecord): string {
  return JSON.stringify({ version: VERSION, ...record });
}

/** The checkpoint in `directory`; undefined when there is none. @throws {BoxError} `bad-checkpoint` */
export function readRecord(directory: string): CheckpointRecord | undefined {
  const text = readIfThere(`${directory}/${RECORD_FILE}`);
  if (text === undefined) return undefined;
  const parsed = schema.safeParse(parseJson(text));
  if (parsed.success) return parsed.data as unknown as CheckpointRecord;
  throw new BoxError(
    "bad-checkpoint",
    `Cannot read the checkpoint: its ${RECORD_FILE} is not one that this version wrote`,
  );
}

export function checkpointDirectory(engine: Engine, id: string): string {
  return `${containerDirectory(engine, id)}/${CHECKPOINT}`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
