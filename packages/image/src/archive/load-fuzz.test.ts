/** Archives with random damage: each is refused in words, or loaded as exactly what it says. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { BoxError, isErrno } from "@bantubox/ffi";
import fc from "fast-check";
import { digestHex, sha256 } from "../document/digest.ts";
import { FUZZ_TIMEOUT_MS, runs } from "../fuzz-fixture.ts";
import { makeLayer } from "../registry/registry-fixture.ts";
import { collectGarbage } from "../store/garbage.ts";
import { listImages } from "../store/list.ts";
import { removeImage } from "../store/remove.ts";
import { contents, temporaryStore } from "../store/store-fixture.ts";
import { configOf, dockerFiles, layoutFiles, Place, tarFiles } from "./archive-fixture.ts";
import { loadImages } from "./load.ts";

setDefaultTimeout(FUZZ_TIMEOUT_MS);

const image = {
  layers: [makeLayer([{ path: "etc/" }, { path: "etc/os", content: "mine" }])],
  config: { Cmd: ["/bin/sh"] },
};
const archives = [
  tarFiles(layoutFiles({ ...image, compress: "gzip" }, "app:1")),
  tarFiles(dockerFiles(image, ["app:1"])),
];
const EMPTY = { layers: [], blobs: [], ingest: [], images: 0, rows: 0 };

const damage = fc.oneof(
  fc.record({ kind: fc.constant("flip" as const), at: fc.nat(), bit: fc.nat(7) }),
  fc.record({ kind: fc.constant("cut" as const), at: fc.nat() }),
  fc.record({
    kind: fc.constant("fill" as const),
    at: fc.nat(),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 40 }),
  }),
  fc.record({ kind: fc.constant("repeat" as const), at: fc.nat(), blocks: fc.nat(4) }),
);

function damaged(
  archive: Buffer,
  wounds: readonly (typeof damage extends fc.Arbitrary<infer T> ? T : never)[],
): Buffer {
  let bytes = Buffer.from(archive);
  for (const wound of wounds) {
    const at = wound.at % Math.max(1, bytes.length);
    if (wound.kind === "flip") bytes[at] = (bytes[at] ?? 0) ^ (1 << wound.bit);
    else if (wound.kind === "cut") bytes = bytes.subarray(0, at);
    else if (wound.kind === "fill") bytes.set(wound.bytes.subarray(0, bytes.length - at), at);
    else {
      const start = at - (at % 512);
      const piece = bytes.subarray(start, start + 512 * wound.blocks);
      bytes = Buffer.concat([bytes.subarray(0, start), piece, bytes.subarray(start)]);
    }
  }
  return bytes;
}

test("loadImages() refuses damage in words, and what it takes is whole", async () => {
  using store = temporaryStore();
  using place = new Place();
  const property = fc.asyncProperty(
    fc.constantFrom(...archives),
    fc.array(damage, { minLength: 1, maxLength: 3 }),
    fc.boolean(),
    async (archive, wounds, asStream) => {
      const bytes = damaged(archive, wounds);
      const path = place.file("archive", asStream ? Bun.gzipSync(Buffer.from(bytes)) : bytes);
      try {
        for (const { id } of await loadImages(store, path)) {
          // Whatever it is called now: documents and layers are what their digests say.
          for (const blob of readdirSync(join(store.root, "blobs/sha256"))) {
            expect(digestHex(sha256(readFileSync(join(store.root, "blobs/sha256", blob))))).toBe(blob);
          }
          if (id === sha256(configOf(image))) expect(listImages(store)[0]?.layers).toBe(1);
          await removeImage(store, id, { force: true });
        }
      } catch (error) {
        // A layer may hold what this file system cannot: that is an answer, too.
        if (!(error instanceof BoxError) && !isErrno(error)) throw error;
      }
      await collectGarbage(store);
      expect(contents(store)).toEqual(EMPTY);
    },
  );
  await fc.assert(property, runs(60));
});
