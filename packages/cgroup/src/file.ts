import { closeSync, constants, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { isErrno, SysError } from "@bantubox/ffi";

/** One value to be written into one control file. */
export interface Write {
  readonly path: string;
  readonly value: string;
}

/** A control file's text without its last newline; undefined when there is no such file or its cgroup is gone. */
export function readControl(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trimEnd();
  } catch (error) {
    // EOPNOTSUPP: cgroup.procs of a threaded cgroup; its processes are listed above it.
    if (isErrno(error, "ENOENT", "ENODEV", "ENOTDIR", "EOPNOTSUPP")) return undefined;
    throw error;
  }
}

/** Writes `value` into a control file that exists, in one write(2): the kernel takes each write as one command. */
export function writeControl({ path, value }: Write): void {
  try {
    // Not "w": creating a file in a cgroup is EACCES, which would hide that the file is missing.
    const fd = openSync(path, constants.O_WRONLY);
    try {
      writeSync(fd, value);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (!(error instanceof Error) || !("errno" in error)) throw error;
    throw new SysError("write", Math.abs(Number(error.errno)), `${JSON.stringify(value)} to ${JSON.stringify(path)}`);
  }
}

/** `dir` and every cgroup below it, parents first; nothing when `dir` does not exist. */
export function listTree(dir: string): string[] {
  const found = [dir];
  for (const parent of found) {
    try {
      for (const entry of readdirSync(parent, { withFileTypes: true })) {
        if (entry.isDirectory()) found.push(`${parent}/${entry.name}`);
      }
    } catch (error) {
      if (!isErrno(error, "ENOENT", "ENODEV")) throw error;
      if (parent === dir) return [];
    }
  }
  return found;
}
