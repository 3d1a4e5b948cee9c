import { number } from "./tar-header.ts";
import { type PaxRecords, paxInteger } from "./tar-pax.ts";

/** Where a sparse file's data lies: offset and length by turns, in ascending order. */
export type SparseMap = number[];

/** How a PAX header announces a sparse file, if it does. */
export interface SparseFormat {
  /** In format 1.0 the map stands before the data; in the older ones it is a record. */
  readonly mapIsInData: boolean;
}

/** Whether `records` describe a sparse file; versions that nobody wrote are taken for ordinary files, as Go does. */
export function sparseFormat(records: PaxRecords): SparseFormat | undefined {
  const major = records.get("GNU.sparse.major") ?? "";
  const minor = records.get("GNU.sparse.minor") ?? "";
  if (major === "1" && minor === "0") return { mapIsInData: true };
  if (major === "0" && (minor === "0" || minor === "1")) return { mapIsInData: false };
  if (major !== "" || minor !== "") return undefined;
  return (records.get("GNU.sparse.map") ?? "") === "" ? undefined : { mapIsInData: false };
}

/** The map of formats 0.0 and 0.1; `undefined` when it is malformed. */
export function mapOfRecords(records: PaxRecords): SparseMap | undefined {
  const list = records.get("GNU.sparse.map") ?? "";
  const map = list === "" ? [] : list.split(",").map(paxInteger);
  const blocks = paxInteger(records.get("GNU.sparse.numblocks") ?? "");
  return blocks * 2 === map.length && !map.some(Number.isNaN) ? map : undefined;
}

/** Takes in the entries of a GNU header (four at 386) or of an extension block (21 at 0). Whether another block follows. */
export function readOldMap(map: SparseMap, block: Buffer, kind: "header" | "extension"): boolean {
  const [first, count] = kind === "header" ? [386, 4] : [0, 21];
  for (let i = 0; i < count; i++) {
    const entry = first + i * 24;
    if (block[entry] === 0) break;
    map.push(number(block, entry, 12), number(block, entry + 12, 12));
  }
  return (block[first + count * 24] as number) > 0;
}

/** The map of format 1.0, one decimal number a line, the count of pairs first; filled up to a whole block. */
export class SparseMapText {
  readonly map: SparseMap = [];
  #wanted = -1;
  #digits = "";

  /** @returns Whether the map is complete; `undefined` when it is malformed. */
  push(block: Buffer): boolean | undefined {
    for (const byte of block) {
      if (byte !== 0x0a) {
        this.#digits += String.fromCharCode(byte);
        if (this.#digits.length > 20) return undefined;
        continue;
      }
      const value = paxInteger(this.#digits);
      this.#digits = "";
      if (Number.isNaN(value) || value < 0) return undefined;
      if (this.#wanted < 0) this.#wanted = value * 2;
      else this.map.push(value);
      if (this.map.length === this.#wanted) return true;
    }
    return false;
  }
}

/** Whether a map is ascending, without overlaps, and inside a file of `size` bytes. */
export function isValidMap(map: SparseMap, size: number): boolean {
  let end = 0;
  for (let i = 0; i < map.length; i += 2) {
    const offset = map[i] as number;
    const length = map[i + 1] as number;
    // Written so that NaN fails.
    if (!(offset >= end && length >= 0 && offset + length <= size)) return false;
    end = offset + length;
  }
  return size >= 0;
}
