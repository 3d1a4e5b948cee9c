/** An image whose only layer is as large as its caller wants it, made in a moment. */
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { type FixtureEntry, tarOf } from "../packages/image/src/tar/tar-fixture.ts";
import { writeLayout } from "./oci-layout.ts";

const PIECE = 16 << 20;

/**
 * Makes an OCI layout below `directory`, of one file of `bytes` in one layer, which hardly compresses: the same
 * piece many times, each a member of the gzip file. @returns The layout.
 */
export function largeImage(directory: string, bytes: number): string {
  const count = Math.ceil(bytes / PIECE);
  const entry: FixtureEntry = { name: "large", size: count * PIECE };
  // The archive of an empty file, but for its size: the header, and the two blocks of the end.
  const frame = tarOf(entry);
  const [head, tail] = [frame.subarray(0, 512), frame.subarray(512)];
  const piece = Buffer.alloc(PIECE);
  for (let at = 0, state = 1; at < PIECE; at++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    // Four random bits of eight.
    piece[at] = (state >>> 16) & 0x0f;
  }
  const blob = join(directory, "large.tar.gz");
  const fd = openSync(blob, "w");
  const hash = new Bun.CryptoHasher("sha256");
  const squeezed = gzipSync(piece, { level: 1 });
  writeSync(fd, gzipSync(head));
  hash.update(head);
  for (let n = 0; n < count; n++) {
    writeSync(fd, squeezed);
    hash.update(piece);
  }
  writeSync(fd, gzipSync(tail));
  hash.update(tail);
  closeSync(fd);
  const layout = join(directory, "large");
  writeLayout(layout, [{ diffId: `sha256:${hash.digest("hex")}`, blob }], "bench/large-image.ts");
  return layout;
}
