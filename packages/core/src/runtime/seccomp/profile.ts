/** The seccomp part of config.json, as the OCI runtime-spec has it, and what its words mean. */
import { BoxError } from "@bantubox/ffi";

/** @see https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#seccomp */
export interface LinuxSeccomp {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number | undefined;
  /** SCMP_ARCH_*; unset: the native one alone. */
  readonly architectures?: readonly string[] | undefined;
  /** SECCOMP_FILTER_FLAG_*; unset: SPEC_ALLOW, as runc has it. */
  readonly flags?: readonly string[] | undefined;
  readonly listenerPath?: string | undefined;
  readonly listenerMetadata?: string | undefined;
  readonly syscalls?: readonly LinuxSyscall[] | undefined;
}

export interface LinuxSyscall {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number | undefined;
  readonly args?: readonly LinuxSeccompArg[] | undefined;
}

export interface LinuxSeccompArg {
  readonly index: number;
  /** uint64; past 2^53 it has to be a bigint. */
  readonly value: number | bigint;
  /** With SCMP_CMP_MASKED_EQ: what `argument & value` must equal. */
  readonly valueTwo?: number | bigint | undefined;
  readonly op: string;
}

/** The architectures that we compile for, by Bun's names. */
export type SeccompArch = "x64" | "arm64";

/** SECCOMP_RET_* of <linux/seccomp.h>. */
export const RET = {
  KILL_PROCESS: 0x8000_0000,
  KILL_THREAD: 0x0000_0000,
  TRAP: 0x0003_0000,
  ERRNO: 0x0005_0000,
  USER_NOTIF: 0x7fc0_0000,
  TRACE: 0x7ff0_0000,
  LOG: 0x7ffc_0000,
  ALLOW: 0x7fff_0000,
} as const;

export const ACTIONS: Readonly<Record<string, number>> = {
  SCMP_ACT_KILL: RET.KILL_THREAD,
  SCMP_ACT_KILL_THREAD: RET.KILL_THREAD,
  SCMP_ACT_KILL_PROCESS: RET.KILL_PROCESS,
  SCMP_ACT_TRAP: RET.TRAP,
  SCMP_ACT_ERRNO: RET.ERRNO,
  SCMP_ACT_TRACE: RET.TRACE,
  SCMP_ACT_ALLOW: RET.ALLOW,
  SCMP_ACT_LOG: RET.LOG,
  SCMP_ACT_NOTIFY: RET.USER_NOTIF,
};

const TSYNC = 1;
const NEW_LISTENER = 8;
/** Has a meaning for listeners only, and is refused without one. */
const WAIT_KILLABLE_RECV = 32;

/** SECCOMP_FILTER_FLAG_* of <linux/seccomp.h>. */
export const FLAGS: Readonly<Record<string, number>> = {
  SECCOMP_FILTER_FLAG_TSYNC: TSYNC,
  SECCOMP_FILTER_FLAG_LOG: 2,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW: 4,
  SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: WAIT_KILLABLE_RECV,
};

const EPERM = 1;
const MAX_ERRNO = 4095;
const MAX_TRACE_DATA = 0xffff;

/**
 * Gives the value that a filter returns for `action`: SECCOMP_RET_* with its data.
 *
 * @throws {BoxError} `seccomp-profile` for an action that we do not know, an errno out of range, or an errno
 * for an action that has none (the specification wants an error there).
 */
export function actionValue(action: string, errnoRet: number | undefined): number {
  const base = Object.hasOwn(ACTIONS, action) ? ACTIONS[action] : undefined;
  if (base === undefined) throw profileError(`"${action}" is not an action`);
  if (base !== RET.ERRNO && base !== RET.TRACE) {
    if (errnoRet !== undefined) throw profileError(`"${action}" takes no errnoRet`);
    return base;
  }
  const data = errnoRet ?? EPERM;
  const limit = base === RET.ERRNO ? MAX_ERRNO : MAX_TRACE_DATA;
  if (!Number.isInteger(data) || data < 0 || data > limit)
    throw profileError(`errnoRet of "${action}" is ${data}, not in 0 to ${limit}`);
  return base + data;
}

/**
 * Gives the flags of seccomp(2) for `profile`, NEW_LISTENER included where a rule notifies.
 *
 * @throws {BoxError} `seccomp-profile` for a flag that we do not know.
 */
export function seccompFlags(profile: LinuxSeccomp): number {
  let flags = 0;
  for (const name of profile.flags ?? ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]) {
    const flag = Object.hasOwn(FLAGS, name) ? FLAGS[name] : undefined;
    if (flag === undefined) throw profileError(`"${name}" is not a flag`);
    flags |= flag;
  }
  // The process that installs it has one thread, and the kernel will not have TSYNC with a listener.
  if (notifies(profile)) return (flags & ~TSYNC) | NEW_LISTENER;
  return flags & ~WAIT_KILLABLE_RECV;
}

/** Whether somebody is asked about calls. */
export function notifies({ syscalls = [] }: LinuxSeccomp): boolean {
  return syscalls.some(({ action }) => action === "SCMP_ACT_NOTIFY");
}

export function profileError(state: string, cause?: unknown): BoxError {
  return new BoxError("seccomp-profile", `Cannot use the seccomp profile: ${state}`, { cause });
}
