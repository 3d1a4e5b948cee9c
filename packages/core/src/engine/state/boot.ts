import { AT, BoxError, call, cstr, existsSync, Fd, isErrno, nodeFs, O, readIfThere, readTextSync } from "@bantubox/ffi";

const LOCK_EX = 2;
export const BOOT_ID = "/proc/sys/kernel/random/boot_id";
/** What this engine makes in its run directory: nothing else there is ours to remove. */
const OWN_NAME = /^([0-9a-f]{64}|plans|names|leases)$/;

/**
 * Has the run directory be this boot's and this store's. After a reboot it is emptied, where it does not lie on a tmpfs:
 * its pids are somebody else's by now. That of another store is refused: what is there would be taken for left over,
 * and removed while it runs.
 *
 * The first command after a reboot does it, before any container can have started; whoever comes at the same time waits.
 *
 * @throws {BoxError} `bad-root`
 */
export function takeRunRoot(runRoot: string, root: string): void {
  const marker = `${runRoot}/boot`;
  const boot = readTextSync(BOOT_ID);
  const now = `${boot}${root}\n`;
  if (readIfThere(marker) === now) return;
  const flags = O.RDONLY | O.DIRECTORY | O.CLOEXEC;
  using lock = new Fd(call("openat", `"${runRoot}"`, AT.FDCWD, cstr(runRoot), flags));
  call("flock", `"${runRoot}"`, lock.raw, LOCK_EX);
  const former = readIfThere(marker) ?? "";
  if (former.startsWith(boot)) {
    const owner = former.slice(boot.length, -1);
    if (owner === root || isSameDirectory(owner, root)) return;
    if (owner !== "" && existsSync(`${owner}/containers`)) throw anothers(runRoot, owner);
  } else {
    empty(runRoot);
  }
  try {
    nodeFs().writeFileSync(`${marker}.new`, now, { mode: 0o600 });
  } catch (error) {
    throw cannotWrite(runRoot, error);
  }
  call("renameat2", `"${marker}"`, AT.FDCWD, cstr(`${marker}.new`), AT.FDCWD, cstr(marker), 0);
}

/** Read-only, full, or a file system of the kernel's own. */
function cannotWrite(runRoot: string, cause: unknown): unknown {
  if (!isErrno(cause, "ENOENT", "EACCES", "EPERM", "EROFS", "EOPNOTSUPP")) return cause;
  return new BoxError("bad-root", `Cannot keep state in "${runRoot}": no file can be made there (${cause.code})`, {
    cause,
    hint: "Name another directory with --run-root",
  });
}

function empty(runRoot: string): void {
  const fs = nodeFs();
  for (const name of fs.readdirSync(runRoot)) {
    if (OWN_NAME.test(name)) fs.rmSync(`${runRoot}/${name}`, { recursive: true, force: true });
  }
}

/** By whatever names. */
function isSameDirectory(one: string, other: string): boolean {
  const [a, b] = [one, other].map((path) => nodeFs().statSync(path, { throwIfNoEntry: false }));
  return a !== undefined && b !== undefined && a.dev === b.dev && a.ino === b.ino;
}

function anothers(runRoot: string, owner: string): BoxError {
  return new BoxError(
    "bad-root",
    `Cannot keep state in "${runRoot}": it is the run directory of the store "${owner}"`,
    {
      hint: "Name another directory with --run-root: each store has one of its own",
    },
  );
}
