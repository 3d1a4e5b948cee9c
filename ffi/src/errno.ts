import { BoxError } from "./errors.ts";

/** Names by number, from <asm-generic/errno-base.h> and <asm-generic/errno.h>; the same on x64 and arm64. */
const NAMES =
  " EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP 41 ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT 58 EBFONT ENOSTR ENODATA ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE ERFKILL EHWPOISON";

let names: string[] | undefined;

/** Error numbers that code of ours tests for; the rest is only ever shown by name. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  ENOEXEC: 8,
  EBADF: 9,
  ECHILD: 10,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EMFILE: 24,
  ENOTTY: 25,
  ENOSPC: 28,
  EROFS: 30,
  EPIPE: 32,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  EOPNOTSUPP: 95,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
} as const;

/** The kernel's name of a positive error number, such as `ENOENT`; `E<number>` for one without a name. */
export function errnoName(errno: number): string {
  names ??= NAMES.split(" ");
  const name = names[errno];
  return name?.startsWith("E") ? name : `E${errno}`;
}

/** The kernel said no. Has the shape of node:fs's errors (`code`, `errno`, `syscall`), so one check serves both. */
export class SysError extends BoxError {
  override readonly name: string = "SysError";
  /** Positive, as the kernel's headers have it. */
  readonly errno: number;
  readonly syscall: string;

  /** @param subject What the call was about, in words that follow the call's name: a quoted path, mostly. */
  constructor(syscall: string, errno: number, subject?: string) {
    const code = errnoName(errno);
    super(code, `Cannot ${syscall}${subject === undefined ? "" : ` ${subject}`}: ${code}`);
    this.errno = errno;
    this.syscall = syscall;
  }
}

/** Whether `error` is the kernel's, ours or node:fs's, and carries one of `codes`. */
export function isErrno(error: unknown, ...codes: string[]): error is Error & { code: string } {
  return error instanceof Error && "code" in error && typeof error.code === "string" && codes.includes(error.code);
}
