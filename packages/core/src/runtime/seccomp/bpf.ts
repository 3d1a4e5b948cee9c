/**
 * An assembler for classic BPF that works from the last instruction to the first.
 *
 * BPF jumps only forward, so each target is already in place when the jump to
 * it is written, and its distance is known at once. A label is the number of
 * instructions from the end of the program, which never changes.
 */
import { BoxError } from "@bantubox/ffi";

/** Opcodes of <linux/bpf_common.h>, those that the kernel's seccomp verifier accepts and we need. */
export const BPF = {
  /** A = 32 bits of struct seccomp_data at k. */
  LD: 0x20,
  /** A &= k */
  AND: 0x54,
  JA: 0x05,
  JEQ: 0x15,
  JGT: 0x25,
  JGE: 0x35,
  JSET: 0x45,
  RET: 0x06,
} as const;

/** Offsets in struct seccomp_data, <linux/seccomp.h>. Both our architectures are little-endian. */
export const DATA = { NR: 0, ARCH: 4, ARGS: 16 } as const;

/** BPF_MAXINSNS: the kernel takes no longer program. */
const MAX_INSTRUCTIONS = 4096;

const INSTRUCTION_BYTES = 8;

// Reach of a conditional jump is 255. One less, because putting the other
// branch of the same jump in reach may insert one more instruction.
const REACH = 254;

/** A place in the program to jump to. */
export type Label = number;

export interface Assembler {
  /** Leaves the filter with `action`. Programs share one copy as far as jumps reach. */
  readonly ret: (action: number) => Label;
  /** Goes to `next` after `op` (LD or AND). */
  readonly step: (op: number, k: number, next: Label) => Label;
  /** Goes to `yes` or `no` by comparing A with `k`. */
  readonly branch: (op: number, k: number, yes: Label, no: Label) => Label;
  /** The program with `entry` as its first instruction, an array of struct sock_filter. */
  readonly finish: (entry: Label) => Uint8Array;
}

export function assembler(): Assembler {
  const codes: number[] = [];
  const operands: number[] = [];
  const returns = new Map<number, Label>();

  function push(code: number, k: number): Label {
    codes.push(code);
    operands.push(k >>> 0);
    return codes.length - 1;
  }

  function near(target: Label): Label {
    if (codes.length - target - 1 <= REACH) return target;
    if (codes[target] === BPF.RET) return ret(operands[target] as number);
    return push(BPF.JA, codes.length - target - 1);
  }

  function ret(action: number): Label {
    const known = returns.get(action);
    if (known !== undefined && codes.length - known - 1 <= REACH) return known;
    const label = push(BPF.RET, action);
    returns.set(action, label);
    return label;
  }

  function step(op: number, k: number, next: Label): Label {
    // No jump in a LD or AND: what follows must be `next` itself.
    if (next !== codes.length - 1) {
      if (codes[next] === BPF.RET) push(BPF.RET, operands[next] as number);
      else push(BPF.JA, codes.length - next - 1);
    }
    return push(op, k);
  }

  function branch(op: number, k: number, yes: Label, no: Label): Label {
    if (yes === no) return yes;
    const far = near(no);
    const close = near(yes);
    const here = codes.length;
    return push(op | ((here - close - 1) << 16) | ((here - far - 1) << 24), k);
  }

  function finish(entry: Label): Uint8Array {
    if (entry !== codes.length - 1) push(BPF.JA, codes.length - entry - 1);
    const count = codes.length;
    if (count > MAX_INSTRUCTIONS)
      throw new BoxError(
        "seccomp-too-long",
        `Cannot compile the seccomp profile: it takes ${count} instructions, and the kernel accepts ${MAX_INSTRUCTIONS}`,
        { hint: "Use fewer rules with arguments" },
      );
    const bytes = new Uint8Array(count * INSTRUCTION_BYTES);
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < count; i++) {
      const offset = (count - 1 - i) * INSTRUCTION_BYTES;
      // struct sock_filter: u16 code, u8 jt, u8 jf, u32 k
      view.setUint32(offset, (codes[i] as number) >>> 0, true);
      view.setUint32(offset + 4, operands[i] as number, true);
    }
    return bytes;
  }

  return { ret, step, branch, finish };
}
