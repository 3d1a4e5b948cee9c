import { AT, call, cstr, existsSync, Fd, isErrno, nodeFs, O, readTextSync } from "@bantubox/ffi";

/** One value to be written into one control file. */
export interface Write {
  readonly path: string;
  readonly value: string;
  /** Not every kernel has the file, and none is missed where it is not. */
  readonly isOptional?: boolean;
  /** It is welcome, no more: a refusal of the kernel's changes nothing. */
  readonly isWish?: boolean;
}

/** A control file's text without its last newline; undefined when there is no such file or its cgroup is gone. */
export function readControl(path: string): string | undefined {
  try {
    return readTextSync(path).trimEnd();
  } catch (error) {
    // EOPNOTSUPP: cgroup.procs of a threaded cgroup; its processes are listed above it.
    if (isErrno(error, "ENOENT", "ENODEV", "ENOTDIR", "EOPNOTSUPP")) return undefined;
    throw error;
  }
}

/** Writes `value` into a control file that exists, in one write(2): the kernel takes each write as one command. */
export function writeControl({ path, value, isOptional = false, isWish = false }: Write): void {
  const subject = `${JSON.stringify(value)} to ${JSON.stringify(path)}`;
  if (isOptional && !existsSync(path)) return;
  try {
    // Never created: that is EACCES in a cgroup, which would hide that the file is missing.
    using fd = new Fd(call("openat", subject, AT.FDCWD, cstr(path), O.WRONLY | O.CLOEXEC));
    call("write", subject, fd.raw, cstr(value), value.length);
  } catch (error) {
    if (!isWish) throw error;
  }
}

/** `dir` and every cgroup below it, parents first; nothing when `dir` does not exist. */
export function listTree(dir: string): string[] {
  const found = [dir];
  for (const parent of found) {
    try {
      for (const entry of nodeFs().readdirSync(parent, { withFileTypes: true })) {
        if (entry.isDirectory()) found.push(`${parent}/${entry.name}`);
      }
    } catch (error) {
      if (!isErrno(error, "ENOENT", "ENODEV")) throw error;
      if (parent === dir) return [];
    }
  }
  return found;
}
