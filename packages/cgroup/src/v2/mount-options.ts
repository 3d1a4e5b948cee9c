/**
 * cgroup v2's mount options that are the whole host's: whoever mounts v2 once more, wherever, says anew what holds for
 * all of its mounts. CRIU does, and names none.
 *
 * @see https://docs.kernel.org/admin-guide/cgroup-v2.html#mounting
 */
import { AT, attempt, cstr, Fd, isErrno, nodeFs, readIfThere, readLinesWith } from "@bantubox/ffi";

const OPTIONS = new Set([
  "nsdelegate",
  "favordynmods",
  "memory_localevents",
  "memory_recursiveprot",
  "memory_hugetlb_accounting",
  "pids_localevents",
]);

/** What was found on, by whoever asked since the host was booted: of two at once, the second may find it off already. */
const RECORD = "/run/bantubox.cgroup2";

/** fspick(2) and fsconfig(2), as linux/mount.h has them. */
export const REMOUNT = { FSPICK_CLOEXEC: 1, SET_FLAG: 0, RECONFIGURE: 7 } as const;

/** What v2 is mounted with. */
export interface MountOptions {
  readonly mount: string;
  readonly names: readonly string[];
}

/** @param mount Where v2 is mounted, as `CgroupHost.unified` has it. */
export function readMountOptions(
  mount: string,
  lines = readLinesWith("/proc/self/mountinfo", " - cgroup2"),
): MountOptions {
  const line = lines.split("\n").find((each) => each.split(" ")[4] === mount);
  return { mount, names: namesIn(line?.split(" ").at(-1)) };
}

/** As `readMountOptions`, with what was on before somebody turned it off and was killed, or has not set it again yet. */
export function recallMountOptions(mount: string, { lines, record = RECORD }: Recall = {}): MountOptions {
  const { names } = readMountOptions(mount, lines);
  const recorded = namesIn(readIfThere(record));
  const all = [...new Set([...recorded, ...names])];
  if (all.length > recorded.length) remember(record, all);
  return { mount, names: all };
}

/** Where `recallMountOptions` looks. */
interface Recall {
  readonly lines?: string | undefined;
  readonly record?: string;
}

function namesIn(text = ""): string[] {
  return text.split(",").filter((name) => OPTIONS.has(name));
}

/** Where it cannot be kept, each command knows what it sees itself. */
function remember(record: string, names: readonly string[]): void {
  // One name, so that of those who are killed here no more than one file stays, which the next one takes.
  const temporary = `${record}.new`;
  try {
    nodeFs().writeFileSync(temporary, names.join(), { mode: 0o600 });
    nodeFs().renameSync(temporary, record);
  } catch (error) {
    if (!isErrno(error, "ENOENT", "EACCES", "EROFS", "ENOSPC")) throw error;
    nodeFs().rmSync(temporary, { force: true });
  }
}

/** Sets them as they were, if they are not. Where this process may not, or sees only a part of the groups, nothing happens. */
export function resetMountOptions({ mount, names }: MountOptions): void {
  const there = readMountOptions(mount).names;
  if (names.every((name) => there.includes(name))) return;
  const fd = attempt("fspick", AT.FDCWD, cstr(mount), REMOUNT.FSPICK_CLOEXEC);
  if (fd < 0) return;
  using context = new Fd(fd);
  for (const name of names) attempt("fsconfig", context.raw, REMOUNT.SET_FLAG, cstr(name), null, 0);
  attempt("fsconfig", context.raw, REMOUNT.RECONFIGURE, null, null, 0);
}
