import { expect, test } from "bun:test";
import { assembler, BPF } from "./bpf.ts";
import { interpret, verify } from "./bpf-interpreter.ts";

// Two blocks, then a filler, then a branch to both: every length around the reach of a jump.
test.each([
  ["blocks", true],
  ["returns", false],
])("branch() gets to two far %s at any distance", (_, isBlock) => {
  for (let filler = 240; filler < 270; filler++) {
    const to = assembler();
    const target = (action: number): number => (isBlock ? to.step(BPF.LD, 0, to.ret(action)) : to.ret(action));
    const yes = target(1);
    const no = target(2);
    let chain = to.ret(3);
    for (let i = 0; i < filler; i++) chain = to.step(BPF.AND, i, chain);
    const choice = to.branch(BPF.JEQ, 7, yes, no);
    const filter = to.finish(to.step(BPF.LD, 0, to.branch(BPF.JGT, 100, chain, choice)));
    verify(filter);
    const run = (nr: number): number => interpret(filter, { arch: 0, nr }).action;
    expect([filler, run(7), run(8), run(101)]).toEqual([filler, 1, 2, 3]);
  }
});

test("branch() between the same places is no instruction", () => {
  const to = assembler();
  const end = to.ret(0);
  expect(to.branch(BPF.JEQ, 1, end, end)).toBe(end);
  expect(to.finish(end)).toEqual(Uint8Array.of(6, 0, 0, 0, 0, 0, 0, 0));
});

test("finish() starts the program where it is told", () => {
  const to = assembler();
  const start = to.ret(1);
  to.ret(2);
  expect(interpret(to.finish(start), { arch: 0, nr: 0 }).action).toBe(1);
});
