import { close } from "./call.ts";

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
    close(this.take());
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
