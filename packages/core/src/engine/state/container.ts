import { BoxError, isErrno, readTextSync } from "@bantubox/ffi";
import { familiarName } from "@bantubox/image";
import type { RootFs } from "../../runtime/rootfs.ts";
import type { Spec } from "../../runtime/spec.ts";
import { containerDirectory, type Engine } from "./engine.ts";
import { allRowless } from "./rowless.ts";

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
    hint: "Use 2 to 255 letters, digits, '_', '.' and '-', and begin with a letter or digit",
  });
}

/**
 * Finds a container by name, ID, or the beginning of an ID. A name goes first.
 *
 * @throws {BoxError} `container-ambiguous` when several IDs begin so.
 */
export function findContainer(engine: Engine, text: string): Container | undefined {
  const { database } = engine;
  const name = text.startsWith("/") ? text.slice(1) : text;
  const exact = database
    .query<Row, [string]>("SELECT * FROM container WHERE name = ?1 OR id = ?1 ORDER BY name = ?1 DESC")
    .get(name);
  if (exact !== null) return fromRow(exact);
  if (!/^[0-9a-f]{1,64}$/.test(text)) return allRowless(engine).find((container) => container.name === name);
  const [row, another] = database
    .query<Row, [string, string]>("SELECT * FROM container WHERE id >= ?1 AND id < ?2 LIMIT 2")
    .all(text, `${text}g`);
  // One that is just being renamed has both.
  const rowless = allRowless(engine, text).filter(({ id }) => id !== row?.id);
  if (another !== undefined || rowless.length + (row === undefined ? 0 : 1) > 1) {
    throw new BoxError("container-ambiguous", `Cannot tell which container "${text}" is: several IDs begin so`, {
      hint: 'Write more of the ID, as "bb ps -a --no-trunc" shows it',
    });
  }
  return row === undefined ? rowless[0] : fromRow(row);
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

/** All containers, the newest first. */
export function allContainers(engine: Engine): Container[] {
  const rows = engine.database
    .query<Row, []>("SELECT * FROM container ORDER BY created_ms DESC, id")
    .all()
    .map(fromRow);
  const ids = new Set(rows.map(({ id }) => id));
  const rowless = allRowless(engine, "", ids);
  if (rowless.length === 0) return rows;
  return [...rows, ...rowless].sort((a, b) => b.createdMs - a.createdMs || (a.id < b.id ? -1 : 1));
}

/** Writes a container's row. @returns Whether its name was free. */
export function writeRow({ database }: Engine, container: Container, imageName: string): boolean {
  const { id, name, image, createdMs, startedMs, autoRemove, launch } = container;
  const insert = database.query(
    "INSERT OR IGNORE INTO container (id, name, image, image_name, created_ms, started_ms, auto_remove, launch) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
  );
  const json = JSON.stringify(launch);
  return insert.run(id, name, image, imageName, createdMs, startedMs ?? null, autoRemove ? 1 : 0, json).changes > 0;
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
    const spec = JSON.parse(readTextSync(`${containerDirectory(engine, id)}/config.json`)) as Partial<Spec> | null;
    if (spec?.process && spec.root && spec.mounts && spec.linux) return spec as Spec;
    throw new SyntaxError("it is not the config.json of a container");
  } catch (error) {
    if (!isErrno(error, "ENOENT", "EISDIR") && !(error instanceof SyntaxError)) throw error;
    throw new BoxError("broken-container", `Cannot read container "${name}": its config.json is missing or damaged`, {
      cause: error,
      hint: `Remove it with "bb rm -f ${name}"`,
    });
  }
}

/** Names of the containers that were made of an image. */
export function containersOf(engine: Engine, image: string): string[] {
  const rows = engine.database
    .query<{ name: string }, [string]>("SELECT name FROM container WHERE image = ?")
    .all(image);
  return [...rows, ...allRowless(engine).filter((container) => container.image === image)].map(({ name }) => name);
}

/** What is wrong with a name that another container has. */
export function nameTaken(engine: Engine, name: string): BoxError {
  const holder = findContainer(engine, name);
  return new BoxError(
    "name-taken",
    `Cannot name the container "${name}": container ${holder?.id.slice(0, 12)} has that name`,
    {
      hint: `Remove it with "bb rm ${name}", or choose another name`,
    },
  );
}
