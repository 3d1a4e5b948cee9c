import { expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AT, call, close, cstr, O, removeTree } from "@bantubox/ffi";
import { treeSize } from "./tree-size.ts";

const BYTES = 4 << 20;

test("treeSize() measures what lies deep, and ends in a tree of any depth", () => {
  const root = mkdtempSync(join(tmpdir(), "bantubox-size-"));
  const open = (parent: number, name: string): number =>
    call("openat", name, parent, cstr(name), O.RDONLY | O.DIRECTORY | O.CLOEXEC);
  const top = open(AT.FDCWD, root);
  let at = open(AT.FDCWD, root);
  try {
    for (let level = 0; level < 600; level++) {
      if (level === 100 || level === 500) writeFileSync(`/proc/self/fd/${at}/file`, new Uint8Array(BYTES));
      call("mkdirat", "a level", at, cstr("d"), 0o755);
      const below = open(at, "d");
      close(at);
      at = below;
    }
    const bytes = treeSize(top);
    expect(bytes).toBeGreaterThanOrEqual(BYTES);
    // Directories take up to 4 KiB each, and those far down are not looked for.
    expect(bytes).toBeLessThan(BYTES + 300 * 4096);
  } finally {
    close(at);
    close(top);
    removeTree(root);
  }
});
