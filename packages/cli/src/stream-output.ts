import { closeSync, constants, fstatSync, fsyncSync, openSync, renameSync, rmSync } from "node:fs";
import { isatty } from "node:tty";
import { BoxError, isErrno } from "@bantubox/core";
import { writeOut } from "./output.ts";
import { usageError } from "./usage.ts";

/**
 * Writes a stream to standard output, or to a file that takes its name when it is complete.
 *
 * @param what The command's name, for errors.
 * @param isLasting The file is on disk when it has its name.
 * @returns How many bytes.
 */
export async function writeStream(
  stream: AsyncIterable<Uint8Array>,
  path: string | undefined,
  what: string,
  isLasting = false,
): Promise<number> {
  if (path === undefined) {
    if (isatty(1)) {
      throw usageError(
        `Cannot ${what} to a terminal: an archive is nothing to read`,
        'Write to a file with "-o FILE", or into a pipe',
      );
    }
    return await writeTo(1, stream);
  }
  const file = openFile(path);
  try {
    const bytes = await writeTo(file.fd, stream);
    if (file.aside !== undefined) {
      if (isLasting) fsyncSync(file.fd);
      renameSync(file.aside, path);
    }
    return bytes;
  } catch (error) {
    if (file.aside !== undefined) rmSync(file.aside, { force: true });
    throw error;
  } finally {
    closeSync(file.fd);
  }
}

/** A device or FIFO is written to as it is. */
function openFile(path: string): { readonly fd: number; readonly aside: string | undefined } {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW, O_NOCTTY } = constants;
  try {
    const special = openSpecial(path, O_WRONLY | O_NOCTTY);
    if (special !== undefined) return { fd: special, aside: undefined };
    const aside = `${path}.${process.pid}.part`;
    return { fd: openSync(aside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600), aside };
  } catch (error) {
    if (!isErrno(error, "ENOENT", "EACCES", "EPERM", "EISDIR", "ENOTDIR", "EROFS", "ENXIO")) throw error;
    throw new BoxError("bad-output", `Cannot write ${JSON.stringify(path)}: ${error.code}`, { cause: error });
  }
}

function openSpecial(path: string, flags: number): number | undefined {
  let fd: number;
  try {
    fd = openSync(path, flags);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
  if (!fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  return undefined;
}

async function writeTo(fd: number, stream: AsyncIterable<Uint8Array>): Promise<number> {
  let bytes = 0;
  for await (const chunk of stream) {
    writeOut(chunk, fd);
    bytes += chunk.length;
  }
  return bytes;
}
