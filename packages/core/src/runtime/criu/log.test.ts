import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { criuErrors } from "./log.ts";

test("what went wrong is the log's errors, from wherever they come", () => {
  const directory = mkdtempSync(join(tmpdir(), "bb-criu-"));
  try {
    const path = join(directory, "restore.log");
    writeFileSync(
      path,
      [
        "(00.000001) Version: 3.17.1 (gitid 0)",
        "(01.814031) Error (criu/files-reg.c:1710): Can't lookup mount=26 for fd=0 path=/dev/null",
        "(00.034821)      1: Error (criu/mount.c:2): mnt: no ",
        "Error (criu/vdso.c:381): vdso: bounds",
        "(00.1) Warn  (criu/a.c:1): Error (nothing)",
        "",
      ].join("\n"),
    );
    expect(criuErrors(path)).toBe("Can't lookup mount=26 for fd=0 path=/dev/null; mnt: no; vdso: bounds");
    expect(criuErrors(join(directory, "none"))).toBe("");
  } finally {
    rmSync(directory, { recursive: true });
  }
});
