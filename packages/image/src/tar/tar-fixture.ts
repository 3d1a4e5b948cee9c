import { BLOCK } from "./tar-header.ts";

/** One entry for `tarOf`. Text is taken as UTF-8 unless it comes as bytes. */
export interface FixtureEntry {
  name: string | Buffer;
  /** A file unless said otherwise. */
  type?: string;
  data?: string | Buffer;
  /** The size field, where it shall not be the data's length. */
  size?: number;
  mode?: number;
  uid?: number;
  gid?: number;
  mtime?: number;
  linkname?: string | Buffer;
  devMajor?: number;
  devMinor?: number;
  /** Records of an extended header that goes before. */
  pax?: Record<string, string | Buffer>;
  /** Last changes to the header block; its checksum is computed afterwards. */
  patch?: (block: Buffer) => void;
}

/** A tar archive, made here so that it can be as wrong as a test wants it. */
export function tarOf(...entries: FixtureEntry[]): Buffer {
  return Buffer.concat([...entries.map(entryOf), Buffer.alloc(2 * BLOCK)]);
}

export function entryOf(entry: FixtureEntry): Buffer {
  const parts: Buffer[] = [];
  if (entry.pax !== undefined) {
    parts.push(entryOf({ name: "PaxHeaders/x", type: "x", data: paxOf(entry.pax) }));
  }
  const data = Buffer.from(entry.data ?? "");
  const block = Buffer.alloc(BLOCK);
  Buffer.from(entry.name).copy(block, 0, 0, 100);
  Buffer.from(entry.linkname ?? "").copy(block, 157, 0, 100);
  octal(block, 100, 8, entry.mode ?? (entry.type === "5" ? 0o755 : 0o644));
  octal(block, 108, 8, entry.uid ?? 0);
  octal(block, 116, 8, entry.gid ?? 0);
  octal(block, 124, 12, entry.size ?? data.length);
  octal(block, 136, 12, entry.mtime ?? 1_000_000_000);
  block.write(entry.type ?? "0", 156, "latin1");
  block.write("ustar\x0000", 257, "latin1");
  octal(block, 329, 8, entry.devMajor ?? 0);
  octal(block, 337, 8, entry.devMinor ?? 0);
  entry.patch?.(block);
  seal(block);
  parts.push(block, data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK));
  return Buffer.concat(parts);
}

export function paxOf(records: Record<string, string | Buffer>): Buffer {
  const parts = Object.entries(records).map(([key, value]) => {
    const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from("\n")]);
    let length = rest.length + 1;
    while (String(length).length + rest.length !== length) length++;
    return Buffer.concat([Buffer.from(String(length)), rest]);
  });
  return Buffer.concat(parts);
}

function seal(block: Buffer): void {
  block.fill(" ", 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  octal(block, 148, 8, sum);
}

function octal(block: Buffer, at: number, length: number, value: number): void {
  block.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
}
