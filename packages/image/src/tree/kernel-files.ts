import { allocate, attempt, FS_MAGIC } from "@bantubox/ffi";

/** File systems that show what the kernel knows, <linux/magic.h>: nothing in them is anybody's file. */
const KERNEL: ReadonlySet<number> = new Set([
  FS_MAGIC.PROC,
  FS_MAGIC.SYSFS,
  FS_MAGIC.DEVPTS,
  FS_MAGIC.MQUEUE,
  FS_MAGIC.CGROUP,
  FS_MAGIC.CGROUP2,
  FS_MAGIC.DEBUGFS,
  FS_MAGIC.TRACEFS,
  FS_MAGIC.SECURITYFS,
  FS_MAGIC.BPF,
]);

/** Whether a directory is of the kernel's own: `/proc`, `/sys` and the like. */
export function isOfKernel(fd: number): boolean {
  // struct statfs; f_type comes first
  const memory = allocate(120);
  return attempt("fstatfs", fd, memory) === 0 && KERNEL.has(new DataView(memory.buffer).getUint32(0, true));
}
