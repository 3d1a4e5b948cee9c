import { AT, allocate, attempt, cstr, Fd, nodeFs, O } from "@bantubox/ffi";

const HEADER_BYTES = 12;
const SEEK_END = 2;
/** No plan is nearly as large. */
const MAX_BYTES = 1 << 24;

/**
 * A plan that was kept in a file: u32 lengths of the key, of the facts and of
 * the plan, then the key, the facts as JSON, the plan. Only root writes where these lie.
 *
 * The file's name is but a hash, for which others can be found: the key itself has to fit.
 *
 * @returns Undefined when there is none under `key`, or what is there is damaged.
 */
export function readKept<T>(directory: string, key: string): { facts: T; plan: Uint8Array } | undefined {
  const path = `${directory}/${fileOf(key)}`;
  const raw = attempt("openat", AT.FDCWD, cstr(path), O.RDONLY | O.NOFOLLOW | O.NONBLOCK | O.CLOEXEC);
  if (raw < 0) return undefined;
  using file = new Fd(raw);
  const size = attempt("lseek", file.raw, 0, SEEK_END);
  if (size < HEADER_BYTES || size > MAX_BYTES) return undefined;
  const bytes = allocate(size);
  if (attempt("pread64", file.raw, bytes, size, 0) !== size) return undefined;
  const view = new DataView(bytes.buffer);
  const keyEnd = HEADER_BYTES + view.getUint32(0, true);
  const factsEnd = keyEnd + view.getUint32(4, true);
  if (factsEnd + view.getUint32(8, true) !== size) return undefined;
  const decoder = new TextDecoder();
  if (decoder.decode(bytes.subarray(HEADER_BYTES, keyEnd)) !== key) return undefined;
  try {
    return { facts: JSON.parse(decoder.decode(bytes.subarray(keyEnd, factsEnd))) as T, plan: bytes.subarray(factsEnd) };
  } catch {
    return undefined;
  }
}

/** What keeps nobody from his container: its directory went meanwhile, or there is no room. */
export const NOT_KEPT = ["ENOENT", "ENOSPC", "EDQUOT", "EROFS", "EMFILE", "ENFILE", "ENOMEM"] as const;

/** Keeps a plan: whoever reads it finds it whole, or not at all. */
export function writeKept(directory: string, key: string, facts: object, plan: Uint8Array): void {
  const [name, json] = [Buffer.from(key), Buffer.from(JSON.stringify(facts))];
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(name.length, 0);
  header.writeUInt32LE(json.length, 4);
  header.writeUInt32LE(plan.length, 8);
  writeWhole(directory, fileOf(key), Buffer.concat([header, name, json, plan]));
}

/** Writes a file that others see whole, or not at all. */
export function writeWhole(directory: string, name: string, bytes: Uint8Array): void {
  const aside = `${directory}/.${process.pid}`;
  const fs = nodeFs();
  fs.writeFileSync(aside, bytes, { mode: 0o600 });
  fs.renameSync(aside, `${directory}/${name}`);
}

function fileOf(key: string): string {
  return `plan-${Bun.hash(key).toString(36)}`;
}
