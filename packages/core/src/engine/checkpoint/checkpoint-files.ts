import { BoxError, nodeFs, readIfThere } from "@bantubox/ffi";
import { z } from "zod";
import type { RootFs } from "../../runtime/rootfs.ts";
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
/** Neither JSON file comes near. */
const MAX_TEXT_BYTES = 16 << 20;

const launch: z.ZodType<Launch> = z.object({
  /** An import makes its own. */
  root: z.custom<RootFs>(),
  tty: z.boolean(),
  interactive: z.boolean(),
  init: z.boolean(),
  network: z.string().regex(/^(?:none|host|bridge|container:[0-9a-f]{64})$/),
  hostname: z.string(),
  detachKeys: z.string(),
  stopSignal: z.string(),
  stopTimeoutSec: z.number(),
  entrypoint: z.array(z.string()),
  command: z.array(z.string()),
  labels: z.array(z.tuple([z.string(), z.string()])),
  privileged: z.boolean(),
});

const schema = z.object({
  version: z.literal(VERSION),
  createdMs: z.number(),
  /** Of CRIU. */
  criu: z.string(),
  id: z.string().regex(/^[0-9a-f]{64}$/),
  name: z.string(),
  image: z.string(),
  imageName: z.string(),
  autoRemove: z.boolean(),
  launch,
  /** The store's directory, below which config.json has paths. */
  root: z.string().startsWith("/"),
  /** On a bridge. */
  address: z.ipv4().optional(),
  /** What the first process had at 0, 1 and 2. */
  descriptors: z.array(z.string()),
  mounts: z.array(z.object({ point: z.string(), destination: z.string().optional(), path: z.string() })),
  tcpEstablished: z.boolean(),
  fileLocks: z.boolean(),
});

/** `checkpoint.json` */
export type CheckpointRecord = Omit<z.infer<typeof schema>, "version" | "mounts"> & {
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
  if (parsed.success) return parsed.data as CheckpointRecord;
  throw new BoxError(
    "bad-checkpoint",
    `Cannot read the checkpoint: its ${RECORD_FILE} is not one that this version wrote`,
  );
}

/**
 * Whether what an archive has left in `directory` is plain files: a link leads elsewhere, and a pipe is waited for.
 *
 * @returns What it must not hold.
 */
export function findOdd(directory: string): string | undefined {
  const { lstatSync, readdirSync } = nodeFs();
  const isPlain = (path: string): boolean => lstatSync(path).isFile();
  const names = readdirSync(directory);
  const odd = names.find((name) =>
    name === DUMP ? !lstatSync(`${directory}/${name}`).isDirectory() : !isPlain(`${directory}/${name}`),
  );
  if (odd !== undefined) return `"${odd}" is no plain file`;
  if (!names.includes(DUMP)) return `it has no ${DUMP}/`;
  const image = readdirSync(`${directory}/${DUMP}`).find((name) => !isPlain(`${directory}/${DUMP}/${name}`));
  if (image !== undefined) return `"${DUMP}/${image}" is no plain file`;
  const large = names.find((name) => name.endsWith(".json") && lstatSync(`${directory}/${name}`).size > MAX_TEXT_BYTES);
  return large && `its ${large} is larger than ${MAX_TEXT_BYTES} bytes`;
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
