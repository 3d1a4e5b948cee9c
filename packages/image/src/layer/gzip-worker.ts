/** The Worker of gzip-threads.ts: compresses one block after another. */
import { gzipBlock } from "./gzip-block.ts";
import type { Packed } from "./gzip-threads.ts";

declare const self: { onmessage: (event: MessageEvent<Uint8Array<ArrayBuffer>>) => void };

self.onmessage = ({ data: block }) => {
  const packed: Packed = { bytes: gzipBlock(block), block };
  postMessage(packed, [packed.bytes.buffer, block.buffer]);
};
