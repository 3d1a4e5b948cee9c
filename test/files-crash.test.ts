/** kill -9 at every n-th system call of cp: nothing is left behind, and the container goes on. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mustGoOn, startChangedBox } from "./changed-box.ts";
import { newStore } from "./harness.ts";
import { hasStrace, sweep } from "./kill-sweep.ts";

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "bb-files-crash-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe.skipIf(!hasStrace)("a sweep of kill -9", () => {
  test("over cp, both ways: the container goes on, and nothing of it is left behind", async () => {
    await using store = await newStore();
    await startChangedBox(store);
    await store.ok(["create", "--name", "idle", "--network", "none", "-v", "vol:/vol", "box:1", "true"]);
    const file = join(directory, "file");
    writeFileSync(file, "whole");
    const calls = ["openat", "openat2", "clone3", "write", "mkdirat", "fchownat"];
    const out = join(directory, "out");
    const commands = [
      ["cp", "box:/d", out],
      ["cp", file, "box:/d/in"],
      ["cp", file, "idle:/vol/in"],
    ];
    for (const command of commands) {
      const next = async (what: string): Promise<void> => {
        rmSync(out, { recursive: true, force: true });
        await mustGoOn(store, what);
        await store.ok(["ps", "-a"]);
      };
      expect(await sweep({ store, command, calls, step: 7, next })).toBeGreaterThan(2);
    }
    await store.ok(["cp", file, "box:/d/in"]);
    await store.ok(["cp", file, "idle:/vol/in"]);
    expect(await store.ok(["exec", "box", "cat", "/d/in"])).toBe("whole");
    await store.ok(["start", "-a", "idle"]);
  }, 3_600_000);
});
