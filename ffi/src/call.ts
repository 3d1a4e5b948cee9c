import { dlopen, FFIType, type Pointer, read } from "bun:ffi";
import { ERRNO, SysError } from "./errno.ts";
import { BoxError } from "./errors.ts";
import { numberOf, type SyscallName } from "./nr.ts";

/** What a system call takes: integers (negative too), memory whose address is passed, or null. */
export type Arg = number | Uint8Array | BigUint64Array | null;

/**
 * libc's `syscall` takes every call, so one symbol is bound and nothing is
 * looked up per call. It is the C library that Bun itself is linked to.
 */
const library = openLibc();

// The one cast at this boundary: bun:ffi passes integers in `ptr` arguments
// unchanged (call.test.ts pins it), which its types do not say.
const syscall = library.syscall as unknown as (nr: number, a: Arg, b: Arg, c: Arg, d: Arg, e: Arg, f: Arg) => number;

// A thread's errno stays where it is, and every Worker evaluates this module for itself.
const errnoAddress = library.__errno_location() as Pointer;

/**
 * Makes one system call and says what came of it: a result that is not negative, or -errno.
 *
 * For expected failures and hot loops. Retries what a signal interrupted.
 */
export function attempt(
  name: SyscallName,
  a: Arg = 0,
  b: Arg = 0,
  c: Arg = 0,
  d: Arg = 0,
  e: Arg = 0,
  f: Arg = 0,
): number {
  const nr = numberOf(name);
  for (;;) {
    const result = syscall(nr, a, b, c, d, e, f);
    if (result !== -1) return result;
    const errno = read.i32(errnoAddress, 0);
    if (errno !== ERRNO.EINTR) return -errno;
  }
}

/** Closes a descriptor. Never again after a signal: Linux has released the number even then. */
export function close(fd: number): void {
  syscall(numberOf("close"), fd, 0, 0, 0, 0, 0);
}

/**
 * Makes one system call.
 *
 * @param subject What it is about, for the error: `"/proc" on "/srv/proc"`.
 * @throws {SysError} When the kernel refuses.
 */
export function call(
  name: SyscallName,
  subject: string | undefined,
  a: Arg = 0,
  b: Arg = 0,
  c: Arg = 0,
  d: Arg = 0,
  e: Arg = 0,
  f: Arg = 0,
): number {
  const result = attempt(name, a, b, c, d, e, f);
  if (result < 0) throw new SysError(name, -result, subject);
  return result;
}

function openLibc() {
  const symbols = {
    syscall: {
      args: [FFIType.i64, FFIType.ptr, FFIType.ptr, FFIType.ptr, FFIType.ptr, FFIType.ptr, FFIType.ptr],
      returns: FFIType.i64_fast,
    },
    __errno_location: { args: [], returns: FFIType.ptr },
  } as const;
  const musl = process.arch === "arm64" ? "libc.musl-aarch64.so.1" : "libc.musl-x86_64.so.1";
  let cause: unknown;
  for (const name of ["libc.so.6", musl]) {
    try {
      return dlopen(name, symbols).symbols;
    } catch (error) {
      cause ??= error;
    }
  }
  throw new BoxError("no-ffi", "Cannot reach the C library through bun:ffi", {
    cause,
    hint: "Run Bun with its JIT on (BUN_JSC_useJIT=0 and hardened kernels turn bun:ffi off)",
  });
}
