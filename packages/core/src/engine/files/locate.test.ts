import { expect, test } from "bun:test";
import { lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { close, isErrno, O } from "@bantubox/ffi";
import { openBelow, statIfThereAt } from "@bantubox/image/files";
import fc from "fast-check";
import { openDirectory } from "../create/image-root.ts";
import { INSIDE, locate, type World } from "./locate.ts";

const part = fc.constantFrom("a", "b", "c", "d", "..", ".", "");
const route = fc
  .tuple(fc.boolean(), fc.array(part, { minLength: 1, maxLength: 5 }))
  .map(([isAbsolute, parts]) => (isAbsolute ? "/" : "") + parts.join("/"));
const thing = fc.oneof(
  fc.constant({ type: "directory" as const }),
  fc.constant({ type: "file" as const }),
  fc.record({ type: fc.constant("link" as const), target: route.filter((text) => text !== "") }),
);
const farm = fc.array(
  fc.record({ path: fc.array(fc.constantFrom("a", "b", "c", "d"), { minLength: 1, maxLength: 3 }), thing }),
  {
    maxLength: 12,
  },
);

/** What the kernel finds there, links followed: which file, or nothing. */
function kernel(root: number, path: string): string | undefined {
  const fd = openBelow(root, path, O.PATH, INSIDE);
  if (fd < 0) return undefined;
  try {
    return statIfThereAt(fd, new Uint8Array(1))?.identity;
  } finally {
    close(fd);
  }
}

function ours(world: World, path: string): string | undefined {
  try {
    using found = locate(world, path, true);
    return found.stat?.identity;
  } catch (error) {
    if (isErrno(error, "no-such-path")) return undefined;
    throw error;
  }
}

/** Makes one thing; what does not fit into what is there is left out. No link is gone through: it may lead anywhere. */
function make(
  directory: string,
  path: readonly string[],
  { type, target = "" }: { type: string; target?: string },
): void {
  const places = path.map((_, depth) => join(directory, ...path.slice(0, depth + 1)));
  const at = places.pop() ?? directory;
  if (places.some((place) => lstatSync(place, { throwIfNoEntry: false })?.isDirectory() !== true)) return;
  if (lstatSync(at, { throwIfNoEntry: false }) !== undefined) return;
  if (type === "directory") mkdirSync(at);
  else if (type === "file") writeFileSync(at, "x");
  else symlinkSync(target, at);
}

test("locate() finds what the kernel finds, whatever links there are (FZ-04)", () => {
  fc.assert(
    fc.property(farm, fc.array(route, { minLength: 1, maxLength: 8 }), (things, routes) => {
      const directory = mkdtempSync(join(tmpdir(), "bantubox-locate-"));
      try {
        for (const each of things) make(directory, each.path, each.thing);
        using root = openDirectory(directory);
        const world = { root: root.raw, resolve: INSIDE, show: (path: string) => path };
        for (const path of routes) expect([path, ours(world, path)]).toEqual([path, kernel(root.raw, path)]);
      } finally {
        rmSync(directory, { recursive: true });
      }
    }),
    { numRuns: 150 },
  );
});
