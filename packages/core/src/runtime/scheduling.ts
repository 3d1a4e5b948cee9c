/** How a process is scheduled: its policy, its I/O priority, its CPUs, its memory nodes, its personality. */
import { BoxError, type Steps } from "@bantubox/ffi";
import type { Build } from "./build.ts";
import { parseMask } from "./lists.ts";
import type { Linux, MemoryPolicy, Process, Scheduler } from "./spec.ts";
import { TAG } from "./tags.ts";

/** SCHED_*, <linux/sched.h>. ISO is a number that no kernel has taken so far. */
const POLICIES: Readonly<Record<string, number>> = {
  SCHED_OTHER: 0,
  SCHED_FIFO: 1,
  SCHED_RR: 2,
  SCHED_BATCH: 3,
  SCHED_ISO: 4,
  SCHED_IDLE: 5,
  SCHED_DEADLINE: 6,
};

/** SCHED_FLAG_*, <linux/sched.h>. */
const SCHEDULER_FLAGS: Readonly<Record<string, number>> = {
  SCHED_FLAG_RESET_ON_FORK: 0x01,
  SCHED_FLAG_RECLAIM: 0x02,
  SCHED_FLAG_DL_OVERRUN: 0x04,
  SCHED_FLAG_KEEP_POLICY: 0x08,
  SCHED_FLAG_KEEP_PARAMS: 0x10,
  SCHED_FLAG_UTIL_CLAMP_MIN: 0x20,
  SCHED_FLAG_UTIL_CLAMP_MAX: 0x40,
};

/** <linux/ioprio.h> */
const IO_CLASSES: Readonly<Record<string, number>> = { IOPRIO_CLASS_RT: 1, IOPRIO_CLASS_BE: 2, IOPRIO_CLASS_IDLE: 3 };
const IOPRIO_WHO_PROCESS = 1;
const IOPRIO_CLASS_SHIFT = 13;

/** <linux/mempolicy.h> */
const MEMORY_MODES: Readonly<Record<string, number>> = {
  MPOL_DEFAULT: 0,
  MPOL_PREFERRED: 1,
  MPOL_BIND: 2,
  MPOL_INTERLEAVE: 3,
  MPOL_LOCAL: 4,
  MPOL_PREFERRED_MANY: 5,
  MPOL_WEIGHTED_INTERLEAVE: 6,
};
const MEMORY_FLAGS: Readonly<Record<string, number>> = {
  MPOL_F_NUMA_BALANCING: 1 << 13,
  MPOL_F_RELATIVE_NODES: 1 << 14,
  MPOL_F_STATIC_NODES: 1 << 15,
};

/** <linux/personality.h> */
const PERSONALITIES: Readonly<Record<string, number>> = { LINUX: 0, LINUX32: 8 };

/** struct sched_attr up to sched_period: SCHED_ATTR_SIZE_VER0. */
const SCHED_ATTR_BYTES = 48;

/** @throws {BoxError} `bad-scheduling`, `bad-list` */
export function checkScheduling({ scheduler, ioPriority, execCPUAffinity }: Process): void {
  if (scheduler !== undefined) checkScheduler(scheduler);
  if (ioPriority !== undefined) ioPriorityValue(ioPriority);
  for (const list of [execCPUAffinity?.initial, execCPUAffinity?.final]) {
    if (list) parseMask("process.execCPUAffinity", list);
  }
}

/** @throws {BoxError} `bad-scheduling`, `bad-list` */
export function checkMemoryPolicy(policy: MemoryPolicy): void {
  memoryPolicyOf(policy);
}

/** @throws {BoxError} `bad-scheduling` */
export function checkPersonality(personality: NonNullable<Linux["personality"]>): void {
  personalityOf(personality);
}

/** Adds the steps, which come while the process still has its privileges. What it forks has it all from it. */
export function setScheduling(build: Build, steps: Steps, process: Process, linux?: Linux): void {
  if (linux?.memoryPolicy !== undefined) setMemoryPolicy(build, steps, linux.memoryPolicy);
  if (linux?.personality !== undefined) {
    steps.sys("personality", personalityOf(linux.personality)).tag(TAG.SCHEDULING);
  }
  const { ioPriority, scheduler } = process;
  if (ioPriority !== undefined) {
    steps.sys("ioprio_set", IOPRIO_WHO_PROCESS, 0, ioPriorityValue(ioPriority)).tag(TAG.SCHEDULING);
  }
  if (scheduler !== undefined) {
    steps.sys("sched_setattr", 0, build.plan.bytes(schedulerAttributes(scheduler)), 0).tag(TAG.SCHEDULING);
  }
}

/** Keeps the process to some CPUs. @param list As in `execCPUAffinity`; nothing is done for none. */
export function setAffinity({ plan }: Build, steps: Steps, list: string | undefined): void {
  if (!list) return;
  const mask = parseMask("process.execCPUAffinity", list);
  steps.sys("sched_setaffinity", 0, mask.length, plan.bytes(mask)).tag(TAG.SCHEDULING);
}

function checkScheduler({ policy, nice = 0, priority = 0, flags = [], runtime, deadline, period }: Scheduler): void {
  if (!Object.hasOwn(POLICIES, policy)) throw unknown("scheduler.policy", policy);
  for (const name of flags) if (!Object.hasOwn(SCHEDULER_FLAGS, name)) throw unknown("scheduler.flags", name);
  if (nice < -20 || nice > 19) throw bad("scheduler.nice", nice, "it must be from -20 to 19");
  const isRealTime = policy === "SCHED_FIFO" || policy === "SCHED_RR";
  if (priority !== 0 && !isRealTime) {
    throw bad("scheduler.priority", priority, "only SCHED_FIFO and SCHED_RR have one");
  }
  if (isRealTime && (priority < 1 || priority > 99)) {
    throw bad("scheduler.priority", priority, `it must be from 1 to 99 for ${policy}`);
  }
  if (policy === "SCHED_DEADLINE") return;
  for (const [name, value] of Object.entries({ runtime, deadline, period })) {
    if (value) throw bad(`scheduler.${name}`, value, "only SCHED_DEADLINE has one");
  }
}

function schedulerAttributes(scheduler: Scheduler): Uint8Array<ArrayBuffer> {
  const { policy, nice = 0, priority = 0, flags = [], runtime = 0, deadline = 0, period = 0 } = scheduler;
  const bytes = new Uint8Array(new ArrayBuffer(SCHED_ATTR_BYTES));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, SCHED_ATTR_BYTES, true);
  view.setUint32(4, POLICIES[policy] ?? 0, true);
  view.setUint32(
    8,
    flags.reduce((sum, name) => sum | (SCHEDULER_FLAGS[name] ?? 0), 0),
    true,
  );
  view.setInt32(16, nice, true);
  view.setUint32(20, priority, true);
  view.setBigUint64(24, BigInt(runtime), true);
  view.setBigUint64(32, BigInt(deadline), true);
  view.setBigUint64(40, BigInt(period), true);
  return bytes;
}

function ioPriorityValue({ class: name, priority = 0 }: NonNullable<Process["ioPriority"]>): number {
  const value = Object.hasOwn(IO_CLASSES, name) ? IO_CLASSES[name] : undefined;
  if (value === undefined) throw unknown("ioPriority.class", name);
  if (priority < 0 || priority > 7) throw bad("ioPriority.priority", priority, "it must be from 0 to 7");
  return (value << IOPRIO_CLASS_SHIFT) | priority;
}

function memoryPolicyOf({ mode, nodes, flags = [] }: MemoryPolicy): { mode: number; mask: Uint8Array | undefined } {
  const value = Object.hasOwn(MEMORY_MODES, mode) ? MEMORY_MODES[mode] : undefined;
  if (value === undefined) throw unknown("memoryPolicy.mode", mode);
  let bits = value;
  for (const name of flags) {
    const flag = Object.hasOwn(MEMORY_FLAGS, name) ? MEMORY_FLAGS[name] : undefined;
    if (flag === undefined) throw unknown("memoryPolicy.flags", name);
    bits |= flag;
  }
  const needsNone = mode === "MPOL_DEFAULT" || mode === "MPOL_LOCAL";
  if (needsNone && nodes) throw bad("memoryPolicy.nodes", nodes, `${mode} takes none`);
  if (!needsNone && mode !== "MPOL_PREFERRED" && !nodes) {
    throw bad("memoryPolicy.nodes", nodes ?? "", `${mode} needs at least one`);
  }
  return { mode: bits, mask: nodes ? parseMask("memoryPolicy.nodes", nodes) : undefined };
}

function setMemoryPolicy({ plan }: Build, steps: Steps, policy: MemoryPolicy): void {
  const { mode, mask } = memoryPolicyOf(policy);
  // The kernel takes one bit less than it is told.
  const bits = mask === undefined ? 0 : mask.length * 8 + 1;
  steps.sys("set_mempolicy", mode, mask === undefined ? null : plan.bytes(mask), bits).tag(TAG.SCHEDULING);
}

function personalityOf({ domain, flags = [] }: NonNullable<Linux["personality"]>): number {
  const value = Object.hasOwn(PERSONALITIES, domain) ? PERSONALITIES[domain] : undefined;
  if (value === undefined) throw unknown("personality.domain", domain);
  if (flags.length > 0) throw bad("personality.flags", flags, "none are defined");
  return value;
}

function unknown(name: string, value: string): BoxError {
  return bad(name, value, "there is none of that name");
}

function bad(name: string, value: unknown, state: string): BoxError {
  return new BoxError("bad-scheduling", `Cannot set "${name}" to ${JSON.stringify(value)}: ${state}`);
}
