import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { ERRNO } from "@bantubox/ffi";
import fc from "fast-check";
import { FUZZ_TIMEOUT_MS, runs } from "../fuzz-fixture.ts";
import { openChild, walkInRoot } from "./extract-directories.ts";
import { temporaryDirectory } from "./extract-fixture.ts";
import { openInRoot } from "./extract-kernel.ts";

let temporary: string;
let root: string;

beforeEach(() => {
  temporary = temporaryDirectory();
  root = join(temporary, "root");
});

afterEach(() => {
  rmSync(temporary, { recursive: true, force: true });
});

/** Where a descriptor leads, below the root; an error's number otherwise. Closes it. */
function whereabouts(fd: number): string | number {
  if (fd < 0) return fd;
  const path = readlinkSync(`/proc/self/fd/${fd}`);
  closeSync(fd);
  return path === root ? "" : path.startsWith(`${root}/`) ? path.slice(root.length + 1) : `OUTSIDE ${path}`;
}

interface Farm {
  readonly directories: readonly string[];
  readonly links: readonly (readonly [string, string])[];
}

/** Directories, and links wherever they point: up, out, in circles, to each other and to nothing. */
function plant({ directories, links }: Farm): void {
  rmSync(root, { recursive: true, force: true });
  mkdirSync(root);
  for (const path of directories) mkdirSync(join(root, path), { recursive: true });
  for (const [path, target] of links) {
    try {
      symlinkSync(target, join(root, path));
    } catch {
      // There is something of that name, or no place for it.
    }
  }
  writeFileSync(join(root, "file"), "");
}

const part = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom("a", "b", "c", "d") },
  { weight: 2, arbitrary: fc.constantFrom("..", ".", "") },
  { weight: 1, arbitrary: fc.constantFrom("file", "é", "proc", "self", "fd", "0") },
);
const path = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
const plain = fc
  .array(fc.constantFrom("a", "b", "c", "d"), { minLength: 1, maxLength: 3 })
  .map((parts) => parts.join("/"));
const target = fc
  .tuple(fc.constantFrom("", "/", "../", "../../", "/proc/self/"), path)
  .map(([start, rest]) => `${start}${rest}`)
  .filter((text) => text !== "");
const farm: fc.Arbitrary<Farm> = fc.record({
  directories: fc.array(plain, { minLength: 2, maxLength: 6 }),
  links: fc.array(fc.tuple(plain, target), { maxLength: 60 }),
});

describe("paths in a root (FZ-04)", () => {
  test(
    "lead where the kernel's openat2 leads, and never outside",
    () => {
      let inside = 0;
      let throughLinks = 0;
      fc.assert(
        fc.property(farm, fc.array(path, { minLength: 1, maxLength: 20 }), (planted, paths) => {
          plant(planted);
          const fd = openSync(root, "r");
          try {
            for (const wanted of paths) {
              const kernel = whereabouts(openInRoot(fd, wanted === "" ? "." : wanted));
              const ours = whereabouts(walkInRoot(fd, wanted));
              // A trailing slash or dot behind a file is one of several errors, all of which mean the same here.
              if (typeof kernel === "number" && typeof ours === "number") continue;
              expect([wanted, ours]).toEqual([wanted, kernel]);
              expect(ours).not.toStartWith("OUTSIDE");
              inside++;
              if (ours !== wanted) throughLinks++;
            }
          } finally {
            closeSync(fd);
          }
        }),
        runs(60),
      );
      // Nothing would be proved if all paths led nowhere.
      expect(inside).toBeGreaterThan(60);
      expect(throughLinks).toBeGreaterThan(20);
    },
    FUZZ_TIMEOUT_MS,
  );

  test("of 40 links are followed and of 41 not, as in the kernel", () => {
    plant({
      directories: ["end"],
      links: [["l0", "end"], ...Array.from({ length: 45 }, (_, n) => [`l${n + 1}`, `l${n}`] as const)],
    });
    const fd = openSync(root, "r");
    for (const [name, expected] of [
      ["l39", "end"],
      ["l40", -ERRNO.ELOOP],
      ["l45", -ERRNO.ELOOP],
    ] as const) {
      expect(whereabouts(openInRoot(fd, name))).toBe(expected);
      expect(whereabouts(walkInRoot(fd, name))).toBe(expected);
    }
    closeSync(fd);
  });

  test("lead nowhere else while somebody exchanges a directory for a link", async () => {
    plant({ directories: ["a/b/c"], links: [] });
    mkdirSync(join(temporary, "secret"));
    const script = `
      const { renameSync, symlinkSync, unlinkSync } = require("node:fs");
      process.chdir(${JSON.stringify(root)});
      console.log("ready");
      for (;;) {
        renameSync("a/b", "aside"); symlinkSync("../../secret", "a/b");
        unlinkSync("a/b"); symlinkSync("../aside", "a/b");
        unlinkSync("a/b"); renameSync("aside", "a/b");
      }`;
    const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" });
    try {
      await child.stdout.getReader().read();
      const fd = openSync(root, "r");
      const seen = new Set<string | number>();
      // On a busy machine the other process may not have had its turn yet.
      const deadline = performance.now() + 30_000;
      for (let n = 0; n < 3000 || (seen.size < 2 && performance.now() < deadline); n++) {
        const ours = openInRoot(fd, n % 2 === 0 ? "a/b/c/../.." : "a/b");
        const found = whereabouts(ours);
        seen.add(found);
        expect(found).not.toBe(`OUTSIDE ${join(temporary, "secret")}`);
        if (typeof found === "string")
          expect(["", "a", "a/b", "aside", "aside/c"]).toContain(found.replace(/^OUTSIDE .*/, "OUTSIDE"));
      }
      // The race was on: more than one answer came.
      expect(seen.size).toBeGreaterThan(1);
      closeSync(fd);
    } finally {
      child.kill();
      await child.exited;
    }
  }, 60_000);

  test("openChild() takes no link for a directory", () => {
    plant({ directories: ["a"], links: [["b", "a"]] });
    const fd = openSync(root, "r");
    expect(whereabouts(openChild(fd, "a"))).toBe("a");
    expect(openChild(fd, "b")).toBe(-ERRNO.ENOTDIR);
    expect(readFileSync(join(root, "file"), "utf8")).toBe("");
    closeSync(fd);
  });
});
