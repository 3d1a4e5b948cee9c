/** The Worker of layer-threads.ts: unpacks one layer after another, synchronously. */
import { LayerUnpacker } from "./layer.ts";
import { readGrowing } from "./layer-growth.ts";
import { Inflater } from "./layer-inflate.ts";
import { type Answer, type Job, packError } from "./layer-threads.ts";

/** Bytes between two words about progress. */
const PROGRESS = 1 << 20;

declare const self: { onmessage: (event: MessageEvent<Job>) => void };

self.onmessage = ({ data: job }) => answer(extract(job));

function extract({ fd, shared, unpack }: Job): Answer {
  try {
    using unpacker = new LayerUnpacker(unpack);
    using inflater = new Inflater((bytes) => unpacker.unpack(bytes));
    let told = 0;
    for (const chunk of readGrowing(fd, shared)) {
      const read = unpacker.take(chunk);
      inflater.push(chunk);
      if (read - told < PROGRESS) continue;
      told = read;
      answer({ kind: "progress", read });
    }
    inflater.finish();
    return { kind: "done", result: unpacker.finish() };
  } catch (error) {
    return { kind: "failed", error: packError(error) };
  }
}

function answer(message: Answer): void {
  postMessage(message);
}
