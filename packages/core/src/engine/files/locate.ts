import { BoxError, close, cstr, ERRNO, O, RESOLVE, SysError } from "@bantubox/ffi";
import { display, openBelow, readLink, S, type Stat, statIfThereAt } from "@bantubox/image/files";

/** As the kernel has it. */
const LINKS_MAX = 40;
const SLASH = 0x2f;
const ITSELF = cstr("");

/** Below what paths are looked up. */
export interface World {
  /** A descriptor of its root. */
  readonly root: number;
  /** Of openat2(2): in a container nothing leads out of it, and nothing through /proc to anywhere. */
  readonly resolve: number;
  /** How messages call a path: `web:/etc`. */
  readonly show: (path: string) => string;
}

export const INSIDE = RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS;

/** Where something is, or would be: held by a descriptor, so that nothing that is renamed later leads elsewhere. */
export interface Located extends Disposable {
  /** The directory that it lies in; itself, if it has no name there: `/`, `.` and `..`. */
  readonly parent: number;
  /** As `cstr` makes it. */
  readonly name: Uint8Array;
  /** Undefined when there is nothing. */
  readonly stat: Stat | undefined;
}

/**
 * Looks a path up: its directory must be there, it itself need not.
 *
 * @param follows Whether a link at its end is followed, to a place that may be missing; one before a slash always is.
 * @throws {BoxError} `no-such-path`
 */
export function locate(world: World, path: string, follows: boolean): Located {
  let text = Buffer.from(path);
  for (let links = 0; links < LINKS_MAX; links++) {
    const end = lastOf(text);
    const slash = text.subarray(0, end).lastIndexOf(SLASH);
    const leaf = text.subarray(slash + 1, end);
    if (isDots(leaf)) return itself(world, path, text);
    const directory = slash < 0 ? Buffer.from(".") : text.subarray(0, slash + 1);
    const parent = open(world, path, directory);
    const name = cstr(leaf);
    let stat: Stat | undefined;
    try {
      stat = statIfThereAt(parent, name);
      const isLink = stat !== undefined && (stat.mode & S.FMT) === S.LNK;
      const needsDirectory = end < text.length;
      if (!isLink || !(follows || needsDirectory)) {
        if (needsDirectory && stat !== undefined && (stat.mode & S.FMT) !== S.DIR)
          throw notThere(world, path, ERRNO.ENOTDIR);
        return { parent, name, stat, [Symbol.dispose]: () => close(parent) };
      }
      const target = Buffer.from(readLink(parent, name, display(name)));
      const rest = needsDirectory ? Buffer.from("/") : Buffer.alloc(0);
      text = Buffer.concat(target[0] === SLASH ? [target, rest] : [directory, Buffer.from("/"), target, rest]);
    } catch (error) {
      close(parent);
      throw error;
    }
    close(parent);
  }
  throw notThere(world, path, ERRNO.ELOOP);
}

/** @returns Where the slashes at the end begin. */
function lastOf(text: Buffer): number {
  let end = text.length;
  while (end > 0 && text[end - 1] === SLASH) end--;
  return end;
}

function isDots(leaf: Buffer): boolean {
  return leaf.length === 0 || leaf.equals(Buffer.from(".")) || leaf.equals(Buffer.from(".."));
}

function itself(world: World, path: string, text: Buffer): Located {
  const parent = open(world, path, text);
  return { parent, name: ITSELF, stat: statIfThereAt(parent, ITSELF), [Symbol.dispose]: () => close(parent) };
}

function open(world: World, path: string, directory: Buffer): number {
  const result = openBelow(world.root, directory, O.PATH | O.DIRECTORY, world.resolve);
  if (result >= 0) return result;
  throw notThere(world, path, -result);
}

function notThere({ show }: World, path: string, errno: number): BoxError {
  if (errno === ERRNO.ENOENT)
    return new BoxError("no-such-path", `Cannot copy ${show(path)}: there is no such file or directory`);
  if (errno === ERRNO.ENOTDIR)
    return new BoxError("no-such-path", `Cannot copy ${show(path)}: something on the way is not a directory`);
  if (errno === ERRNO.ELOOP)
    return new BoxError("no-such-path", `Cannot copy ${show(path)}: its links lead in a circle`);
  return new SysError("open", errno, show(path));
}
