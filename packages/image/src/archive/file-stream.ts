import { read } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { isErrno } from "@bantubox/ffi";

const CHUNK = 1 << 20;

/**
 * The bytes of a pipe, socket or file from where it stands. One buffer is used for all: a chunk is good until the
 * next is asked for.
 */
export async function* readDescriptor(fd: number): AsyncGenerator<Uint8Array> {
  const buffer = Buffer.from(new ArrayBuffer(CHUNK));
  for (;;) {
    const count = await readSome(fd, buffer);
    if (count === 0) return;
    if (count > 0) yield buffer.subarray(0, count);
    // Somebody made the pipe non-blocking for all who share it.
    else await sleep(2);
  }
}

/** @returns How many bytes there were; -1 when there are none yet. */
function readSome(fd: number, buffer: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, buffer, 0, buffer.length, null, (error, count) => {
      if (error === null) resolve(count);
      else if (isErrno(error, "EAGAIN")) resolve(-1);
      else reject(error);
    });
  });
}
