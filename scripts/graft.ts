/**
 * Grafts the front (ffi/c/front.c) onto an executable: it becomes the entry
 * point, and goes on to the former one when it has nothing to do.
 *
 * The front's bytes go to the file's end, and the program header of the notes,
 * which nobody reads, becomes the segment that maps them.
 *
 * @see elf(5)
 */
import { readFileSync, writeFileSync } from "node:fs";

/** Where ffi/c/front.ld links the front; its first eight bytes are where it keeps the former entry point. */
const FRONT_ADDRESS = 0x100000n;
const FRONT_START = 8n;
const ENTRY_OFFSET = 24;
const HEADERS_OFFSET = 32;
const HEADERS_COUNT = 56;
const HEADER_BYTES = 56;
const PT_LOAD = 1;
const PT_NOTE = 4;
const PF_EXECUTE_READ = 5;
const PAGE = 0x10000;

/** @throws {Error} When the executable is not of the shape that this knows. */
export function graft(path: string, frontPath: string): void {
  const file = readFileSync(path);
  const front = readFileSync(frontPath);
  const headers = Number(file.readBigUInt64LE(HEADERS_OFFSET));
  let note: number | undefined;
  for (let i = 0; i < file.readUInt16LE(HEADERS_COUNT); i++) {
    const at = headers + i * HEADER_BYTES;
    const type = file.readUInt32LE(at);
    if (type === PT_NOTE) note = at;
    if (type === PT_LOAD && file.readBigUInt64LE(at + 16) < FRONT_ADDRESS + BigInt(front.length)) {
      throw new Error(`${path} has a segment where the front goes`);
    }
  }
  if (note === undefined) throw new Error(`${path} has no program header to spare`);

  const offset = Math.ceil(file.length / PAGE) * PAGE;
  const size = BigInt(front.length);
  front.writeBigUInt64LE(file.readBigUInt64LE(ENTRY_OFFSET), 0);
  file.writeBigUInt64LE(FRONT_ADDRESS + FRONT_START, ENTRY_OFFSET);
  file.writeUInt32LE(PT_LOAD, note);
  file.writeUInt32LE(PF_EXECUTE_READ, note + 4);
  const words = [BigInt(offset), FRONT_ADDRESS, FRONT_ADDRESS, size, size, BigInt(PAGE)];
  for (const [i, word] of words.entries()) file.writeBigUInt64LE(word, note + 8 + i * 8);
  writeFileSync(path, Buffer.concat([file, Buffer.alloc(offset - file.length), front]));
}
