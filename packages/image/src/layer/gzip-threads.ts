import { availableParallelism } from "node:os";

/** What is compressed by itself. Never change it, see `compress`. */
export const GZIP_BLOCK = 1 << 20;
/** More would wait for whoever reads and hashes what they are given. */
const THREADS_MAX = 4;

/** What a Worker gives back: the member, and the memory that it was given. */
export interface Packed {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly block: Uint8Array<ArrayBuffer>;
}

interface Job {
  readonly block: Uint8Array<ArrayBuffer>;
  readonly resolve: (bytes: Uint8Array) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Threads that compress blocks, for all layers together: as many as there are CPUs, started when they are needed and
 * kept until they are disposed of.
 */
export class GzipThreads implements Disposable {
  readonly #limit: number;
  readonly #all: Worker[] = [];
  readonly #idle: Worker[] = [];
  readonly #waiting: Job[] = [];
  /** Blocks that nobody uses now. */
  readonly #free: Uint8Array<ArrayBuffer>[] = [];
  #failure: Error | undefined;

  constructor(limit = Math.min(availableParallelism(), THREADS_MAX)) {
    this.#limit = limit;
  }

  /** Memory of `GZIP_BLOCK` bytes, with whatever is in it. */
  takeBlock(): Uint8Array<ArrayBuffer> {
    return this.#free.pop() ?? new Uint8Array(GZIP_BLOCK);
  }

  /** As `gzipBlock`. @param block Is not the caller's any more. */
  pack(block: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      this.#waiting.push({ block, resolve, reject });
      const worker = this.#idle.pop() ?? (this.#all.length < this.#limit ? this.#start() : undefined);
      if (worker !== undefined) this.#next(worker);
    });
  }

  /** What has not been compressed by then never will be. */
  [Symbol.dispose](): void {
    for (const worker of this.#all) worker.terminate();
  }

  #next(worker: Worker): void {
    const job = this.#waiting.shift();
    if (job === undefined) {
      this.#idle.push(worker);
      return;
    }
    worker.onerror = ({ message }) => {
      // Every block is needed, so one that is lost is the end of all.
      this.#failure = new Error(`The thread for compression failed: ${message}`);
      for (const { reject } of [job, ...this.#waiting.splice(0)]) reject(this.#failure);
    };
    worker.onmessage = ({ data: { bytes, block } }: MessageEvent<Packed>) => {
      this.#free.push(block);
      job.resolve(bytes);
      this.#next(worker);
    };
    worker.postMessage(job.block, [job.block.buffer]);
  }

  #start(): Worker {
    // Without an ending: it is a .ts file in the sources, and a .js file in a bundle.
    const worker = new Worker(new URL("./gzip-worker", import.meta.url).href);
    this.#all.push(worker);
    return worker;
  }
}
