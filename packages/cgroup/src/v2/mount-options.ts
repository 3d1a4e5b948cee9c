/**
 * cgroup v2's mount options that are the whole host's: whoever mounts v2 once more, wherever, says anew what holds for
 * all of its mounts. CRIU does, and names none.
 *
 * @see https://docs.kernel.org/admin-guide/cgroup-v2.html#mounting
 */
import { AT, attempt, cstr, Fd, readLinesWith } from "@bantubox/ffi";

const OPTIONS = new Set([
  "nsdelegate",
  "favordynmods",
  "memory_localevents",
  "memory_recursiveprot",
  "memory_hugetlb_accounting",
  "pids_localevents",
]);

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
  const names = (line?.split(" ").at(-1) ?? "").split(",").filter((name) => OPTIONS.has(name));
  return { mount, names };
}

/** Sets them as they were, if they are not. Where this process may not, or sees only a part of the groups, nothing happens. */
export function resetMountOptions({ mount, names }: MountOptions): void {
  if (names.length === 0 || readMountOptions(mount).names.join() === names.join()) return;
  const fd = attempt("fspick", AT.FDCWD, cstr(mount), REMOUNT.FSPICK_CLOEXEC);
  if (fd < 0) return;
  using context = new Fd(fd);
  for (const name of names) attempt("fsconfig", context.raw, REMOUNT.SET_FLAG, cstr(name), null, 0);
  attempt("fsconfig", context.raw, REMOUNT.RECONFIGURE, null, null, 0);
}
