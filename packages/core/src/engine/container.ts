import { BoxError, isErrno, readTextSync } from "@bantubox/ffi";
import { familiarName } from "@bantubox/image";
import type { RootFs } from "../runtime/rootfs.ts";
import type { Spec } from "../runtime/spec.ts";
import { containerDirectory, type Engine } from "./engine.ts";

/** What a start needs beside config.json. */
export interface Launch {
  readonly root: RootFs;
  readonly tty: boolean;
  readonly interactive: boolean;
  readonly init: boolean;
  /** `none`, `host`, `bridge` or `container:<id>`. */
  readonly network: string;
  readonly hostname: string;
  readonly detachKeys: string;
  readonly stopSignal: string;
  readonly stopTimeoutSec: number;
  /** For inspect and commit: what the command was made of. */
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly labels: readonly (readonly [string, string])[];
  readonly privileged: boolean;
}

/** A container's row. */
export interface Container {
  readonly id: string;
  readonly name: string;
  /** The image's ID; a root directory's path for one that was run without an image. */
  readonly image: string;
  readonly imageName: string;
  readonly createdMs: number;
  readonly startedMs: number | undefined;
  readonly autoRemove: boolean;
  readonly launch: Launch;
}

interface Row {
  readonly id: string;
  readonly name: string;
  readonly image: string;
  readonly image_name: string;
  readonly created_ms: number;
  readonly started_ms: number | null;
  readonly auto_remove: number;
  readonly launch: string;
}

/** Docker's grammar of names; at most 255 bytes. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}$/;

/** @throws {BoxError} `bad-name` */
export function checkName(name: string): void {
  if (NAME.test(name)) return;
  throw new BoxError("bad-name", `Cannot name a container ${JSON.stringify(name)}: the name is not valid`, {
    hint: "Use letters, digits, '_', '.' and '-', and begin with a letter or digit",
  });
}

/**
 * Finds a container by name, ID, or the beginning of an ID. A name goes first.
 *
 * @throws {BoxError} `container-ambiguous` when several IDs begin so.
 */
export function findContainer({ database }: Engine, text: string): Container | undefined {
  const name = text.startsWith("/") ? text.slice(1) : text;
  const exact = database
    .query<Row, [string]>("SELECT * FROM container WHERE name = ?1 OR id = ?1 ORDER BY name = ?1 DESC")
    .get(name);
  if (exact !== null) return fromRow(exact);
  if (!/^[0-9a-f]{1,64}$/.test(text)) return undefined;
  const [row, another] = database
    .query<Row, [string, string]>("SELECT * FROM container WHERE id >= ?1 AND id < ?2 LIMIT 2")
    .all(text, `${text}g`);
  if (another !== undefined) {
    throw new BoxError("container-ambiguous", `Cannot tell which container "${text}" is: several IDs begin so`, {
      hint: 'Write more of the ID, as "bb ps -a --no-trunc" shows it',
    });
  }
  return row && fromRow(row);
}

/** As `findContainer`. @throws {BoxError} Also `no-such-container`. */
export function getContainer(engine: Engine, text: string): Container {
  const container = findContainer(engine, text);
  if (container !== undefined) return container;
  throw new BoxError(
    "no-such-container",
    `Cannot find container ${JSON.stringify(text)}: there is none of that name or ID`,
    {
      hint: 'List them with "bb ps -a"',
    },
  );
}

/** All rows, the newest first. */
export function allContainers({ database }: Engine): Container[] {
  return database.query<Row, []>("SELECT * FROM container ORDER BY created_ms DESC, id").all().map(fromRow);
}

function fromRow(row: Row): Container {
  return {
    id: row.id,
    name: row.name,
    image: row.image,
    imageName: row.image_name === "" ? row.image : familiarName(row.image_name),
    createdMs: row.created_ms,
    startedMs: row.started_ms ?? undefined,
    autoRemove: row.auto_remove === 1,
    launch: JSON.parse(row.launch) as Launch,
  };
}

/**
 * A container's config.json, which we wrote.
 *
 * @throws {BoxError} `broken-container` when it is gone or cannot be read.
 */
export function readSpec(engine: Engine, { id, name }: Container): Spec {
  try {
    return JSON.parse(readTextSync(`${containerDirectory(engine, id)}/config.json`)) as Spec;
  } catch (error) {
    if (!isErrno(error, "ENOENT") && !(error instanceof SyntaxError)) throw error;
    throw new BoxError("broken-container", `Cannot read container "${name}": its config.json is missing or damaged`, {
      cause: error,
      hint: `Remove it with "bb rm -f ${name}"`,
    });
  }
}

/** Names of the containers that were made of an image. */
export function containersOf({ database }: Engine, image: string): string[] {
  return database
    .query<{ name: string }, [string]>("SELECT name FROM container WHERE image = ?")
    .all(image)
    .map(({ name }) => name);
}
