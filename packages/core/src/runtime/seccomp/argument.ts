/** Comparisons of system call arguments, and their translation to BPF, which sees 32 bits at a time. */
import { type Assembler, BPF, DATA, type Label } from "./bpf.ts";
import { type LinuxSeccompArg, profileError } from "./profile.ts";

export const OPERATORS = {
  SCMP_CMP_NE: "NE",
  SCMP_CMP_LT: "LT",
  SCMP_CMP_LE: "LE",
  SCMP_CMP_EQ: "EQ",
  SCMP_CMP_GE: "GE",
  SCMP_CMP_GT: "GT",
  SCMP_CMP_MASKED_EQ: "MASKED_EQ",
} as const;

export interface Comparison {
  readonly index: number;
  readonly op: (typeof OPERATORS)[keyof typeof OPERATORS];
  /** Halves of the value, as u32; with MASKED_EQ it has the bits of the mask only. */
  readonly hi: number;
  readonly lo: number;
  readonly maskHi: number;
  readonly maskLo: number;
  /** The high half of the argument does not count: see narrow(). */
  readonly isNarrow: boolean;
}

const ALL_ONES = 0xffff_ffff;
const MAX_U64 = 0xffff_ffff_ffff_ffffn;
const LAST_ARGUMENT = 5;

/** @throws {BoxError} `seccomp-profile` for an unknown operator, or a number that is not a uint64 (index: 0 to 5). */
export function parseComparison(arg: LinuxSeccompArg): Comparison {
  const op = Object.hasOwn(OPERATORS, arg.op) ? OPERATORS[arg.op as keyof typeof OPERATORS] : undefined;
  if (op === undefined) throw profileError(`"${arg.op}" is not a comparison`);
  if (!Number.isInteger(arg.index) || arg.index < 0 || arg.index > LAST_ARGUMENT)
    throw profileError(`a system call has no argument ${arg.index}, only 0 to ${LAST_ARGUMENT}`);
  const [hi, lo] = halves(arg.value);
  if (op !== "MASKED_EQ") return { index: arg.index, op, hi, lo, maskHi: ALL_ONES, maskLo: ALL_ONES, isNarrow: false };
  const [dataHi, dataLo] = halves(arg.valueTwo ?? 0);
  // Bits outside the mask could never match; libseccomp ignores them, and profiles are written for it.
  return {
    index: arg.index,
    op,
    hi: (dataHi & hi) >>> 0,
    lo: (dataLo & lo) >>> 0,
    maskHi: hi,
    maskLo: lo,
    isNarrow: false,
  };
}

/**
 * Restricts a comparison to the low half of its argument, for those of which the kernel reads no more.
 *
 * Otherwise `socket(0x1_0000_0026, …)` passes a rule that refuses family 0x26.
 * The high half of the argument counts as zero, and a value whose high half is
 * all ones is a negative `int`.
 */
export function narrow(comparison: Comparison): Comparison {
  if (comparison.op === "MASKED_EQ") return { ...comparison, isNarrow: true, hi: 0, maskHi: 0 };
  return { ...comparison, isNarrow: true, hi: comparison.hi === ALL_ONES ? 0 : comparison.hi };
}

/** Writes code that goes to `yes` if the comparison holds and to `no` if it does not. */
export function emitComparison(to: Assembler, comparison: Comparison, yes: Label, no: Label): Label {
  if (yes === no) return yes;
  switch (comparison.op) {
    case "EQ":
    case "MASKED_EQ":
      return emitEqual(to, comparison, yes, no);
    case "NE":
      return emitEqual(to, comparison, no, yes);
    case "GT":
      return emitGreater(to, comparison, BPF.JGT, yes, no);
    case "GE":
      return emitGreater(to, comparison, BPF.JGE, yes, no);
    case "LT":
      return emitGreater(to, comparison, BPF.JGE, no, yes);
    case "LE":
      return emitGreater(to, comparison, BPF.JGT, no, yes);
  }
}

function emitEqual(to: Assembler, c: Comparison, yes: Label, no: Label): Label {
  if (c.isNarrow && c.hi !== 0) return no;
  const low = emitHalf(to, lowOffset(c), c.maskLo, c.lo, yes, no);
  return c.isNarrow ? low : emitHalf(to, highOffset(c), c.maskHi, c.hi, low, no);
}

/** A masked comparison of 32 bits. */
function emitHalf(to: Assembler, offset: number, mask: number, value: number, yes: Label, no: Label): Label {
  if (mask === 0) return yes;
  if (mask === ALL_ONES) return to.step(BPF.LD, offset, to.branch(BPF.JEQ, value, yes, no));
  if (value === 0) return to.step(BPF.LD, offset, to.branch(BPF.JSET, mask, no, yes));
  return to.step(BPF.LD, offset, to.step(BPF.AND, mask, to.branch(BPF.JEQ, value, yes, no)));
}

/** Unsigned order. `op` decides on equal values; the high halves decide alone unless they are equal. */
function emitGreater(to: Assembler, c: Comparison, op: number, yes: Label, no: Label): Label {
  if (c.isNarrow && c.hi !== 0) return no;
  const low = to.step(BPF.LD, lowOffset(c), to.branch(op, c.lo, yes, no));
  if (c.isNarrow) return low;
  const tie = to.branch(BPF.JEQ, c.hi, low, no);
  return to.step(BPF.LD, highOffset(c), to.branch(BPF.JGT, c.hi, yes, tie));
}

function lowOffset(c: Comparison): number {
  return DATA.ARGS + 8 * c.index;
}

function highOffset(c: Comparison): number {
  return lowOffset(c) + 4;
}

function halves(value: number | bigint): readonly [hi: number, lo: number] {
  if (typeof value === "bigint") {
    if (value < 0n || value > MAX_U64) throw profileError(`${value} does not fit an argument of 64 bits`);
    return [Number(value >> 32n), Number(value & 0xffff_ffffn)];
  }
  if (!Number.isSafeInteger(value) || value < 0)
    throw profileError(`${value} is not a whole number from 0 to 2^53 (write larger ones as bigint)`);
  return [Math.floor(value / 2 ** 32), value >>> 0];
}
