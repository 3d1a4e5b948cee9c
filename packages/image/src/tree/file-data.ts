import { ftruncateSync } from "node:fs";
import { addressOf, allocate, attempt, call } from "@bantubox/ffi";
import { dataExtents } from "../tar/sparse.ts";
import { readInto, type Stat, seek } from "./tree.ts";

const CHUNK = 1 << 20;
/** How finely zeros of a file with holes become holes, where its file system does not tell: every one's blocks are smaller. */
const HOLE = 1 << 16;
/** _IOW(0x94, 9, int), <linux/fs.h>: share the blocks instead of copying them. */
const FICLONE = 0x40049409;

/** Copies what is in files, of one file system to another or the same. */
export class FileData {
  readonly #buffer = allocate(CHUNK);
  readonly #zeros = Buffer.alloc(CHUNK);
  #canClone = true;

  /**
   * Copies as much as the file had when it was looked at: one that grows ends, and holes are neither read nor filled,
   * however large they are.
   *
   * @param to Open for writing, and empty.
   * @param stat Of the open file `from`.
   * @returns Bytes that were read, or shared.
   */
  copy(from: number, to: number, { size, stored }: Pick<Stat, "size" | "stored">, subject: string): number {
    if (this.#canClone && size > 0) {
      if (attempt("ioctl", to, FICLONE, from) >= 0) return size;
      // Another file system, or one that cannot: not worth asking for each file.
      this.#canClone = false;
    }
    const isSparse = stored < size;
    let bytes = 0;
    let end = 0;
    for (const { offset, length } of isSparse ? dataExtents(from, size, subject) : [{ offset: 0, length: size }]) {
      if (isSparse) seek(from, offset, subject);
      for (let at = offset; at < offset + length; ) {
        const count = readInto(from, this.#buffer, 0, Math.min(offset + length - at, isSparse ? HOLE : CHUNK));
        if (count === 0) break;
        if (!isSparse || !this.#isZero(count)) {
          if (isSparse && end !== at) seek(to, at, subject);
          this.#write(to, count, subject);
          end = at + count;
        }
        at += count;
        bytes += count;
      }
    }
    // A hole at the end, or a file that has become shorter meanwhile.
    if (end !== size) ftruncateSync(to, size);
    return bytes;
  }

  #isZero(count: number): boolean {
    return this.#zeros.compare(this.#buffer, 0, count, 0, count) === 0;
  }

  #write(to: number, count: number, subject: string): void {
    for (let at = 0; at < count; ) at += call("write", subject, to, addressOf(this.#buffer) + at, count - at);
  }
}
