import { AT, BoxError, ERRNO, MOVE_MOUNT, OPEN_TREE, type Reg, S_IF } from "@bantubox/ffi";
import type { Build } from "./build.ts";
import type { Device } from "./spec.ts";
import { TAG } from "./tags.ts";

/** [name below /dev, major, minor]: what every container has. */
const NODES = [
  ["null", 1, 3],
  ["zero", 1, 5],
  ["full", 1, 7],
  ["random", 1, 8],
  ["urandom", 1, 9],
  ["tty", 5, 0],
] as const;

const LINKS = [
  ["fd", "/proc/self/fd"],
  ["stdin", "/proc/self/fd/0"],
  ["stdout", "/proc/self/fd/1"],
  ["stderr", "/proc/self/fd/2"],
  ["ptmx", "pts/ptmx"],
  ["core", "/proc/kcore"],
] as const;

/** The kernel's dev_t: 12 bits of major and 20 bits of minor. */
const MAX_MAJOR = 0xfff;
const MAX_MINOR = 0xfffff;

const TYPES: Readonly<Record<Device["type"], number>> = { c: S_IF.CHR, u: S_IF.CHR, b: S_IF.BLK, p: S_IF.FIFO };

/**
 * Fills the /dev that config.json's mounts have put there: nodes, links, and the devices asked for.
 *
 * All of it happens below descriptors of our own tmpfs, so that a /dev of the
 * image that leads elsewhere gets nothing (CVE-2026-41579).
 */
export function fillDev(build: Build, devices: readonly Device[]): void {
  const { plan, root, scratch } = build;
  const steps = plan.child;
  steps.builtin("target", root, "/dev", S_IF.DIR, 0).into(scratch).tag(TAG.DEVICE);
  for (const [name, major, minor] of NODES) {
    steps
      .sys("mknodat", scratch, name, S_IF.CHR | 0o666, makeDevice(major, minor))
      .tolerate(ERRNO.EEXIST)
      .tag(TAG.DEVICE);
  }
  for (const [name, to] of LINKS) steps.sys("symlinkat", to, scratch, name).tolerate(ERRNO.EEXIST).tag(TAG.DEVICE);
  steps.sys("close", scratch);
  for (const device of devices) addDevice(build, device);
}

/** @throws {BoxError} `bad-device` for one without an absolute path or a number. */
export function checkDevices(devices: readonly Device[]): void {
  for (const { path, type, major, minor } of devices) {
    const name = path.slice(path.lastIndexOf("/") + 1);
    const what = `Cannot make the device "${path}"`;
    if (!path.startsWith("/") || name === "" || name === "." || name === "..") {
      throw new BoxError("bad-device", `${what}: it is not an absolute path`);
    }
    if (type === "p") continue;
    if (!isNumber(major, MAX_MAJOR) || !isNumber(minor, MAX_MINOR)) {
      throw new BoxError(
        "bad-device",
        `${what}: it needs a major number up to ${MAX_MAJOR} and a minor one up to ${MAX_MINOR}`,
      );
    }
  }
}

function isNumber(value: number | undefined, highest: number): boolean {
  return value !== undefined && Number.isInteger(value) && value >= 0 && value <= highest;
}

function addDevice({ plan, root, scratch }: Build, device: Device): void {
  const steps = plan.child;
  const slash = device.path.lastIndexOf("/");
  const directory = device.path.slice(0, slash) || "/";
  const name = device.path.slice(slash + 1);
  if (!device.path.startsWith("/") || name === "" || name === "." || name === "..") {
    throw new BoxError("bad-device", `Cannot make the device "${device.path}": it is not an absolute path`);
  }
  const mode = TYPES[device.type] | (device.fileMode ?? 0o666);
  steps.builtin("target", root, directory, S_IF.DIR, 0).into(scratch).tag(TAG.DEVICE);
  const node = device.type === "p" ? 0 : makeDevice(device.major ?? 0, device.minor ?? 0);
  steps.sys("mknodat", scratch, name, mode, node).tolerate(ERRNO.EEXIST).tag(TAG.DEVICE);
  if (device.uid || device.gid) {
    steps.sys("fchownat", scratch, name, device.uid ?? 0, device.gid ?? 0, AT.SYMLINK_NOFOLLOW).tag(TAG.DEVICE);
  }
  steps.sys("close", scratch);
}

/** dev_t as mknod(2) takes it: twelve bits of major around eight low and twelve high bits of minor. */
function makeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | ((major & 0xfff) << 8)) + (minor >>> 8) * 0x100000;
}

/** Makes /dev/console of the pty whose slave is in `slave`. */
export function addConsole({ plan, root, scratch, tree }: Build, slave: Reg): void {
  const steps = plan.child;
  steps.builtin("target", root, "/dev/console", S_IF.REG, 0).into(scratch).tag(TAG.PTY);
  steps
    .sys("open_tree", slave, "", OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.EMPTY_PATH)
    .into(tree)
    .tag(TAG.PTY);
  steps.sys("move_mount", tree, "", scratch, "", MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH).tag(TAG.PTY);
  steps.sys("close", tree);
  steps.sys("close", scratch);
}
