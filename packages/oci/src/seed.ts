import { type Scope, startScope } from "@bantubox/cgroup";
import { passAs } from "@bantubox/core/runtime/become";
import { allocate, call, Fd, O, openPlan, openTrampoline } from "@bantubox/ffi";

/** Numbers of the seed's descriptors: it waits at its standard input, and reports to nobody. */
const WAIT_FD = 0;
const REPORT_FD = 1;
const PLAN_FD = 3;

/**
 * Has systemd make the group that the container's first process is then born into.
 *
 * systemd makes a scope around a process that is there already, and removes it with the last one: so a process that
 * does nothing, the seed, is inside until the container's first is. It ends when the descriptor `scope.seed` is
 * closed by whoever has it, which is this process and what becomes of it: whatever is killed, nothing stays.
 */
export async function makeScope(scope: Scope & { readonly seed: number }): Promise<void> {
  const { compileWait } = await import("@bantubox/core/runtime");
  const ends = allocate(8);
  call("pipe2", undefined, ends, O.CLOEXEC);
  const [read = -1, write = -1] = new Int32Array(ends.buffer);
  using wait = new Fd(read);
  using hold = new Fd(write);
  using trampoline = await openTrampoline();
  using plan = openPlan(compileWait({ reportFd: REPORT_FD, waitFd: WAIT_FD }));
  const seed = Bun.spawn([`/proc/self/fd/${trampoline.raw}`, String(PLAN_FD)], {
    argv0: "bb-oci",
    cwd: "/",
    env: {},
    stdio: [wait.raw, "ignore", "ignore", plan.raw],
  });
  seed.unref();
  startScope(scope, seed.pid);
  passAs(hold, scope.seed);
}
