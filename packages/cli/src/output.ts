/**
 * Writes all of it before it returns, so nothing is ever pending when the process ends.
 *
 * @throws `EPIPE` When nobody reads any more.
 */
export function writeOut(data: string | Uint8Array, fd = 1): void {
  // Loading node:fs takes over a millisecond, and `bb run` has nothing to print.
  const { writeSync } = process.getBuiltinModule("node:fs");
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  let written = 0;
  while (written < bytes.length) {
    try {
      written += writeSync(fd, bytes, written);
    } catch (error) {
      // Somebody else made the pipe or terminal non-blocking for all who share it.
      if (!(error instanceof Error && "code" in error && error.code === "EAGAIN")) throw error;
      Bun.sleepSync(2);
    }
  }
}

/** Writes one result, with its line end, to standard output. */
export function printLine(text: string): void {
  writeOut(`${text}\n`);
}
