import { readSync } from "node:fs";
import { BoxError } from "@bantubox/ffi";

const CHUNK = 64 << 10;

/** Where in the shared memory what lies, each a BigInt64. Whoever changes another one counts `CHANGES` up afterwards. */
const AT = { CHANGES: 0, WRITTEN: 1, STATE: 2 } as const;
const STATE = { GROWING: 0n, COMPLETE: 1n, ABANDONED: 2n } as const;

/** A file that this thread writes and another one reads, told from here how far it may go. */
export class Growth {
  /** For `readGrowing` in the other thread. */
  readonly shared = new SharedArrayBuffer(3 * 8);
  readonly #fields = new BigInt64Array(this.shared);

  /** So many bytes are in the file, from its beginning. */
  reach(bytes: number): void {
    this.#change(AT.WRITTEN, BigInt(bytes));
  }

  /** The file is whole. */
  complete(): void {
    this.#change(AT.STATE, STATE.COMPLETE);
  }

  /** The reader shall stop, with an error; a second call does nothing. */
  abandon(): void {
    this.#change(AT.STATE, STATE.ABANDONED);
  }

  #change(field: number, value: bigint): void {
    Atomics.store(this.#fields, field, value);
    Atomics.add(this.#fields, AT.CHANGES, 1n);
    Atomics.notify(this.#fields, AT.CHANGES);
  }
}

/**
 * The bytes of a file that another thread's `Growth` speaks of, up to its end; blocks this thread while there are none.
 *
 * A chunk is good until the next is asked for.
 *
 * @throws {BoxError} `layer-abandoned` When the other thread gives up.
 */
export function* readGrowing(fd: number, shared: SharedArrayBuffer): Generator<Uint8Array> {
  const fields = new BigInt64Array(shared);
  const buffer = Buffer.from(new ArrayBuffer(CHUNK));
  let at = 0;
  for (;;) {
    // Read first: a change after it makes the wait below end at once.
    const changes = Atomics.load(fields, AT.CHANGES);
    const state = Atomics.load(fields, AT.STATE);
    const written = Number(Atomics.load(fields, AT.WRITTEN));
    if (state === STATE.ABANDONED) throw new BoxError("layer-abandoned", "Cannot extract the layer: it was given up");
    if (at < written) {
      const count = readSync(fd, buffer, 0, Math.min(CHUNK, written - at), at);
      if (count === 0) throw new BoxError("layer-corrupt", `Cannot extract the layer: its file ends at byte ${at}`);
      at += count;
      yield buffer.subarray(0, count);
    } else if (state === STATE.COMPLETE) {
      return;
    } else {
      Atomics.wait(fields, AT.CHANGES, changes);
    }
  }
}
