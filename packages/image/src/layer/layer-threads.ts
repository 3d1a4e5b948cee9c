import { BoxError, SysError } from "@bantubox/ffi";
import type { LayerResult, UnpackOptions } from "./layer.ts";
import type { Growth } from "./layer-growth.ts";

/** What a Worker is told to do. */
export interface Job {
  readonly fd: number;
  readonly shared: SharedArrayBuffer;
  readonly unpack: Pick<UnpackOptions, "mediaType" | "directory" | "digest" | "diffId">;
}

/** What a Worker says. */
export type Answer =
  | { readonly kind: "progress"; readonly read: number }
  | { readonly kind: "done"; readonly result: LayerResult }
  | { readonly kind: "failed"; readonly error: PackedError };

export interface ExtractFile {
  /** The layer as the registry has it; stays open until the promise is settled. */
  readonly fd: number;
  /** How much of the file is there. */
  readonly growth: Growth;
  readonly unpack: Job["unpack"];
  /** Told how many bytes of the file have been unpacked. */
  readonly onProgress?: ((read: number) => void) | undefined;
}

/**
 * Threads that unpack layers, as many as are asked for at once: each runs a layer's whole way from the file to the
 * disk, so that layers share nothing but the disk. Kept for the next layer until they are disposed of.
 */
export class LayerThreads implements Disposable {
  readonly #idle: Worker[] = [];
  readonly #all: Worker[] = [];

  /**
   * As `extractLayer`, from a file that may still grow.
   *
   * @throws What `extractLayer` throws, and `layer-abandoned` after `growth.abandon()`.
   */
  async extract({ fd, growth, unpack, onProgress }: ExtractFile): Promise<LayerResult> {
    const worker = this.#idle.pop() ?? this.#start();
    const job: Job = { fd, shared: growth.shared, unpack };
    const answer = await new Promise<Exclude<Answer, { kind: "progress" }>>((resolve, reject) => {
      worker.onerror = ({ message }) => reject(new Error(`The thread for layers failed: ${message}`));
      worker.onmessage = ({ data }: MessageEvent<Answer>) => {
        if (data.kind === "progress") onProgress?.(data.read);
        else resolve(data);
      };
      worker.postMessage(job);
    });
    this.#idle.push(worker);
    if (answer.kind === "done") return answer.result;
    throw unpackError(answer.error);
  }

  [Symbol.dispose](): void {
    for (const worker of this.#all) worker.terminate();
  }

  #start(): Worker {
    // Without an ending: it is a .ts file in the sources, and a .js file in a bundle.
    const worker = new Worker(new URL("./layer-worker", import.meta.url).href);
    this.#all.push(worker);
    return worker;
  }
}

/** An error on its way between threads, which would make it a plain `Error`. */
export interface PackedError {
  readonly code: string | undefined;
  readonly message: string;
  readonly hint: string | undefined;
  readonly errno: number | undefined;
  readonly syscall: string | undefined;
}

export function packError(error: unknown): PackedError {
  const { code, message, hint, errno, syscall } = error as Partial<PackedError>;
  return { code, message: message ?? String(error), hint, errno, syscall };
}

function unpackError({ code, message, hint, errno, syscall }: PackedError): Error {
  if (code === undefined) return new Error(message);
  const [before, after] = [`Cannot ${syscall} `, `: ${code}`];
  if (errno === undefined || syscall === undefined || !message.startsWith(before)) {
    return new BoxError(code, message, { hint });
  }
  // Its constructor writes the words around the subject again.
  return new SysError(syscall, errno, message.slice(before.length, -after.length));
}
