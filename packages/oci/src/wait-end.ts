import { allocate, call, type Fd } from "@bantubox/ffi";

const POLLIN = 1;

/** Waits for a process to end. @returns Whether it did, within `timeoutMs`. */
export function waitEnd(pidfd: Fd, timeoutMs: number): boolean {
  // struct pollfd, then a struct timespec.
  const memory = allocate(24);
  const view = new DataView(memory.buffer);
  view.setInt32(0, pidfd.raw, true);
  view.setInt16(4, POLLIN, true);
  view.setUint32(8, Math.floor(timeoutMs / 1000), true);
  view.setUint32(16, Math.floor((timeoutMs % 1000) * 1e6), true);
  return call("ppoll", "the container's process", memory, 1, memory.subarray(8), null, 0) > 0;
}
