import { beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { BoxError } from "./errors.ts";
import {
  BUILTIN,
  COPY,
  HEADER_BYTES,
  MONITOR,
  MONITOR_OFFSET,
  PLAN_REGS,
  Plan,
  planMonitor,
  SECTION,
  STEP_BYTES,
} from "./plan.ts";
import { readStep } from "./plan-reader.ts";

const ffi = join(import.meta.dir, "..");

/** Compiles and runs a C program that prints `expressions`, one number a line. */
function askC(expressions: readonly string[]): number[] {
  const dir = mkdtempSync(join(tmpdir(), "bb-plan-"));
  try {
    const lines = expressions.map((e) => `printf("%lld\\n", (long long)(${e}));`).join("\n");
    writeFileSync(join(dir, "a.c"), `#include <stdio.h>\n#include "plan.h"\nint main(void) { ${lines} return 0; }\n`);
    const compiled = Bun.spawnSync(["cc", "-I", join(ffi, "c"), "-o", join(dir, "a"), join(dir, "a.c")]);
    expect(compiled.stderr.toString()).toBe("");
    return Bun.spawnSync([join(dir, "a")])
      .stdout.toString()
      .trim()
      .split("\n")
      .map(Number);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** snake_case of the C side for a name of ours. */
const snake = (name: string) => name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);

test("the plan's layout and numbers are those of c/plan.h", () => {
  const monitorFields = Object.keys(planMonitor.offsets).filter((name) => !name.startsWith("_"));
  const ours = [
    HEADER_BYTES,
    STEP_BYTES,
    MONITOR_OFFSET,
    PLAN_REGS,
    ...monitorFields.map((name) => planMonitor.offsets[name as keyof typeof planMonitor.offsets]),
    ...Object.values(SECTION),
    ...Object.values(BUILTIN),
    ...Object.values(MONITOR),
    ...Object.values(COPY),
  ];
  const theirs = askC([
    "sizeof(struct plan_header)",
    "sizeof(struct plan_step)",
    "offsetof(struct plan_header, monitor)",
    "PLAN_REGS",
    ...monitorFields.map((name) => `offsetof(struct plan_monitor, ${snake(name)})`),
    ...Object.keys(SECTION).map((name) => `SECTION_${name}`),
    ...Object.keys(BUILTIN).map((name) => `BUILTIN_${snake(name).toUpperCase()}`),
    ...Object.keys(MONITOR).map((name) => `MONITOR_${name}`),
    ...Object.keys(COPY).map((name) => `COPY_${name}`),
  ]);
  expect(theirs).toEqual(ours);
});

/** A plan with one of everything. */
function sample(): Plan {
  const plan = new Plan();
  const fd = plan.register();
  plan.prepare.sys("openat", -100, "/etc", 0o200000).into(fd).tag(5);
  plan.prepare.sys("mkdirat", fd, "sub", 0o700).tolerate(17, 1);
  plan.child.sys("mount", "proc", "/proc", "proc", 14, null);
  plan.child.builtin("exec", plan.strings(["/bin/sh"]), plan.strings(["sh", "-c", "ü"]), plan.strings(["A=b"]));
  plan.undo.sys("unlinkat", fd, "sub", 0x200).ignore();
  return plan;
}

test("readStep() says what a step does, in the words that it was written with", () => {
  const plan = sample();
  const bytes = plan.encode({ flags: 0, pid: plan.register(2) });
  expect(readStep(bytes, 0)).toEqual({ name: "openat", args: [-100, "/etc", 65536, 0, 0, 0], tag: 5 });
  expect(readStep(bytes, 1)).toEqual({ name: "mkdirat", args: ["r0", "sub", 448, 0, 0, 0], tag: 0 });
  expect(readStep(bytes, 2)).toEqual({ name: "mount", args: ["proc", "/proc", "proc", 14, 0, 0], tag: 0 });
  expect(readStep(bytes, 4).name).toBe("unlinkat");
  expect(() => readStep(bytes, 5)).toThrow(RangeError);
});

test("a string with a NUL never reaches a plan", () => {
  expect(() => new Plan().child.sys("chdir", "/etc\0/x")).toThrow(BoxError);
});

test("a plan grows past its first buffers", () => {
  const plan = new Plan();
  const long = "x".repeat(20_000);
  for (let i = 0; i < 300; i++) plan.child.sys("chdir", `/${i}`);
  plan.child.sys("chdir", long);
  const bytes = plan.encode({ flags: 0, pid: plan.register(2) });
  expect(readStep(bytes, 299).args[0]).toBe("/299");
  expect(readStep(bytes, 300).args[0]).toBe(long);
});

describe("plan_decode (C, with sanitizers)", () => {
  beforeAll(() => {
    const made = Bun.spawnSync(["make", "-s", "-C", ffi, "sanitize"], { stdout: "pipe", stderr: "pipe" });
    if (made.exitCode !== 0) throw new Error(made.stderr.toString());
  }, 60_000);

  /** The decoder's answers; a sanitizer's report ends it with another status. */
  function decode(plans: readonly Uint8Array[]): number[] {
    const parts = plans.flatMap((plan) => [new Uint8Array(new Uint32Array([plan.length]).buffer), plan]);
    const run = Bun.spawnSync([join(ffi, "build/fuzz-plan")], { stdin: Buffer.concat(parts), stderr: "pipe" });
    expect(run.stderr.toString()).toBe("");
    expect(run.exitCode).toBe(0);
    return run.stdout.toString().trim().split("\n").map(Number);
  }

  test("accepts what TypeScript encodes", () => {
    const plan = sample();
    expect(decode([plan.encode({ flags: MONITOR.LOG, pid: plan.register(2) })])).toEqual([0]);
  });

  test("refuses every truncation", () => {
    const plan = sample();
    const bytes = plan.encode({ flags: 0, pid: plan.register(2) });
    const cut = Array.from({ length: bytes.length }, (_, n) => bytes.subarray(0, n));
    expect(decode(cut).filter((answer) => answer === 0)).toEqual([]);
  });

  test("survives mutated plans, and both accepts and refuses some", () => {
    const plan = sample();
    const bytes = plan.encode({ flags: 0, pid: plan.register(2) });
    const mutation = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.integer({ min: 0, max: 255 })), {
      minLength: 1,
      maxLength: 6,
    });
    const mutated = fc.sample(mutation, { numRuns: 3000, seed: 20261122 }).map((changes) => {
      const copy = bytes.slice();
      for (const [at, value] of changes) copy[at] = value;
      return copy;
    });
    const accepted = decode(mutated).filter((answer) => answer === 0).length;
    expect(accepted).toBeGreaterThan(300);
    expect(accepted).toBeLessThan(2700);
  });
});
