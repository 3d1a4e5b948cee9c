/** How the trampoline removes what a container has left, which somebody may still be moving about. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { patience } from "../../test/patience.ts";
import { isErrno } from "./errno.ts";
import { AT } from "./flags.ts";
import { MONITOR, Plan } from "./plan.ts";
import { openPlan } from "./trampoline.ts";

const ffi = join(import.meta.dir, "..");
const DEEP = 100;

let dir = "";
let tree = "";

beforeAll(() => {
  const made = Bun.spawnSync(["make", "-s", "-C", ffi, process.arch], { stderr: "pipe" });
  if (made.exitCode !== 0) throw new Error(made.stderr.toString());
  dir = mkdtempSync(join(tmpdir(), "bb-remove-"));
  mkdirSync(join(dir, "a"));
  writeFileSync(join(dir, "a/canary"), "");
  tree = join(dir, "a/tree");
}, 60_000);
afterAll(() => rmSync(dir, { recursive: true }));

function remove(): Bun.Subprocess {
  const plan = new Plan();
  plan.prepare.builtin("removeTree", AT.FDCWD, tree);
  plan.prepare.builtin("exit", 0);
  using memory = openPlan(plan.encode({ flags: MONITOR.CLIENT_ONLY, pid: plan.register(2) }));
  const program = join(ffi, `build/trampoline-${process.arch}`);
  return Bun.spawn([program, "3"], { stdio: ["ignore", "inherit", "inherit", memory.raw] });
}

test("a tree that is deeper than descriptors are kept goes", async () => {
  for (const side of ["x", "y"]) {
    const bottom = join(tree, ...Array<string>(DEEP).fill(side));
    mkdirSync(bottom, { recursive: true });
    writeFileSync(join(bottom, "file"), "");
  }
  expect(await remove().exited).toBe(0);
  expect(readdirSync(join(dir, "a"))).toEqual(["canary"]);
});

test("a directory that is moved up while it is emptied leads to nothing outside", async () => {
  // Whoever is paused for long comes too late to move anything.
  for (let attempt = 0; attempt < 20; attempt++) {
    const moved = join(tree, "1/2");
    mkdirSync(moved, { recursive: true });
    for (let i = 0; i < 10_000; i++) writeFileSync(join(moved, `${i}`), "");
    const [first = ""] = readdirSync(moved);
    const removal = remove();
    const deadline = performance.now() + patience(5000);
    while (existsSync(join(moved, first)) && performance.now() < deadline);
    const isMoved = move(moved, join(tree, "up"));
    expect(await removal.exited).toBe(0);
    expect(readdirSync(join(dir, "a"))).toEqual(["canary"]);
    if (isMoved) return;
  }
  throw new Error("It was always removed before it was moved");
}, 60_000);

function move(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return false;
    throw error;
  }
}
