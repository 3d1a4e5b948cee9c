import { AT, attempt, call, cstr, Fd, nodeFs, O, readIfThere, readTextSync } from "@bantubox/ffi";

const LOCK_EX = 2;
export const BOOT_ID = "/proc/sys/kernel/random/boot_id";
/** What this engine makes in its run directory: nothing else there is ours to remove. */
const OWN_NAME = /^([0-9a-f]{64}|plans|names|leases)$/;

/**
 * Empties the run directory after a reboot, where it does not lie on a tmpfs: its pids are somebody else's by now.
 *
 * The first command after a reboot does it, before any container can have started; whoever comes at the same time waits.
 */
export function forgetFormerBoot(runRoot: string): void {
  const marker = `${runRoot}/boot`;
  const now = readTextSync(BOOT_ID);
  if (readIfThere(marker) === now) return;
  const flags = O.RDONLY | O.DIRECTORY | O.CLOEXEC;
  using lock = new Fd(call("openat", `"${runRoot}"`, AT.FDCWD, cstr(runRoot), flags));
  call("flock", `"${runRoot}"`, lock.raw, LOCK_EX);
  if (readIfThere(marker) === now) return;
  const fs = nodeFs();
  for (const name of fs.readdirSync(runRoot)) {
    if (OWN_NAME.test(name)) fs.rmSync(`${runRoot}/${name}`, { recursive: true, force: true });
  }
  fs.writeFileSync(`${marker}.new`, now, { mode: 0o600 });
  attempt("renameat2", AT.FDCWD, cstr(`${marker}.new`), AT.FDCWD, cstr(marker), 0);
}
