import { AT, allocate, attempt, BoxError, call, cstr, ERRNO, Fd, O, struct } from "@bantubox/ffi";
import { display, openDirectory, readNames, S, statAt } from "../tree/tree.ts";

/** Of statfs(2), <linux/magic.h>. */
const BTRFS_MAGIC = 0x9123683e;
/** Inode number of a subvolume's root, <linux/btrfs_tree.h>: no other directory of btrfs has it. */
const ROOT_INODE = 256n;

/** _IOW(0x94, 15, struct btrfs_ioctl_vol_args): deletes a subvolume, by its name in the directory of the descriptor. */
export const SNAP_DESTROY = 0x5000940f;

/** <linux/btrfs.h>; bits 16 to 29 are the size of the argument. */
const IOC = {
  SNAP_CREATE: 0x50009401,
  SUBVOL_CREATE: 0x5000940e,
  SUBVOL_GETFLAGS: 0x80089419,
  SUBVOL_SETFLAGS: 0x4008941a,
  QUOTA_CTL: 0xc0109428,
  QGROUP_CREATE: 0x4010942a,
  QGROUP_LIMIT: 0x8030942b,
  INO_LOOKUP: 0xd0009412,
} as const;

/** struct btrfs_ioctl_vol_args: a descriptor and a name of at most 4087 bytes. */
const VOL_ARGS_BYTES = 4096;
const NAME_MAX = 4087;
const SUBVOL_RDONLY = 2n;

const QUOTA_ENABLE = 1n;
const QUOTA_ENABLE_SIMPLE = 4n;
const LIMIT_MAX_EXCL = 2n;

/** struct btrfs_ioctl_quota_ctl_args */
const quotaControl = struct({ cmd: "u64", status: "u64" });
/** struct btrfs_ioctl_qgroup_create_args */
const groupCreate = struct({ create: "u64", qgroupid: "u64" });
/** struct btrfs_ioctl_qgroup_limit_args with its struct btrfs_qgroup_limit */
const groupLimit = struct({
  qgroupid: "u64",
  flags: "u64",
  maxRfer: "u64",
  maxExcl: "u64",
  rsvRfer: "u64",
  rsvExcl: "u64",
});

/** Whether a directory lies on btrfs. @throws {SysError} When it is not there. */
export function isOnBtrfs(path: string): boolean {
  const memory = allocate(120);
  call("statfs", JSON.stringify(path), cstr(path), memory);
  return new DataView(memory.buffer).getUint32(0, true) === BTRFS_MAGIC;
}

/** Makes an empty subvolume. @throws {SysError} `EEXIST`, `ENOTTY` where it is not btrfs. */
export function createSubvolume(path: string): void {
  using parent = openParent(path);
  call("ioctl", JSON.stringify(path), parent.raw, IOC.SUBVOL_CREATE, volArgs(0, basename(path)));
}

/** Makes `path` a subvolume that can be written and holds what `origin` holds, in no time. */
export function snapshot(origin: string, path: string): void {
  using source = openDirectory(undefined, cstr(origin), JSON.stringify(origin));
  using parent = openParent(path);
  call("ioctl", JSON.stringify(path), parent.raw, IOC.SNAP_CREATE, volArgs(source.raw, basename(path)));
}

/** Whether there is a subvolume at `path`, which is not followed. */
export function isSubvolume(path: string): boolean {
  return isSubvolumeAt(AT.FDCWD, cstr(path));
}

/**
 * Deletes a subvolume with all that is in it, also subvolumes that a container has made there, read-only ones too.
 * The names are gone at once; the kernel frees the space afterwards.
 */
export function deleteSubvolume(path: string): void {
  using parent = openParent(path);
  const id = subvolumeId(path);
  deleteAt(parent.raw, cstr(basename(path)));
  // Its account, where there are quotas. Newer kernels remove it themselves, and some not while the space is being freed.
  attempt("ioctl", parent.raw, IOC.QGROUP_CREATE, groupCreate.encode({ create: 0n, qgroupid: id }));
}

function deleteAt(parent: number, name: Uint8Array): void {
  const args = volArgs(0, name);
  const result = attempt("ioctl", parent, SNAP_DESTROY, args);
  if (result !== -ERRNO.ENOTEMPTY && result !== -ERRNO.EROFS && result !== -ERRNO.EPERM) {
    if (result < 0 && result !== -ERRNO.ENOENT) call("ioctl", display(name), parent, SNAP_DESTROY, args);
    return;
  }
  {
    using directory = openDirectory(parent, name, display(name));
    makeWritable(directory.raw);
    deleteNested(directory.raw);
  }
  call("ioctl", display(name), parent, SNAP_DESTROY, args);
}

/** Subvolumes below a directory, wherever they are. */
function deleteNested(fd: number): void {
  for (const name of readNames(fd, "a subvolume")) {
    if ((statAt(fd, name, display(name)).mode & S.FMT) !== S.DIR) continue;
    if (isSubvolumeAt(fd, name)) {
      deleteAt(fd, name);
      continue;
    }
    using child = openDirectory(fd, name, display(name));
    deleteNested(child.raw);
  }
}

function makeWritable(fd: number): void {
  const flags = new BigUint64Array(new ArrayBuffer(8));
  if (attempt("ioctl", fd, IOC.SUBVOL_GETFLAGS, flags) < 0) return;
  const [value = 0n] = flags;
  if ((value & SUBVOL_RDONLY) === 0n) return;
  flags[0] = value & ~SUBVOL_RDONLY;
  call("ioctl", "a subvolume's flags", fd, IOC.SUBVOL_SETFLAGS, flags);
}

function isSubvolumeAt(parent: number, name: Uint8Array): boolean {
  const memory = allocate(256);
  const STATX_TYPE_INO = 0x101;
  if (attempt("statx", parent, name, AT.SYMLINK_NOFOLLOW, STATX_TYPE_INO, memory) < 0) return false;
  const view = new DataView(memory.buffer);
  if ((view.getUint16(28, true) & S.FMT) !== S.DIR || view.getBigUint64(32, true) !== ROOT_INODE) return false;
  const raw = attempt("openat", parent, name, O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC);
  if (raw < 0) return false;
  using fd = new Fd(raw);
  const stats = allocate(120);
  return attempt("fstatfs", fd.raw, stats) === 0 && new DataView(stats.buffer).getUint32(0, true) === BTRFS_MAGIC;
}

/**
 * Lets a subvolume grow by so many bytes. Quotas are turned on for the file system if they are not: simple ones,
 * which cost next to nothing, where the kernel has them (6.7), else the exact ones.
 *
 * @throws {SysError} `EBUSY` while the kernel counts what is there, `ENOSYS`…
 */
export function limitSubvolume(path: string, bytes: number): void {
  using fd = openDirectory(undefined, cstr(path), JSON.stringify(path));
  enableQuotas(fd.raw, path);
  const max = BigInt(bytes);
  // Of a snapshot, what it shares with its origin is not its own.
  const limit = groupLimit.encode({ qgroupid: subvolumeId(path), flags: LIMIT_MAX_EXCL, maxExcl: max });
  call("ioctl", `the limit of ${JSON.stringify(path)}`, fd.raw, IOC.QGROUP_LIMIT, limit);
}

function enableQuotas(fd: number, path: string): void {
  const simple = attempt("ioctl", fd, IOC.QUOTA_CTL, quotaControl.encode({ cmd: QUOTA_ENABLE_SIMPLE }));
  if (simple === 0 || simple === -ERRNO.EEXIST) return;
  const exact = quotaControl.encode({ cmd: QUOTA_ENABLE });
  const result = attempt("ioctl", fd, IOC.QUOTA_CTL, exact);
  if (result < 0 && result !== -ERRNO.EEXIST) {
    call("ioctl", `quotas of ${JSON.stringify(path)}`, fd, IOC.QUOTA_CTL, exact);
  }
}

function subvolumeId(path: string): bigint {
  using fd = openDirectory(undefined, cstr(path), JSON.stringify(path));
  const args = allocate(VOL_ARGS_BYTES);
  const view = new DataView(args.buffer);
  // struct btrfs_ioctl_ino_lookup_args: treeid (0 asks for the directory's own), objectid, name
  view.setBigUint64(8, ROOT_INODE, true);
  call("ioctl", JSON.stringify(path), fd.raw, IOC.INO_LOOKUP, args);
  return view.getBigUint64(0, true);
}

/** Argument of the calls that make and delete subvolumes; plans use it, too. */
export function volArgs(fd: number, name: string | Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = typeof name === "string" ? Buffer.from(name) : name;
  if (bytes.length > NAME_MAX) throw new BoxError("storage-name", `Cannot name a subvolume by ${bytes.length} bytes`);
  const args = allocate(VOL_ARGS_BYTES);
  new DataView(args.buffer).setBigInt64(0, BigInt(fd), true);
  args.set(bytes, 8);
  return args;
}

/** No node:path here: removing a container needs this file, too. */
function basename(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function openParent(path: string): Fd {
  const parent = path.slice(0, path.lastIndexOf("/")) || "/";
  return openDirectory(undefined, cstr(parent), JSON.stringify(parent));
}
