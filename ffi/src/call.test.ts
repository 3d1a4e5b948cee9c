import { expect, test } from "bun:test";
import { attempt, call } from "./call.ts";
import { SysError } from "./errno.ts";
import { allocate, cstr } from "./memory.ts";

const AT_FDCWD = -100;

test("attempt() passes negative integers, strings and memory unchanged", () => {
  const fd = attempt("openat", AT_FDCWD, cstr("/dev/zero"), 0);
  const memory = allocate(16).fill(7);
  expect(attempt("read", fd, memory, 16)).toBe(16);
  expect(memory).toEqual(new Uint8Array(16));
  expect(attempt("close", fd)).toBe(0);
  expect(attempt("getpid")).toBe(process.pid);
});

test("attempt() gives every failure's own errno, however many alternate", () => {
  const path = cstr("/nope");
  for (let i = 0; i < 20_000; i++) {
    expect(attempt("openat", AT_FDCWD, path, 0)).toBe(-2);
    expect(attempt("close", -1)).toBe(-9);
    if (i % 1000 === 0) Bun.gc(true);
  }
});

test("call() throws what failed, about what, and the errno's name", () => {
  expect(() => call("openat", '"/nope"', AT_FDCWD, cstr("/nope"), 0)).toThrow(new SysError("openat", 2, '"/nope"'));
});

test("cstr() refuses a NUL, which would cut the string short in the kernel", () => {
  expect(() => cstr("/etc\0/x")).toThrow(TypeError);
});
