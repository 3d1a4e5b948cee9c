import { allocate, attempt, ERRNO, SysError } from "@bantubox/ffi";
import { readInto, seek } from "../tree/tree.ts";

const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** A run of a file's bytes. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

/**
 * Where a file's data lies as its file system tells, in ascending order and not beyond `size`: all that is between is
 * holes. One extent where nobody knows.
 */
export function* dataExtents(fd: number, size: number, subject: string): Generator<Extent> {
  for (let at = 0; at < size; ) {
    const start = attempt("lseek", fd, at, SEEK_DATA);
    if (start === -ERRNO.ENXIO) return;
    if (start < 0 && start !== -ERRNO.EINVAL) throw new SysError("lseek", -start, subject);
    const offset = Math.max(at, start);
    if (offset >= size) return;
    const hole = start < 0 ? size : attempt("lseek", fd, offset, SEEK_HOLE);
    // It became shorter meanwhile.
    if (hole <= offset) return;
    yield { offset, length: Math.min(hole, size) - offset };
    at = hole;
  }
}

/** Files up to this size are written with all their zeros. */
const WHOLE_MAX = 64 << 20;
const GRAIN = 1 << 20;
/** Readers take maps of up to a megabyte. */
const EXTENTS_MAX = 20_000;

/**
 * Where a large file's data lies, in whole megabytes: a megabyte of zeros counts as a hole, whether the file system
 * has it as one or not, so that equal files have equal maps.
 *
 * @returns Undefined for a file that is small or has no such hole: it is at its beginning then.
 */
export function sparseMap(fd: number, size: number, subject: string): Extent[] | undefined {
  if (size <= WHOLE_MAX) return undefined;
  let map = [...dataGrains(fd, size, subject)];
  for (let grain = 2 * GRAIN; map.length > EXTENTS_MAX; grain *= 2) map = coarser(map, grain, size);
  const [first] = map;
  if (first?.offset !== 0 || first.length !== size) return map;
  seek(fd, 0, subject);
  return undefined;
}

function* dataGrains(fd: number, size: number, subject: string): Generator<Extent> {
  const memory = allocate(GRAIN);
  const zeros = Buffer.alloc(GRAIN);
  let start = -1;
  let end = -1;
  for (const { offset, length } of dataExtents(fd, size, subject)) {
    const first = Math.max(offset - (offset % GRAIN), end);
    for (let at = first; at < offset + length; at += GRAIN) {
      const count = readAt(fd, memory, at, Math.min(GRAIN, size - at), subject);
      if (zeros.compare(memory, 0, count, 0, count) === 0) continue;
      if (at !== end) {
        if (start >= 0) yield { offset: start, length: end - start };
        start = at;
      }
      end = Math.min(at + GRAIN, size);
    }
  }
  if (start >= 0) yield { offset: start, length: end - start };
}

function readAt(fd: number, memory: Uint8Array, at: number, length: number, subject: string): number {
  seek(fd, at, subject);
  let filled = 0;
  while (filled < length) {
    const count = readInto(fd, memory, filled, length - filled);
    if (count === 0) break;
    filled += count;
  }
  return filled;
}

/** Joins extents that lie less than a grain apart. */
function coarser(map: readonly Extent[], grain: number, size: number): Extent[] {
  const joined: Extent[] = [];
  for (const { offset, length } of map) {
    const from = offset - (offset % grain);
    const to = Math.min(size, Math.ceil((offset + length) / grain) * grain);
    const last = joined.at(-1);
    if (last !== undefined && last.offset + last.length >= from)
      joined[joined.length - 1] = { offset: last.offset, length: to - last.offset };
    else joined.push({ offset: from, length: to - from });
  }
  return joined;
}
