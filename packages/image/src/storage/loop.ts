import { closeSync, openSync } from "node:fs";
import { allocate, attempt, BoxError, call, cstr, ERRNO, Fd, O, SysError } from "@bantubox/ffi";

const LOOP_CONFIGURE = 0x4c0a;
const LOOP_CTL_GET_FREE = 0x4c82;
/** The device lets go of the file with the last mount of it. */
const LO_FLAGS_AUTOCLEAR = 4;
/** No second copy of everything in the page cache; where the file's own file system cannot, the kernel goes without. */
const LO_FLAGS_DIRECT_IO = 16;
/** struct loop_config: a descriptor, a block size, struct loop_info64, and 64 reserved bytes. */
const CONFIG_BYTES = 304;
const FLAGS_AT = 8 + 52;
const NAME_AT = 8 + 56;
const NAME_BYTES = 63;

const MS_NOATIME = 0x400;
/** How often another process may be quicker to take a free device. */
const TRIES = 16;

/**
 * Mounts the file system that lies in a file. With the last mount of it the loop device goes, too.
 *
 * Equivalent to: `mount -o loop,noatime -t TYPE file target`
 *
 * @throws {BoxError} `no-loop` when the host has no loop devices.
 * @throws {SysError} `EINVAL` when there is no such file system in it.
 */
export function mountFile(file: string, target: string, type: string): void {
  const { path, fd } = attachLoop(file);
  using _device = fd;
  call("mount", `"${file}" on "${target}"`, cstr(path), cstr(target), cstr(type), MS_NOATIME, null);
}

/** Attaches a file to a free loop device, which is free again when nobody has it open or mounted. */
function attachLoop(file: string): { path: string; fd: Fd } {
  using backing = new Fd(openSync(file, O.RDWR | O.CLOEXEC | O.NOFOLLOW));
  const config = allocate(CONFIG_BYTES);
  const view = new DataView(config.buffer);
  view.setUint32(0, backing.raw, true);
  view.setUint32(FLAGS_AT, LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO, true);
  config.set(Buffer.from(file).subarray(0, NAME_BYTES), NAME_AT);
  for (let tries = 0; tries < TRIES; tries++) {
    const path = freeLoop();
    const device = new Fd(openSync(path, O.RDWR | O.CLOEXEC));
    const result = attempt("ioctl", device.raw, LOOP_CONFIGURE, config);
    if (result === 0) return { path, fd: device };
    device.close();
    if (result !== -ERRNO.EBUSY) throw new SysError("ioctl", -result, `"${path}" for "${file}"`);
  }
  throw new BoxError("no-loop", `Cannot mount "${file}": no loop device stays free`, { hint: "Try again" });
}

function freeLoop(): string {
  let control: number;
  try {
    control = openSync("/dev/loop-control", O.RDWR | O.CLOEXEC);
  } catch (cause) {
    throw new BoxError("no-loop", "Cannot mount a file: this host has no loop devices", {
      cause,
      hint: 'Load them with "modprobe loop"',
    });
  }
  try {
    return `/dev/loop${call("ioctl", "a free loop device", control, LOOP_CTL_GET_FREE)}`;
  } finally {
    closeSync(control);
  }
}
