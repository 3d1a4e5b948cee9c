import { readdirSync } from "node:fs";
import {
  AT,
  allocate,
  attempt,
  call,
  cstr,
  ERRNO,
  Fd,
  mkdirSync,
  O,
  RESOLVE,
  removeTree,
  SysError,
} from "@bantubox/ffi";
import { copyTree } from "@bantubox/image";

const LOCK_EX = 2;
const RENAME_NOREPLACE = 1;
/** What is copied is whole before it gets the place of the volume's files. */
const FILLING = "_filling";
const DATA = "_data";

/**
 * Copies what lies at `target` below an image's root into a volume that is empty, as Docker does.
 * Links of the image resolve inside it; what is no directory, or not there, leaves the volume empty.
 *
 * Whoever is killed at it leaves the volume empty, and what it has copied to the next who comes here.
 *
 * @param directory The volume's own, with `_data` in it.
 * @param isShared Whether other containers have it, who may have mounted it: its directory has to stay the same one.
 * Asked when all is copied, as one may have come meanwhile.
 */
export async function fillVolume(
  root: number,
  target: string,
  directory: string,
  isShared: () => boolean,
): Promise<void> {
  if (!isEmpty(`${directory}/${DATA}`)) return;
  using source = openBelow(root, target);
  if (source === undefined) return;
  using lock = new Fd(call("openat", `"${directory}"`, AT.FDCWD, cstr(directory), O.RDONLY | O.DIRECTORY | O.CLOEXEC));
  call("flock", `"${directory}"`, lock.raw, LOCK_EX);
  const aside = `${directory}/${FILLING}`;
  removeTree(aside);
  if (!isEmpty(`${directory}/${DATA}`)) return;
  mkdirSync(aside, { mode: 0o755 });
  try {
    // The descriptor's own name, so that no part of the path is looked up again.
    await copyTree(`/proc/self/fd/${source.raw}/.`, aside);
    if (!isShared()) rename(aside, `${directory}/${DATA}`, 0);
    else if (isEmpty(`${directory}/${DATA}`))
      for (const name of readdirSync(aside))
        rename(`${aside}/${name}`, `${directory}/${DATA}/${name}`, RENAME_NOREPLACE);
  } finally {
    removeTree(aside);
  }
}

function openBelow(root: number, target: string): Fd | undefined {
  const how = allocate(24);
  const view = new DataView(how.buffer);
  view.setUint32(0, O.RDONLY | O.DIRECTORY | O.CLOEXEC, true);
  view.setUint32(16, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS, true);
  const raw = attempt("openat2", root, cstr(target), how, 24);
  return raw < 0 ? undefined : new Fd(raw);
}

/** Unless somebody else's file came first: then it is theirs. */
function rename(from: string, to: string, flags: number): void {
  const result = attempt("renameat2", AT.FDCWD, cstr(from), AT.FDCWD, cstr(to), flags);
  if (result < 0 && result !== -ERRNO.ENOTEMPTY && result !== -ERRNO.EEXIST)
    throw new SysError("rename", -result, `"${from}"`);
}

function isEmpty(path: string): boolean {
  return readdirSync(path).length === 0;
}
