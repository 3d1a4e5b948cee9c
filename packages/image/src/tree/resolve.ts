import { allocate, attempt, cstr, ERRNO, O } from "@bantubox/ffi";

const OPEN_HOW_BYTES = 24;
/** The kernel asks for another try when anything anywhere was renamed meanwhile, and `..` cannot be vouched for. */
const TRIES = 128;

/**
 * Opens `path` with the directory `root` as the world's root or border, as `resolve` says (openat2's RESOLVE_ flags).
 *
 * @param path Bytes without a NUL.
 * @returns A descriptor, or -errno.
 * @see https://man7.org/linux/man-pages/man2/openat2.2.html
 */
export function openBelow(root: number, path: string | Uint8Array, flags: number, resolve: number): number {
  const name = cstr(path.length === 0 ? "." : path);
  // struct open_how
  const how = allocate(OPEN_HOW_BYTES);
  const view = new DataView(how.buffer);
  view.setUint32(0, flags | O.CLOEXEC, true);
  view.setUint32(16, resolve, true);
  let result = 0;
  for (let tries = 0; tries < TRIES; tries++) {
    result = attempt("openat2", root, name, how, OPEN_HOW_BYTES);
    if (result !== -ERRNO.EAGAIN) break;
  }
  return result;
}
