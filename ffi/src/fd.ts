import { closeSync } from "node:fs";

/** A file descriptor that is owned: it closes with its scope (`using`) unless `take()` hands it over. */
export class Fd implements Disposable {
  #raw: number;

  constructor(raw: number) {
    this.#raw = raw;
  }

  /** @throws {RangeError} Once it is closed or handed over: a bug that would otherwise hit a stranger's file. */
  get raw(): number {
    if (this.#raw < 0) throw new RangeError("This file descriptor is closed");
    return this.#raw;
  }

  /** Gives up ownership: the caller closes it. */
  take(): number {
    const raw = this.raw;
    this.#raw = -1;
    return raw;
  }

  close(): void {
    if (this.#raw < 0) return;
    // Never retried: Linux has released the number even when close(2) reports an error.
    closeSync(this.take());
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
