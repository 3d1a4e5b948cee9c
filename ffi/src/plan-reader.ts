import { allNumbers, type SyscallName } from "./nr.ts";
import { BUILTIN, type BuiltinName, HEADER_BYTES, planHeader, STEP_BYTES } from "./plan.ts";

/** One step of an encoded plan, as words can be made of it. */
export interface ReadStep {
  readonly name: SyscallName | BuiltinName;
  /** Numbers as they are; addresses as the string that lies there, arrays of addresses as such; registers as "r0", "r1", … */
  readonly args: readonly (number | string | string[])[];
  readonly tag: number;
}

/**
 * Reads a step back, to say what failed. The plan may come from the trampoline's
 * memfd, which holds it as it was encoded: relocation happens in a private mapping.
 *
 * @throws {RangeError} When there is no such step.
 */
export function readStep(plan: Uint8Array, index: number): ReadStep {
  const header = planHeader.decode(plan);
  if (index < 0 || index >= header.steps) throw new RangeError(`The plan has no step ${index}`);
  const view = new DataView(plan.buffer, plan.byteOffset + HEADER_BYTES + index * STEP_BYTES, STEP_BYTES);
  const pointers = view.getUint8(2);
  const registers = view.getUint8(3);
  const name = nameOf(view.getUint16(0, true));
  const args = [0, 1, 2, 3, 4, 5].map((k) => {
    const value = Number(view.getBigInt64(8 + k * 8, true));
    if ((name === "exec" || name === "lookup") && (pointers >> k) & 1) return textsAt(plan, header.data, value);
    if ((registers >> k) & 1) return `r${value}`;
    return (pointers >> k) & 1 ? textAt(plan, header.data + value) : value;
  });
  return { name, args, tag: view.getUint8(5) >> 2 };
}

function textAt(plan: Uint8Array, offset: number): string {
  const end = plan.indexOf(0, offset);
  return new TextDecoder().decode(plan.subarray(offset, end === -1 ? plan.length : end));
}

/** The strings of an array that ends with a zero; its entries are offsets in the plan's data. */
function textsAt(plan: Uint8Array, data: number, offset: number): string[] {
  const view = new DataView(plan.buffer, plan.byteOffset, plan.length);
  const texts: string[] = [];
  for (let at = data + offset; at + 8 <= plan.length; at += 8) {
    const place = view.getUint32(at, true);
    if (place === 0) break;
    texts.push(textAt(plan, data + place));
  }
  return texts;
}

function nameOf(nr: number): SyscallName | BuiltinName {
  const entry =
    Object.entries(BUILTIN).find(([, value]) => value === nr) ?? allNumbers().find(([, value]) => value === nr);
  if (entry === undefined) throw new RangeError(`There is no system call ${nr}`);
  return entry[0] as SyscallName | BuiltinName;
}
