import { AT, allocate, attempt, call, cstr, Fd, nodeFs, O } from "@bantubox/ffi";

const HEADER_BYTES = 8;
const SEEK_END = 2;

/**
 * A plan that was kept in a file: u32 length of the facts, u32 length of the
 * plan, the facts as JSON, the plan. Only root writes where these lie.
 *
 * @returns Undefined when there is none, or it is torn.
 */
export function readKept<T>(path: string): { facts: T; plan: Uint8Array } | undefined {
  const raw = attempt("openat", AT.FDCWD, cstr(path), O.RDONLY | O.NOFOLLOW | O.CLOEXEC);
  if (raw < 0) return undefined;
  using file = new Fd(raw);
  const size = call("lseek", undefined, file.raw, 0, SEEK_END);
  const bytes = allocate(size);
  if (size < HEADER_BYTES || call("pread64", undefined, file.raw, bytes, size, 0) !== size) return undefined;
  const view = new DataView(bytes.buffer);
  const end = HEADER_BYTES + view.getUint32(0, true);
  if (end + view.getUint32(4, true) !== size) return undefined;
  return {
    facts: JSON.parse(new TextDecoder().decode(bytes.subarray(HEADER_BYTES, end))) as T,
    plan: bytes.subarray(end),
  };
}

/** Keeps a plan: whoever reads it finds it whole, or not at all. */
export function writeKept(directory: string, name: string, facts: object, plan: Uint8Array): void {
  const json = Buffer.from(JSON.stringify(facts));
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(json.length, 0);
  header.writeUInt32LE(plan.length, 4);
  const aside = `${directory}/.${process.pid}`;
  const fs = nodeFs();
  fs.writeFileSync(aside, Buffer.concat([header, json, plan]), { mode: 0o600 });
  fs.renameSync(aside, `${directory}/${name}`);
}

/** This program, for a key: another build may compile another plan. */
export function buildOf(): string {
  const memory = allocate(256);
  const path = Bun.main.startsWith("/$bunfs/") ? process.execPath : Bun.main;
  const STATX_BASIC_STATS = 0x7ff;
  if (attempt("statx", AT.FDCWD, cstr(path), 0, STATX_BASIC_STATS, memory) < 0) return "";
  const words = new Uint32Array(memory.buffer);
  // Inode, size, and when it was changed.
  return [path, words[8], words[9], words[10], words[24], words[26]].join(" ");
}
