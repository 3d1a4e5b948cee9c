import { BoxError } from "./errors.ts";
import { allocate } from "./memory.ts";
import { numberOf, type SyscallName } from "./nr.ts";
import { struct } from "./struct.ts";

/**
 * The plan: what the trampoline (ffi/c) shall do, as steps. c/plan.h is the contract.
 *
 *     client ── forks ── monitor ── PREPARE ── forks ── CHILD … execve
 *                          │ PARENT, "go" ───────────────┘
 *                          │ EOF of the control socket: it runs; STARTED
 *                          └ EXITED, AFTER, or UNDO when any step failed
 *
 * A plan is built while nothing is cached and no JIT is warm, so this file is
 * plain loops over typed arrays: no BigInt, no closures per step.
 */

/** Who carries a section out, and when; enum plan_section. */
export const SECTION = { PREPARE: 0, CHILD: 1, PARENT: 2, EXITED: 3, UNDO: 4, INNER: 5, AFTER: 6, STARTED: 7 } as const;

/** PLAN_MAX_BYTES of c/plan.h. */
const MAX_BYTES = 16 << 20;

/** enum plan_builtin: steps that are more than one system call. */
export const BUILTIN = {
  fork: 0x8000,
  waitGo: 0x8001,
  sendFd: 0x8002,
  load32: 0x8003,
  store32: 0x8004,
  writeFile: 0x8005,
  netlink: 0x8006,
  exec: 0x8007,
  recordStart: 0x8008,
  recordExit: 0x8009,
  removeTree: 0x800a,
  checkCwd: 0x800b,
  checkFs: 0x800c,
  reap: 0x800d,
  exit: 0x800e,
  checkType: 0x800f,
  target: 0x8010,
  mask: 0x8011,
  dropBounding: 0x8012,
  sendChild: 0x8013,
  closeOthers: 0x8014,
  passFd: 0x8015,
  meet: 0x8016,
  hold: 0x8017,
  hook: 0x8018,
  storePid: 0x8019,
  writePid: 0x801a,
  lookup: 0x801b,
  userNamespace: 0x801c,
  copyUp: 0x801d,
  home: 0x801e,
  criu: 0x801f,
  removeGroup: 0x8020,
} as const;
/** What `copyUp` copies: COPY_* of c/plan.h. */
export const COPY = { MODE: 1, TREE: 2 } as const;
export type BuiltinName = keyof typeof BUILTIN;

/** MONITOR_* of c/plan.h. */
export const MONITOR = {
  TTY: 0x1,
  STDIN: 0x2,
  ATTACH: 0x4,
  DETACH: 0x8,
  LOG: 0x10,
  CLIENT_ONLY: 0x20,
  STDIN_ONCE: 0x40,
  EXEC: 0x80,
  LEAVE: 0x100,
  STAGED: 0x200,
  RESTORED: 0x400,
} as const;

/** HOOK_STATUS of c/plan.h: an error above it is the status of a hook. */
export const HOOK_STATUS = 0x400;

export const PLAN_REGS = 64;
const NO_REG = 0xff;
const STEP_WORDS = 14;
export const STEP_BYTES = STEP_WORDS * 4;
const MAGIC = 0x4e4c5042;
const VERSION = 1;

/** A place that carries a descriptor or a pid from one step to the next. */
export class Reg {
  readonly index: number;
  constructor(index: number) {
    if (!Number.isInteger(index) || index < 0 || index >= PLAN_REGS - 1) {
      throw new RangeError(`There is no register ${index}`);
    }
    this.index = index;
  }

  /** The neighbour: a fork leaves the pidfd there. */
  next(): Reg {
    return new Reg(this.index + 1);
  }
}

/** Bytes inside the plan, by their offset; the trampoline sees their address. */
export class Place {
  readonly offset: number;
  constructor(offset: number) {
    this.offset = offset;
  }
}

/** What a step's argument may be: a string becomes the address of its bytes, null is 0. */
export type StepArg = number | string | Reg | Place | null;

/** struct plan_monitor */
export const planMonitor = struct({
  flags: "u32",
  stdinReg: "u8",
  stdoutReg: "u8",
  stderrReg: "u8",
  listenReg: "u8",
  logDirReg: "u8",
  pidReg: "u8",
  connectionReg: "u8",
  logFiles: "u8",
  outputFd: "i32",
  logBytes: "u64",
  reportFd: "i32",
  rows: "u16",
  columns: "u16",
  failed: "u64",
  exited: "u64",
  environment: "u64",
  detachKeys: "u64",
});

/** struct plan_header up to its sections */
export const planHeader = struct({
  magic: "u32",
  version: "u32",
  bytes: "u32",
  steps: "u32",
  data: "u32",
  relocations: "u32",
  relocationCount: "u32",
  _pad: "u32",
});

const SECTION_COUNT = 8;
export const MONITOR_OFFSET = planHeader.size + SECTION_COUNT * 8;
export const HEADER_BYTES = MONITOR_OFFSET + planMonitor.size;

/** How the monitor and the client behave; unset registers are unused. */
export interface MonitorOptions {
  readonly flags: number;
  readonly stdin?: Reg | undefined;
  readonly stdout?: Reg | undefined;
  readonly stderr?: Reg | undefined;
  readonly listen?: Reg | undefined;
  readonly logDir?: Reg | undefined;
  readonly pid: Reg;
  readonly connection?: Reg | undefined;
  readonly logBytes?: number;
  readonly logFiles?: number;
  /** Where hooks print, which `failed` inherits. */
  readonly outputFd?: number | undefined;
  /** Where struct plan_report goes; without it the client executes `failed`. */
  readonly reportFd?: number | undefined;
  readonly rows?: number;
  readonly columns?: number;
  readonly failed?: Place | undefined;
  readonly exited?: Place | undefined;
  readonly environment?: Place | undefined;
  /** At most 7 bytes, pressed one after the other. */
  readonly detachKeys?: readonly number[];
}

/** The steps of one section. */
export class Steps {
  #words = new Uint32Array(64 * STEP_WORDS);
  count = 0;
  readonly #plan: Plan;

  constructor(plan: Plan) {
    this.#plan = plan;
  }

  get words(): Uint32Array {
    return this.#words.subarray(0, this.count * STEP_WORDS);
  }

  /** Adds one system call. */
  sys(name: SyscallName, ...args: readonly StepArg[]): this {
    return this.#add(numberOf(name), args);
  }

  /** Adds one builtin; its arguments stand in c/plan.h. */
  builtin(name: BuiltinName, ...args: readonly StepArg[]): this {
    return this.#add(BUILTIN[name], args);
  }

  /** The last step's result goes into `reg`. */
  into(reg: Reg): this {
    const at = this.#last();
    this.#words[at + 1] = ((this.#words[at + 1] as number) & ~0xff) | (reg.index + 1);
    return this;
  }

  /** Any errno of the last step is passed over. */
  ignore(): this {
    const at = this.#last();
    this.#words[at + 1] = (this.#words[at + 1] as number) | (1 << 8);
    return this;
  }

  /** This errno of the last step is no failure; `skip` more steps are then passed over. */
  tolerate(errno: number, skip = 0): this {
    if (skip > 255) throw new RangeError(`A step cannot skip ${skip} others`);
    const at = this.#last();
    this.#words[at + 1] = ((this.#words[at + 1] as number) & 0xffff) | (errno << 16) | (skip << 24);
    return this;
  }

  /** Says what the last step is for, where its call and arguments do not tell (0..63). */
  tag(tag: number): this {
    const at = this.#last();
    this.#words[at + 1] = ((this.#words[at + 1] as number) & ~0xfc00) | (tag << 10);
    return this;
  }

  #last(): number {
    return (this.count - 1) * STEP_WORDS;
  }

  #add(nr: number, args: readonly StepArg[]): this {
    const at = this.count * STEP_WORDS;
    if (at === this.#words.length) {
      const grown = new Uint32Array(at * 2);
      grown.set(this.#words);
      this.#words = grown;
    }
    const words = this.#words;
    let pointers = 0;
    let registers = 0;
    for (let k = 0; k < args.length; k++) {
      const arg = args[k] ?? 0;
      const slot = at + 2 + k * 2;
      if (typeof arg === "number") {
        words[slot] = arg;
        words[slot + 1] = Math.floor(arg / 0x1_0000_0000);
      } else if (typeof arg === "string") {
        pointers |= 1 << k;
        words[slot] = this.#plan.text(arg).offset;
      } else if (arg instanceof Reg) {
        registers |= 1 << k;
        words[slot] = arg.index;
      } else {
        pointers |= 1 << k;
        words[slot] = arg.offset;
      }
    }
    words[at] = nr | (pointers << 16) | (registers << 24);
    this.count++;
    return this;
  }
}

const encoder = new TextEncoder();

/** A plan while it is written: the sections of steps, and the data that they point into. */
export class Plan {
  readonly prepare = new Steps(this);
  readonly child = new Steps(this);
  readonly parent = new Steps(this);
  readonly exited = new Steps(this);
  readonly undo = new Steps(this);
  readonly inner = new Steps(this);
  readonly after = new Steps(this);
  readonly started = new Steps(this);
  // The first eight bytes stay zero: offset 0 means "none" in the header.
  #data = new Uint8Array(16384);
  #end = 8;
  readonly #texts = new Map<string, Place>();
  readonly #slots: number[] = [];
  #registers = 0;

  /** A register of its own, or two neighbours (a fork fills the pid and, in the next, the pidfd): the first is returned. */
  register(count: 1 | 2 = 1): Reg {
    const reg = new Reg(this.#registers);
    this.#registers += count;
    return reg;
  }

  /** A string, kept once however often it is used. @throws {BoxError} When it holds a NUL. */
  text(text: string): Place {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    if (text.includes("\0")) {
      throw new BoxError("bad-string", `Cannot pass ${JSON.stringify(text)} to the kernel: it holds a NUL`);
    }
    const offset = this.#reserve(text.length * 3 + 1);
    const { written } = encoder.encodeInto(text, this.#data.subarray(offset));
    this.#end = offset + written + 1;
    const place = new Place(offset);
    this.#texts.set(text, place);
    return place;
  }

  /** Bytes as they are; eight-byte aligned, as kernel structs want it. */
  bytes(bytes: Uint8Array): Place {
    const place = this.space(bytes.length);
    this.#data.set(bytes, place.offset);
    return place;
  }

  /** Zeroed room that a step fills, such as pipe2's two descriptors. */
  space(bytes: number): Place {
    this.#end = (this.#end + 7) & ~7;
    const offset = this.#reserve(bytes);
    this.#end = offset + bytes;
    return new Place(offset);
  }

  /** argv or envp: addresses of strings, and of what else ends with a zero byte; ended by null. */
  strings(texts: readonly string[], ...more: readonly Place[]): Place {
    const places = [...texts.map((text) => this.text(text)), ...more];
    const array = this.space((places.length + 1) * 8);
    const view = new DataView(this.#data.buffer);
    for (let i = 0; i < places.length; i++) {
      view.setUint32(array.offset + i * 8, (places[i] as Place).offset, true);
      this.#slots.push(array.offset + i * 8);
    }
    return array;
  }

  /** A place inside another, such as the second descriptor that pipe2 writes. */
  within(place: Place, offset: number): Place {
    return new Place(place.offset + offset);
  }

  /** A 32-bit field of a struct that is built in the plan. */
  write32(at: Place, offset: number, value: number): void {
    new DataView(this.#data.buffer).setUint32(at.offset + offset, value, true);
  }

  /** A 16-bit field of a struct that is built in the plan. */
  write16(at: Place, offset: number, value: number): void {
    new DataView(this.#data.buffer).setUint16(at.offset + offset, value, true);
  }

  /** An address inside a struct of the plan's data, for calls that take structs with pointers (msghdr, sock_fprog, bpf_attr). */
  pointer(at: Place, offset: number, to: Place): void {
    new DataView(this.#data.buffer).setUint32(at.offset + offset, to.offset, true);
    this.#slots.push(at.offset + offset);
  }

  /** The whole plan as c/plan.h has it. @throws {BoxError} `plan-too-large` */
  encode(monitor: MonitorOptions): Uint8Array<ArrayBuffer> {
    const sections = [
      this.prepare,
      this.child,
      this.parent,
      this.exited,
      this.undo,
      this.inner,
      this.after,
      this.started,
    ];
    let steps = 0;
    for (const section of sections) steps += section.count;
    const relocations = this.space(this.#slots.length * 4 + 1);
    const table = new DataView(this.#data.buffer);
    this.#slots.forEach((slot, i) => {
      table.setUint32(relocations.offset + i * 4, slot, true);
    });

    const dataOffset = HEADER_BYTES + steps * STEP_BYTES;
    const bytes = dataOffset + this.#end;
    if (bytes > MAX_BYTES) {
      throw new BoxError(
        "plan-too-large",
        `Cannot start it: what it is made of takes ${bytes >>> 20} MiB, and 16 are allowed`,
        {
          hint: "Use fewer or shorter arguments, variables and mounts",
        },
      );
    }
    const plan = allocate(bytes);
    planHeader.encodeInto(plan, 0, {
      magic: MAGIC,
      version: VERSION,
      bytes,
      steps,
      data: dataOffset,
      relocations: relocations.offset,
      relocationCount: this.#slots.length,
    });
    const ranges = new Uint32Array(plan.buffer, planHeader.size, SECTION_COUNT * 2);
    let first = 0;
    sections.forEach((section, i) => {
      ranges[i * 2] = first;
      ranges[i * 2 + 1] = section.count;
      new Uint32Array(plan.buffer, HEADER_BYTES + first * STEP_BYTES, section.words.length).set(section.words);
      first += section.count;
    });
    writeMonitor(plan, monitor);
    plan.set(this.#data.subarray(0, this.#end), dataOffset);
    return plan;
  }

  /** Makes room for `bytes` more and says where they begin. */
  #reserve(bytes: number): number {
    const offset = this.#end;
    if (offset + bytes > this.#data.length) {
      const grown = new Uint8Array(Math.max(this.#data.length * 2, offset + bytes));
      grown.set(this.#data);
      this.#data = grown;
    }
    return offset;
  }
}

function writeMonitor(plan: Uint8Array, options: MonitorOptions): void {
  let keys = 0n;
  (options.detachKeys ?? []).forEach((key, i) => {
    if (i >= 7) throw new RangeError("At most seven detach keys");
    keys |= BigInt(key) << BigInt(8 * i);
  });
  planMonitor.encodeInto(plan, MONITOR_OFFSET, {
    flags: options.flags,
    stdinReg: options.stdin?.index ?? NO_REG,
    stdoutReg: options.stdout?.index ?? NO_REG,
    stderrReg: options.stderr?.index ?? NO_REG,
    listenReg: options.listen?.index ?? NO_REG,
    logDirReg: options.logDir?.index ?? NO_REG,
    pidReg: options.pid.index,
    connectionReg: options.connection?.index ?? NO_REG,
    logFiles: options.logFiles ?? 1,
    logBytes: BigInt(options.logBytes ?? 0),
    outputFd: options.outputFd ?? -1,
    reportFd: options.reportFd ?? -1,
    rows: options.rows ?? 0,
    columns: options.columns ?? 0,
    failed: BigInt(options.failed?.offset ?? 0),
    exited: BigInt(options.exited?.offset ?? 0),
    environment: BigInt(options.environment?.offset ?? 0),
    detachKeys: keys,
  });
}
