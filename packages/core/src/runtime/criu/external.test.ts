import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sourceOf } from "./external.ts";

test("what lies below a bind mount is found below its source, and nowhere else", () => {
  const source = mkdtempSync(join(tmpdir(), "bb-external-"));
  try {
    mkdirSync(join(source, "a/b"), { recursive: true });
    const mounts = [{ destination: "/vol", type: "bind", source, options: ["rbind"] }];
    const find = (path: string): string => sourceOf({ point: `/vol${path}`, destination: "/vol", path }, mounts);
    expect(find("")).toBe(source);
    expect(find("/a/b")).toBe(`${source}/a/b`);
    // The container may write there.
    symlinkSync("/", join(source, "root"));
    symlinkSync("a", join(source, "inner"));
    for (const path of ["/root", "/root/etc", "/inner/b", "/../..", "/none"]) {
      expect(() => find(path)).toThrow(`what was mounted at "/vol${path}" is not at`);
    }
    expect(() => sourceOf({ point: "/x", destination: "/x", path: "" }, mounts)).toThrow("config.json has none");
  } finally {
    rmSync(source, { recursive: true });
  }
});
