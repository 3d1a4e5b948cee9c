export { type Arg, attempt, call } from "./call.ts";
export { ERRNO, errnoName, isErrno, SysError } from "./errno.ts";
export { BoxError, type BoxErrorOptions } from "./errors.ts";
export { Fd } from "./fd.ts";
export { addressOf, allocate, cstr } from "./memory.ts";
export { NR, type SyscallName } from "./nr.ts";
export { type Struct, struct } from "./struct.ts";
