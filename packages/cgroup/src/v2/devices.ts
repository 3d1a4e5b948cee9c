import { AT, addressOf, allocate, call, close, cstr, O } from "@bantubox/ffi";
import { ACCESS, type DevicePolicy } from "../devices.ts";

/** bpf(2)'s commands and constants that we use, <linux/bpf.h>. */
const BPF = {
  PROG_LOAD: 5,
  PROG_ATTACH: 8,
  PROG_TYPE_CGROUP_DEVICE: 15,
  ATTACH_TYPE_CGROUP_DEVICE: 6,
  F_ALLOW_MULTI: 2,
  DEVCG_DEV_BLOCK: 1,
  DEVCG_DEV_CHAR: 2,
} as const;

/** Opcodes: class, operation and source in one byte, <linux/bpf_common.h>. */
const OP = { LDXW: 0x61, MOV: 0xb7, AND: 0x57, RSH: 0x77, JA: 0x05, JNE: 0x55, JSET: 0x45, EXIT: 0x95 } as const;

const RESULT = 0;
const CONTEXT = 1;
const TYPE = 2;
const RIGHTS = 3;
const MAJOR = 4;
const MINOR = 5;

/** What PROG_LOAD and PROG_ATTACH read of union bpf_attr: up to prog_flags, and up to attach_flags. */
const LOAD_BYTES = 48;
const ATTACH_BYTES = 16;

/**
 * `policy` as the instructions of a BPF_PROG_TYPE_CGROUP_DEVICE program; undefined when everything is allowed.
 *
 * The last rule decides, so the program asks from the last to the first, and
 * keeps in a register which of the rights asked for are not granted yet.
 */
export function compileDevices({ allowed, rules }: DevicePolicy): Uint8Array<ArrayBuffer> | undefined {
  if (allowed && rules.length === 0) return undefined;
  const program = new Program((8 + rules.length * 8) * 8);
  // struct bpf_cgroup_dev_ctx: access << 16 | type, major, minor
  program.add(OP.LDXW, TYPE, CONTEXT, 0, 0);
  program.add(OP.AND, TYPE, 0, 0, 0xffff);
  program.add(OP.LDXW, RIGHTS, CONTEXT, 0, 0);
  program.add(OP.RSH, RIGHTS, 0, 0, 16);
  program.add(OP.LDXW, MAJOR, CONTEXT, 4, 0);
  program.add(OP.LDXW, MINOR, CONTEXT, 8, 0);
  for (const { allow, type, major, minor, access } of rules.toReversed()) {
    const all = access === ACCESS.all;
    // How many instructions are left of this rule: what a comparison skips when the device is another one.
    let left = (major === -1 ? 0 : 1) + (minor === -1 ? 0 : 1) + (all ? 2 : 4);
    program.add(OP.JNE, TYPE, 0, left, type === "b" ? BPF.DEVCG_DEV_BLOCK : BPF.DEVCG_DEV_CHAR);
    if (major !== -1) program.add(OP.JNE, MAJOR, 0, --left, major);
    if (minor !== -1) program.add(OP.JNE, MINOR, 0, --left, minor);
    if (!all && allow) {
      program.add(OP.AND, RIGHTS, 0, 0, ACCESS.all & ~access);
      program.add(OP.JNE, RIGHTS, 0, 2, 0);
    } else if (!all) {
      program.add(OP.JSET, RIGHTS, 0, 1, access);
      program.add(OP.JA, 0, 0, 2, 0);
    }
    program.answer(allow);
  }
  program.answer(allowed);
  return program.bytes();
}

/** Instructions of 8 bytes: struct bpf_insn, <linux/bpf.h>. Little-endian on every machine we run on. */
class Program {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  #end = 0;

  constructor(capacity: number) {
    this.#bytes = allocate(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  add(code: number, target: number, source: number, offset: number, immediate: number): void {
    this.#view.setUint8(this.#end, code);
    this.#view.setUint8(this.#end + 1, (source << 4) | target);
    this.#view.setInt16(this.#end + 2, offset, true);
    this.#view.setInt32(this.#end + 4, immediate, true);
    this.#end += 8;
  }

  answer(allow: boolean): void {
    this.add(OP.MOV, RESULT, 0, 0, allow ? 1 : 0);
    this.add(OP.EXIT, 0, 0, 0, 0);
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#end);
  }
}

/**
 * Loads a program that `compileDevices` made, and returns its descriptor.
 *
 * @throws {SysError} `EPERM` without CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN); `EINVAL` without CONFIG_CGROUP_BPF.
 * @see https://man7.org/linux/man-pages/man2/bpf.2.html
 */
export function loadDeviceProgram(program: Uint8Array): number {
  const instructions = allocate(program.length);
  instructions.set(program);
  const license = cstr("MIT");
  const attributes = allocate(LOAD_BYTES);
  const view = new DataView(attributes.buffer);
  view.setUint32(0, BPF.PROG_TYPE_CGROUP_DEVICE, true);
  view.setUint32(4, program.length / 8, true);
  view.setBigUint64(8, BigInt(addressOf(instructions)), true);
  view.setBigUint64(16, BigInt(addressOf(license)), true);
  const fd = call("bpf", "the device rules of a cgroup", BPF.PROG_LOAD, attributes, LOAD_BYTES);
  // The attributes hold addresses only: these two must outlive the call.
  instructions.fill(0);
  license.fill(0);
  return fd;
}

/** Holds the processes of the v2 cgroup `dir` to a program that `compileDevices` made, for as long as `dir` exists. */
export function attachDeviceProgram(dir: string, program: Uint8Array): void {
  const directory = call("openat", `"${dir}"`, AT.FDCWD, cstr(dir), O.RDONLY | O.DIRECTORY | O.CLOEXEC);
  let loaded = -1;
  try {
    loaded = loadDeviceProgram(program);
    const attributes = allocate(ATTACH_BYTES);
    const view = new DataView(attributes.buffer);
    view.setUint32(0, directory, true);
    view.setUint32(4, loaded, true);
    view.setUint32(8, BPF.ATTACH_TYPE_CGROUP_DEVICE, true);
    // Without it, a program that systemd attached further up would make this EPERM.
    view.setUint32(12, BPF.F_ALLOW_MULTI, true);
    call("bpf", `the device rules of ${JSON.stringify(dir)}`, BPF.PROG_ATTACH, attributes, ATTACH_BYTES);
  } finally {
    if (loaded !== -1) close(loaded);
    close(directory);
  }
}
