/** What a layer may cost before it is taken for an attack. */
export interface LayerLimits {
  /** Bytes of the tar stream, decompressed. */
  readonly bytes: number;
  /** Decompressed bytes for each compressed one, once the stream has passed `ratioFrom` bytes: gzip alone reaches 1032. */
  readonly ratio: number;
  readonly ratioFrom: number;
  /** Entries, and directories made for them. */
  readonly entries: number;
  /** Components of a path. */
  readonly depth: number;
  /** Characters of directories' paths that are held until the directories are settled; beyond, some are settled early. */
  readonly pendingCharacters: number;
}

/** Far above what images hold: the largest public ones have some 10^6 files and 10^11 bytes. */
export const LAYER_LIMITS: LayerLimits = {
  bytes: 256 * 2 ** 30,
  ratio: 256,
  ratioFrom: 4 * 2 ** 30,
  entries: 4_000_000,
  // As deep as a path of 4,095 bytes can be: what a commit may hold, a load takes.
  depth: 2048,
  pendingCharacters: 8 << 20,
};
