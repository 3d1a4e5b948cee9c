import { BoxError, isDirectory, isErrno, mkdirSync, statIfThere } from "@bantubox/ffi";
import type { Engine } from "./engine.ts";

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}$/;

/** Where a volume's files are; nobody but root gets as far as here. */
export function volumeDirectory({ root }: Engine, name: string): string {
  return `${root}/volumes/${name}/_data`;
}

/**
 * Sees to it that a volume exists.
 *
 * @param name Empty: an anonymous one, named at random.
 * @returns Its name, and whether it was made by this call and waits for the image's files.
 * @throws {BoxError} `bad-name`
 */
export function ensureVolume(engine: Engine, name: string): { name: string; isNew: boolean } {
  if (name !== "" && !NAME.test(name)) {
    throw new BoxError("bad-name", `Cannot make volume ${JSON.stringify(name)}: the name is not valid`, {
      hint: "Use letters, digits, '_', '.' and '-'; a host directory starts with '/' or './'",
    });
  }
  const isAnonymous = name === "";
  const actual = isAnonymous ? Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("hex") : name;
  const { changes } = engine.database
    .query("INSERT OR IGNORE INTO volume (name, created_ms, anonymous) VALUES (?, ?, ?)")
    .run(actual, Date.now(), isAnonymous ? 1 : 0);
  const directory = volumeDirectory(engine, actual);
  mkdirSync(directory.slice(0, -"/_data".length), { recursive: true, mode: 0o701 });
  try {
    mkdirSync(directory, { mode: 0o755 });
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
  }
  return { name: actual, isNew: changes > 0 };
}

/** The type of a bind's source; a missing one is made as a directory where that was asked for. */
export function bindSource(path: string, isCreated: boolean): "file" | "directory" {
  const stat = statIfThere(path);
  if (stat !== undefined) return isDirectory(stat) ? "directory" : "file";
  if (!isCreated) throw new BoxError("no-such-path", `Cannot mount "${path}": it does not exist on this host`);
  mkdirSync(path, { recursive: true, mode: 0o755 });
  return "directory";
}
