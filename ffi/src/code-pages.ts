import { attempt } from "./call.ts";
import { readIfThere } from "./fs.ts";

const MADV_DONTNEED = 4;

/** [start, bytes] of what is mapped of this program's code. */
let code: (readonly [number, number])[] | undefined;

/**
 * Gives back the memory that this program's code is mapped to. What is executed from now on is mapped anew, out of the
 * page cache: the kernel maps 16 pages for each that is touched, and so a command ends with all of Bun that it ever
 * came by in its memory, which is twice what its data take.
 *
 * For between two parts of a command that have little in common. Nothing writes to code: none of it is lost.
 */
export function releaseCode(): void {
  code ??= findCode();
  for (const [start, bytes] of code) attempt("madvise", start, bytes, MADV_DONTNEED);
}

/** @see https://man7.org/linux/man-pages/man5/proc_pid_maps.5.html */
function findCode(): [number, number][] {
  const lines = (readIfThere("/proc/self/maps") ?? "").split("\n");
  return lines
    .filter((line) => line.includes(" r-xp ") && line.endsWith(` ${process.execPath}`))
    .map((line) => {
      const [start = 0, end = 0] = (line.split(" ", 1)[0] ?? "")
        .split("-")
        .map((digits) => Number.parseInt(digits, 16));
      return [start, end - start];
    });
}
