/** The trampoline for arm64, under emulation: decoding, registers, and builtins, which have the same numbers everywhere. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MONITOR, Plan } from "./plan.ts";
import { openPlan } from "./trampoline.ts";

const TRAMPOLINE = join(import.meta.dir, "../build/trampoline-arm64");
const QEMU = Bun.which("qemu-aarch64-static") ?? Bun.which("qemu-aarch64");
const reason =
  process.arch === "arm64"
    ? "this machine runs it itself"
    : QEMU === null
      ? "qemu-user-static is not installed"
      : !existsSync(TRAMPOLINE) || statSync(TRAMPOLINE).size === 0
        ? "there was no cross compiler to build it with"
        : undefined;
if (reason !== undefined) console.error(`skipped: the arm64 trampoline: ${reason}`);

let dir = "";
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "bb-arm64-"));
});
afterAll(() => rmSync(dir, { recursive: true }));

/** Carries out PREPARE alone, which must end the program itself. */
function emulate(plan: Plan): Bun.SyncSubprocess {
  using memory = openPlan(plan.encode({ flags: MONITOR.CLIENT_ONLY, pid: plan.register(2) }));
  return Bun.spawnSync([QEMU ?? "", TRAMPOLINE, "3"], {
    cwd: dir,
    stdio: ["ignore", "pipe", "pipe", memory.raw],
  });
}

const O_WRONLY_CREAT = 0o101;
const AT_FDCWD = -100;

test.skipIf(reason !== undefined)("the arm64 trampoline carries out a plan's steps in order", () => {
  const plan = new Plan();
  const text = "written on arm64";
  plan.prepare.builtin("writeFile", AT_FDCWD, join(dir, "file"), text, text.length, O_WRONLY_CREAT, 0o644);
  const memory = plan.bytes(new Uint8Array(Uint32Array.of(43).buffer));
  const value = plan.register();
  plan.prepare.builtin("load32", memory).into(value);
  plan.prepare.builtin("checkCwd");
  plan.prepare.builtin("writeFile", AT_FDCWD, "/nowhere/file", text, 1, O_WRONLY_CREAT, 0o644).ignore();
  plan.prepare.builtin("exit", value);
  expect(emulate(plan).exitCode).toBe(43);
  expect(readFileSync(join(dir, "file"), "utf8")).toBe(text);
});

test.skipIf(reason !== undefined)("the arm64 trampoline removes trees, and stops at a step that fails", () => {
  const removing = new Plan();
  Bun.spawnSync(["mkdir", "-p", join(dir, "tree/a/b/c"), join(dir, "tree/d")]);
  removing.prepare.builtin("removeTree", AT_FDCWD, join(dir, "tree"));
  removing.prepare.builtin("exit", 5);
  expect([emulate(removing).exitCode, readdirSync(dir).includes("tree")]).toEqual([5, false]);

  const failing = new Plan();
  failing.prepare.builtin("writeFile", AT_FDCWD, "/nowhere/file", "x", 1, O_WRONLY_CREAT, 0o644);
  failing.prepare.builtin("exit", 0);
  expect(emulate(failing).exitCode).toBe(125);
});
