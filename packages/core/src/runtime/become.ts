import { attempt, BoxError, becomeTrampoline, ERRNO, type Fd, openPlan, openTrampoline, SysError } from "@bantubox/ffi";

/** By which number the plan that this process becomes knows its lock, or a container's process: above all that Bun has open. */
export const PASSED_FD = 97;

/** Turns this process into the trampoline with `plan`; descriptors that the plan names were passed by `passAs`. */
export async function becomePlan(plan: Uint8Array): Promise<never> {
  using trampoline = await openTrampoline();
  using memory = openPlan(plan);
  return becomeTrampoline(trampoline, memory);
}

/** Lets the next program of this process have `fd`, by that number. @throws {BoxError} `few-files` */
export function passAs(fd: Fd, number: number): void {
  const result = attempt("dup3", fd.raw, number, 0);
  // dup(2): the number is out of the range that RLIMIT_NOFILE allows.
  if (result === -ERRNO.EBADF) {
    throw new BoxError(
      "few-files",
      `Cannot pass a file on as number ${number}: this process may not have as many open`,
      {
        hint: "Raise the limit: ulimit -n 1024",
      },
    );
  }
  if (result < 0) throw new SysError("dup3", -result);
}

/** This program, wherever it came from, as argv begins. */
export function ownCommand(): string[] {
  // In the compiled executable the entry point is a file of its own file system.
  if (Bun.main.startsWith("/$bunfs/")) return [process.execPath];
  // As the shebang of cli/src/main.ts: nothing of the directory that this runs in is loaded.
  return [process.execPath, "--config=/dev/null", "--tsconfig-override=/dev/null", "--no-env-file", Bun.main];
}
