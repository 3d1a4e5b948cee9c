import { AT, allocate, attempt, BoxError, cstr, Fd, O } from "@bantubox/ffi";

/** What SQLite needs beside the database: its log, an index of that, and a few pages. */
const RESERVE_BYTES = 1 << 20;
const PLENTY_BYTES = 8 << 20;

/** SQLite's words for a full disk: memory that is mapped over a file without blocks is an error of its own. */
const FULL = /^SQLITE_(FULL|IOERR|CANTOPEN)/;

function reservePath(root: string): string {
  return `${root}/reserve`;
}

/**
 * Sets aside a little space while there is plenty, so that on a full disk containers and images can still be listed and
 * removed; gives it away when there is none left.
 */
export function tendReserve(root: string): void {
  const path = cstr(reservePath(root));
  const free = freeBytes(root);
  if (free < RESERVE_BYTES) attempt("unlinkat", AT.FDCWD, path, 0);
  if (free < PLENTY_BYTES) return;
  const raw = attempt("openat", AT.FDCWD, path, O.WRONLY | O.CREAT | O.EXCL | O.CLOEXEC | O.NOFOLLOW, 0o600);
  if (raw < 0) return;
  using fd = new Fd(raw);
  if (attempt("fallocate", fd.raw, 0, 0, RESERVE_BYTES) < 0) attempt("unlinkat", AT.FDCWD, path, 0);
}

function freeBytes(root: string): number {
  const memory = allocate(120);
  if (attempt("statfs", cstr(root), memory) < 0) return 0;
  // struct statfs of 64-bit architectures: f_bsize and f_bavail
  const view = new DataView(memory.buffer);
  return Number(view.getBigUint64(8, true)) * Number(view.getBigUint64(32, true));
}

/** Opens what needs space, with the reserve's if there is no other. @throws {BoxError} `disk-full` */
export function withReserve<T>(root: string, open: () => T): T {
  try {
    return open();
  } catch (error) {
    if (!isFull(error) || attempt("unlinkat", AT.FDCWD, cstr(reservePath(root)), 0) < 0) throw explained(root, error);
  }
  try {
    return open();
  } catch (error) {
    throw explained(root, error);
  }
}

function isFull(error: unknown): boolean {
  return error instanceof Error && "code" in error && FULL.test(String(error.code));
}

function explained(root: string, cause: unknown): unknown {
  if (!isFull(cause)) return cause;
  return new BoxError("disk-full", `Cannot open the database in "${root}": ${(cause as Error).message}`, {
    cause,
    hint: "If no space is left on the device, free some; if there is, look at the kernel's log",
  });
}
