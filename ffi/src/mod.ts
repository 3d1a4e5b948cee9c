export { type Arg, attempt, call, close } from "./call.ts";
export { ERRNO, errnoName, isErrno, SysError } from "./errno.ts";
export { BoxError, type BoxErrorOptions } from "./errors.ts";
export { Fd } from "./fd.ts";
export {
  AT,
  CLONE,
  FS_MAGIC,
  MNT_DETACH,
  MOUNT_ATTR,
  MOVE_MOUNT,
  MS,
  O,
  OPEN_TREE,
  PR,
  RESOLVE,
  RLIMIT,
  S_IF,
  SIGNALS,
  TIOC,
} from "./flags.ts";
export {
  existsSync,
  isDirectory,
  mkdirSync,
  nodeFs,
  readDescriptor,
  readIfThere,
  readLinesWith,
  readTextSync,
  type Stat,
  statDescriptor,
  statIfThere,
  writeNewSync,
} from "./fs.ts";
export { addressOf, allocate, cstr } from "./memory.ts";
export { numberOf, type SyscallName } from "./nr.ts";
export { COPY, HOOK_STATUS, MONITOR, type MonitorOptions, Place, Plan, Reg, SECTION, type Steps } from "./plan.ts";
export { type ReadStep, readStep } from "./plan-reader.ts";
export { removeTree } from "./remove-tree.ts";
export { type Struct, struct } from "./struct.ts";
export { becomeTrampoline, openPlan, openTrampoline } from "./trampoline.ts";
