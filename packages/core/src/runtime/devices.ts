import { AT, BoxError, ERRNO, O, OPEN_TREE, type Reg, S_IF, type Steps } from "@bantubox/ffi";
import { attach, type Build } from "./build.ts";
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
 * Fills /dev: nodes, links, and the devices asked for.
 *
 * All of it happens below descriptors. A /dev of the image that leads elsewhere leads nowhere
 * but into its own root (CVE-2026-41579).
 *
 * @param isMapped In a user namespace no device can be made: the host's are mounted in their places.
 */
export function fillDev(build: Build, devices: readonly Device[], isMapped: boolean): void {
  const { child: steps, root, scratch } = build;
  const asked = new Set(devices.map(({ path }) => path));
  const nodes = NODES.filter(([name]) => !asked.has(`/dev/${name}`));
  if (isMapped) {
    for (const [name, major, minor] of nodes) bindDevice(build, { type: "c", path: `/dev/${name}`, major, minor });
  }
  steps.builtin("target", root, "/dev", S_IF.DIR, 0).into(scratch).tag(TAG.DEVICE);
  if (!isMapped) {
    for (const [name, major, minor] of nodes) {
      steps
        .sys("mknodat", scratch, name, S_IF.CHR | 0o666, makeDevice(major, minor))
        .tolerate(ERRNO.EEXIST)
        .tag(TAG.DEVICE);
    }
  }
  for (const [name, to] of LINKS) steps.sys("symlinkat", to, scratch, name).tolerate(ERRNO.EEXIST).tag(TAG.DEVICE);
  steps.sys("close", scratch);
  for (const device of devices) {
    // The container's own devpts has it, and the link above leads there.
    if (device.path === "/dev/ptmx") continue;
    if (isMapped && device.type !== "p") bindDevice(build, device);
    else addDevice(build, device);
  }
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

/** Makes a node. One that is there must be the same device. */
function addDevice({ child: steps, root, scratch, tree }: Build, device: Device): void {
  const [directory, name] = splitPath(device.path);
  const { type, fileMode = 0o666, uid = 0, gid = 0 } = device;
  const node = type === "p" ? 0 : makeDevice(device.major ?? 0, device.minor ?? 0);
  steps.builtin("target", root, directory, S_IF.DIR, 0).into(scratch).tag(TAG.DEVICE);
  steps
    .sys("mknodat", scratch, name, TYPES[type] | (fileMode & 0o7777), node)
    .tolerate(ERRNO.EEXIST)
    .tag(TAG.DEVICE);
  steps
    .sys("openat", scratch, name, O.PATH | O.NOFOLLOW | O.CLOEXEC)
    .into(tree)
    .tag(TAG.DEVICE);
  checkDevice(steps, tree, device);
  if (uid !== 0 || gid !== 0) steps.sys("fchownat", tree, "", uid, gid, AT.EMPTY_PATH).tag(TAG.DEVICE);
  steps.sys("close", tree);
  steps.sys("close", scratch);
}

/** Mounts the host's node of the same name. Its owner and mode are the host's, as it is the same file. */
function bindDevice(build: Build, device: Device): void {
  const { child: steps, root, scratch, tree } = build;
  steps
    .sys("open_tree", AT.FDCWD, device.path, OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC)
    .into(tree)
    .tag(TAG.DEVICE);
  checkDevice(steps, tree, device);
  steps.builtin("target", root, device.path, S_IF.REG, 0).into(scratch).tag(TAG.DEVICE);
  attach(build, TAG.DEVICE);
}

function checkDevice(steps: Steps, file: Reg, { type, major = 0, minor = 0 }: Device): void {
  steps.builtin("checkType", file, TYPES[type], type === "p" ? 0 : deviceNumber(major, minor)).tag(TAG.DEVICE);
}

function splitPath(path: string): [directory: string, name: string] {
  const slash = path.lastIndexOf("/");
  return [path.slice(0, slash) || "/", path.slice(slash + 1)];
}

/** A device's number as BUILTIN_CHECK_TYPE has it. */
export function deviceNumber(major: number, minor: number): number {
  return major * 0x1_0000_0000 + minor;
}

/** dev_t as mknod(2) takes it: twelve bits of major around eight low and twelve high bits of minor. */
function makeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | ((major & 0xfff) << 8)) + (minor >>> 8) * 0x100000;
}

/** Makes /dev/console of the pty whose slave is in `slave`. */
export function addConsole(build: Build, slave: Reg): void {
  const { child: steps, root, scratch, tree } = build;
  steps.builtin("target", root, "/dev/console", S_IF.REG, 0).into(scratch).tag(TAG.PTY);
  steps
    .sys("open_tree", slave, "", OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.EMPTY_PATH)
    .into(tree)
    .tag(TAG.PTY);
  attach(build, TAG.PTY);
}
