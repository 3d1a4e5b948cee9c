import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { archiveStored, archiveTree } from "./archive.ts";

test.each([archiveTree, archiveStored])(
  "%p lets others have their turn, also for who only hashes it",
  async (archive) => {
    const directory = mkdtempSync(join(tmpdir(), "bb-archive-"));
    try {
      writeFileSync(join(directory, "file"), Buffer.alloc(4 << 20, 1));
      const controller = new AbortController();
      setTimeout(() => controller.abort(new Error("enough")), 0);
      const reading = (async () => {
        for await (const _ of archive(directory)) {
          controller.signal.throwIfAborted();
          // As long as a slow disk or a slow hash would take.
          Bun.sleepSync(60);
        }
      })();
      await expect(reading).rejects.toThrow("enough");
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
);
