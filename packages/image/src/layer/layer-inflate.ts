import type { Transform } from "node:stream";
import { constants } from "node:zlib";
import { BoxError } from "@bantubox/ffi";
import { decompressor, detectCompression } from "./layer-stream.ts";

/** Small enough for the second cache of a core, where hashing and writing find what inflating has left. */
const OUTPUT = 256 << 10;

/** The part of node:zlib's streams that does the work: synchronous, and into memory of the caller's. */
interface Native {
  writeSync(
    flush: number,
    from: Uint8Array,
    at: number,
    length: number,
    to: Uint8Array,
    toAt: number,
    room: number,
  ): void;
  onerror: (message: string) => void;
}

/**
 * Decompresses in this thread, as the stream's first bytes ask, and into one buffer that is used again: two thirds of
 * what node:zlib's streams take, which allocate each piece anew and hand it from thread to thread. For Workers, that
 * have nothing else to do meanwhile.
 */
export class Inflater implements Disposable {
  readonly #output = Buffer.from(new ArrayBuffer(OUTPUT));
  readonly #onOutput: (bytes: Uint8Array) => void;
  #head: Uint8Array | undefined = new Uint8Array(0);
  #stream: Transform | undefined;
  #native: Native | undefined;
  /** What the last call has left: room in the output, bytes of the input. */
  #left: Uint32Array = new Uint32Array(2);
  #flushAtEnd = 0;
  #failure: string | undefined;
  #isOver = false;

  /** @param onOutput Is given pieces that are good until it returns. */
  constructor(onOutput: (bytes: Uint8Array) => void) {
    this.#onOutput = onOutput;
  }

  /** @throws {BoxError} `layer-corrupt`, and what `onOutput` throws. The object is of no use afterwards. */
  push(bytes: Uint8Array): void {
    if (this.#head === undefined) {
      this.#inflate(bytes);
      return;
    }
    const head = this.#head.length === 0 ? bytes : Buffer.concat([this.#head, bytes]);
    if (head.length < 4) this.#head = Uint8Array.from(head);
    else this.#begin(head);
  }

  /** Says that the stream is over. @throws {BoxError} `layer-corrupt` When it ends early. */
  finish(): void {
    if (this.#head !== undefined) this.#begin(this.#head);
    const native = this.#native;
    if (native === undefined || this.#isOver) return;
    do this.#call(native, this.#flushAtEnd, this.#output, 0, 0);
    while (this.#left[0] === 0);
  }

  [Symbol.dispose](): void {
    this.#stream?.destroy();
  }

  #begin(head: Uint8Array): void {
    this.#head = undefined;
    const compression = detectCompression(head);
    if (compression !== "none") this.#open(compression);
    this.#inflate(head);
  }

  #open(compression: "gzip" | "zstd"): void {
    // It allocates a piece of output, which nobody will ask it for.
    const stream = decompressor(compression, 64);
    // @ts-expect-error: how minizlib and with it npm use node:zlib, though neither Node's nor Bun's types say so.
    const { _handle: native, _writeState: left } = stream;
    if (typeof native?.writeSync !== "function" || !(left instanceof Uint32Array)) {
      throw new BoxError("layer-unsupported", "Cannot decompress: this version of Bun has another node:zlib");
    }
    native.onerror = (message: string) => {
      this.#failure = message;
    };
    this.#stream = stream;
    this.#native = native;
    this.#left = left;
    this.#flushAtEnd = compression === "gzip" ? constants.Z_FINISH : constants.ZSTD_e_end;
  }

  #inflate(bytes: Uint8Array): void {
    const native = this.#native;
    if (native === undefined) {
      if (bytes.length > 0) this.#onOutput(bytes);
      return;
    }
    let at = 0;
    while (!this.#isOver) {
      this.#call(native, 0, bytes, at, bytes.length - at);
      const left = this.#left[1] as number;
      at = bytes.length - left;
      if (this.#left[0] === 0) continue;
      // There was room and there is input: what follows the end is nobody's.
      if (left > 0) this.#isOver = true;
      return;
    }
  }

  #call(native: Native, flush: number, from: Uint8Array, at: number, length: number): void {
    native.writeSync(flush, from, at, length, this.#output, 0, OUTPUT);
    if (this.#failure !== undefined) {
      throw new BoxError("layer-corrupt", `Cannot decompress the layer: ${this.#failure}`);
    }
    const made = OUTPUT - (this.#left[0] as number);
    if (made > 0) this.#onOutput(this.#output.subarray(0, made));
  }
}
