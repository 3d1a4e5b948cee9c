import { BoxError, isDirectory, isErrno, mkdirSync, statIfThere } from "@bantubox/ffi";
import type { Engine } from "../state/engine.ts";

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}$/;

/** Where a volume's files are; nobody but root gets as far as here. */
export function volumeDirectory({ root }: Engine, name: string): string {
  return `${root}/volumes/${name}/_data`;
}

/** A volume of a container's, before it is known whether it exists. */
export interface VolumeMount {
  readonly name: string;
  readonly isAnonymous: boolean;
  /** Where it is mounted. */
  readonly target: string;
}

/** @param name Empty: an anonymous one, named at random. @throws {BoxError} `bad-name` */
export function nameVolume(name: string): string {
  if (name === "") return Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("hex");
  if (NAME.test(name)) return name;
  throw new BoxError("bad-name", `Cannot make volume ${JSON.stringify(name)}: the name is not valid`, {
    hint: "Use 2 to 255 letters, digits, '_', '.' and '-', and begin with a letter or digit; a host directory starts with '/' or './'",
  });
}

/** Gives a container its volumes: part of the transaction that makes its row, so that none is ever nobody's. */
export function linkVolumes({ database }: Engine, id: string, volumes: readonly VolumeMount[]): void {
  for (const { name, isAnonymous } of volumes) {
    database
      .query("INSERT OR IGNORE INTO volume (name, created_ms, anonymous) VALUES (?, ?, ?)")
      .run(name, Date.now(), isAnonymous ? 1 : 0);
    database.query("INSERT OR IGNORE INTO container_volume (container, volume) VALUES (?, ?)").run(id, name);
  }
}

/** Makes the directory of a volume that has a row, where it is missing. */
export function makeVolumeDirectory(engine: Engine, name: string): void {
  const directory = volumeDirectory(engine, name);
  mkdirSync(directory.slice(0, -"/_data".length), { recursive: true, mode: 0o700 });
  try {
    mkdirSync(directory, { mode: 0o755 });
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
  }
}

/** The type of a bind's source; a missing one is made as a directory where that was asked for. */
export function bindSource(path: string, isCreated: boolean): "file" | "directory" {
  const stat = statIfThere(path);
  if (stat !== undefined) return isDirectory(stat) ? "directory" : "file";
  if (!isCreated) throw new BoxError("no-such-path", `Cannot mount "${path}": it does not exist on this host`);
  mkdirSync(path, { recursive: true, mode: 0o755 });
  return "directory";
}
