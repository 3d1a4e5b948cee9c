/** Runs classic BPF as the kernel's seccomp would. Only tests use it. */

const ACCEPTED = new Set([0x20, 0x54, 0x05, 0x15, 0x25, 0x35, 0x45, 0x06]);
const DATA_BYTES = 64;

/** struct seccomp_data without the instruction pointer. */
export interface CallData {
  readonly arch: number;
  readonly nr: number;
  readonly args?: readonly bigint[];
}

export interface Verdict {
  readonly action: number;
  readonly steps: number;
}

/** Throws for what the kernel's checker refuses: unknown opcodes, bad offsets, jumps out of the program, no end. */
export function verify(filter: Uint8Array): void {
  const count = filter.length / 8;
  if (!Number.isInteger(count) || count < 1 || count > 4096) throw new Error(`length ${filter.length}`);
  const view = new DataView(filter.buffer, filter.byteOffset, filter.length);
  for (let pc = 0; pc < count; pc++) {
    const code = view.getUint16(pc * 8, true);
    const jt = view.getUint8(pc * 8 + 2);
    const jf = view.getUint8(pc * 8 + 3);
    const k = view.getUint32(pc * 8 + 4, true);
    if (!ACCEPTED.has(code)) throw new Error(`opcode ${code} at ${pc}`);
    if (code === 0x20 && (k % 4 !== 0 || k >= DATA_BYTES)) throw new Error(`offset ${k} at ${pc}`);
    const reach = code === 0x05 ? k : code === 0x20 || code === 0x54 || code === 0x06 ? 0 : Math.max(jt, jf);
    if (pc + reach + 1 >= count && code !== 0x06) throw new Error(`jump out of the program at ${pc}`);
  }
}

export function interpret(filter: Uint8Array, { arch, nr, args = [] }: CallData): Verdict {
  const data = new DataView(new ArrayBuffer(DATA_BYTES));
  data.setUint32(0, nr, true);
  data.setUint32(4, arch, true);
  args.forEach((arg, index) => {
    data.setBigUint64(16 + 8 * index, arg, true);
  });
  const view = new DataView(filter.buffer, filter.byteOffset, filter.length);
  let a = 0;
  let steps = 0;
  for (let pc = 0; ; pc++) {
    steps++;
    const code = view.getUint16(pc * 8, true);
    const k = view.getUint32(pc * 8 + 4, true);
    const jump = (taken: boolean): void => {
      pc += view.getUint8(pc * 8 + (taken ? 2 : 3));
    };
    switch (code) {
      case 0x20:
        a = data.getUint32(k, true);
        break;
      case 0x54:
        a = (a & k) >>> 0;
        break;
      case 0x05:
        pc += k;
        break;
      case 0x15:
        jump(a === k);
        break;
      case 0x25:
        jump(a > k);
        break;
      case 0x35:
        jump(a >= k);
        break;
      case 0x45:
        jump((a & k) !== 0);
        break;
      case 0x06:
        return { action: k, steps };
      default:
        throw new Error(`opcode ${code} at ${pc}`);
    }
  }
}
