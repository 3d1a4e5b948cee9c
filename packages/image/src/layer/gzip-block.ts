/** The lowest that makes nothing larger than what other engines push. Never change it, see `compress`. */
const LEVEL = 2;

/** The bytes as one member of a gzip stream that tells of no name and no time: the same bytes always give the same. */
export function gzipBlock(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return Bun.gzipSync(bytes, { level: LEVEL, library: "libdeflate" });
}
