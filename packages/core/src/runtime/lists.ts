/** Lists of CPUs and memory nodes: `0-3,7`. */
import { BoxError } from "@bantubox/ffi";

/** Linux is built for up to 8192 CPUs and 1024 nodes. */
const MOST = 8192;

/**
 * The set as the kernel's masks have it: bit n of the bytes is number n. At least one word of 64 bits long.
 *
 * @throws {BoxError} `bad-list`
 */
export function parseMask(name: string, list: string): Uint8Array<ArrayBuffer> {
  const bad = (): BoxError =>
    new BoxError("bad-list", `Cannot use ${JSON.stringify(list)} as "${name}": it is not a list such as "0-3,7"`);
  const numbers: number[] = [];
  for (const part of list.split(",")) {
    const [, first, last = first] = /^\s*(\d{1,4})(?:-(\d{1,4}))?\s*$/.exec(part) ?? [];
    const [low, high] = [Number(first), Number(last)];
    if (first === undefined || high < low || high >= MOST) throw bad();
    for (let n = low; n <= high; n++) numbers.push(n);
  }
  const mask = new Uint8Array(new ArrayBuffer(Math.ceil((Math.max(...numbers) + 1) / 64) * 8));
  for (const n of numbers) mask[n >> 3] = (mask[n >> 3] ?? 0) | (1 << (n & 7));
  return mask;
}
