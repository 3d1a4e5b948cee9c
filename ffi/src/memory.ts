import { ptr } from "bun:ffi";

/**
 * Memory that the kernel reads or writes.
 *
 * `ptr()` of a small typed array goes stale once its `.buffer` is touched
 * (docs/architecture.md, "Traps"), so whatever has its address taken starts as
 * an ArrayBuffer and is viewed afterwards. The caller keeps the array for as
 * long as the kernel may touch it: an address inside a buffer keeps nothing alive.
 */
export function allocate(bytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(bytes));
}

/** Address of `memory`'s first byte. Memory that `allocate` or `cstr` did not make must be viewed before this is called. */
export function addressOf(memory: Uint8Array | BigUint64Array): number {
  return ptr(memory);
}

const encoder = new TextEncoder();

/**
 * `text` as the kernel reads strings: UTF-8 with a zero byte at its end.
 *
 * @throws {TypeError} When `text` holds a NUL, which would cut it short on the kernel's side.
 */
export function cstr(text: string | Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = typeof text === "string" ? encoder.encode(text) : text;
  if (bytes.includes(0)) throw new TypeError(`${JSON.stringify(String(text))} holds a NUL byte`);
  const out = allocate(bytes.length + 1);
  out.set(bytes);
  return out;
}
