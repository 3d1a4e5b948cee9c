import { allocate, attempt, BoxError, call, cstr, ERRNO, type Fd, SysError, struct } from "@bantubox/ffi";
import { openDirectory } from "../tree/tree.ts";

/** Of statfs(2), <linux/magic.h>. */
const XFS_MAGIC = 0x58465342;

/** <linux/fs.h>; bits 16 to 29 are the size of the argument. */
const FS_IOC_FSGETXATTR = 0x801c581f;
const FS_IOC_FSSETXATTR = 0x401c5820;
/** What is made in the directory belongs to its project. */
const FS_XFLAG_PROJINHERIT = 0x200;

/** struct fsxattr */
const attributes = struct({
  xflags: "u32",
  extsize: "u32",
  nextents: "u32",
  projid: "u32",
  cowextsize: "u32",
  _pad0: "u32",
  _pad1: "u32",
});

/** struct if_dqblk: limits in KiB, usage in bytes. */
const account = struct({
  hardKiB: "u64",
  softKiB: "u64",
  usedBytes: "u64",
  hardInodes: "u64",
  softInodes: "u64",
  usedInodes: "u64",
  blockTime: "u64",
  inodeTime: "u64",
  valid: "u32",
  _end: "u32",
});

const PROJECT = 2;
/** <linux/quota.h>: a command in the upper bits, whose account it is in the lowest eight. */
const command = (number: number): number => ((number << 8) | PROJECT) >>> 0;
const Q_GETQUOTA = command(0x80_0007);
const Q_SETQUOTA = command(0x80_0008);
const Q_XGETQSTAT = command(0x5805);
const QIF_BLIMITS = 1;
/** Of `qs_flags` in struct fs_quota_stat: limits of projects hold. */
const PDQ_ENFORCED = 0x20;

/**
 * Whether directories can be limited: on XFS that is mounted with `prjquota`. ext4 has projects, too, but does not hold
 * whoever has CAP_SYS_RESOURCE to their limits, and overlay writes as whoever has mounted it.
 */
export function hasProjectQuota(directory: string): boolean {
  using fd = open(directory);
  const status = allocate(120);
  call("fstatfs", JSON.stringify(directory), fd.raw, status);
  if (new DataView(status.buffer).getUint32(0, true) !== XFS_MAGIC) return false;
  if (attempt("quotactl_fd", fd.raw, Q_XGETQSTAT, 0, status) < 0) return false;
  return (new DataView(status.buffer).getUint16(2, true) & PDQ_ENFORCED) !== 0;
}

/**
 * Lets empty directories of one file system grow together by so many bytes. Their project's account stays when they are
 * gone, and is another's as soon as nothing is in it.
 *
 * @throws {SysError} of ioctl_xfs_fsgetxattr(2) and quotactl(2).
 */
export function limitDirectories(directories: readonly string[], bytes: number): void {
  let project: number | undefined;
  for (const directory of directories) {
    using fd = open(directory);
    if (project === undefined) {
      project = freeProject(fd.raw);
      const limit = account.encode({ hardKiB: BigInt(Math.ceil(bytes / 1024)), valid: QIF_BLIMITS });
      call("quotactl_fd", "the limit of a project", fd.raw, Q_SETQUOTA, project, limit);
    }
    const now = allocate(attributes.size);
    call("ioctl", JSON.stringify(directory), fd.raw, FS_IOC_FSGETXATTR, now);
    const { xflags, ...rest } = attributes.decode(now);
    const belongs = attributes.encode({ ...rest, xflags: (xflags | FS_XFLAG_PROJINHERIT) >>> 0, projid: project });
    call("ioctl", JSON.stringify(directory), fd.raw, FS_IOC_FSSETXATTR, belongs);
  }
}

/** The ID of a project that no file belongs to: a random one, since others number theirs from below. */
function freeProject(fd: number): number {
  const [start = 0] = crypto.getRandomValues(new Uint32Array(1));
  for (let i = 0; i < 1000; i++) {
    const id = 0x4000_0000 + ((start + i) % 0x3fff_ffff);
    const memory = allocate(account.size);
    const result = attempt("quotactl_fd", fd, Q_GETQUOTA, id, memory);
    if (result === -ERRNO.ENOENT) return id;
    if (result < 0) throw new SysError("quotactl_fd", -result, `project ${id}`);
    const { usedBytes, usedInodes } = account.decode(memory);
    if (usedBytes === 0n && usedInodes === 0n) return id;
  }
  throw new BoxError("storage-no-quota", "Cannot limit the container's size: no project ID is free");
}

function open(directory: string): Fd {
  return openDirectory(undefined, cstr(directory), JSON.stringify(directory));
}
