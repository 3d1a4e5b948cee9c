import { AT, attempt, BoxError, close, cstr, nodeFs, O } from "@bantubox/ffi";
import { checkDevices } from "../devices.ts";
import { PROPAGATION } from "../mount-options.ts";
import { NAMESPACE_FLAG } from "../namespaces.ts";
import { checkMemoryPolicy, checkPersonality } from "../scheduling.ts";
import type { IdMapping, Linux, Namespace, NamespaceType, Spec } from "../spec.ts";
import { checkSysctls } from "../sysctl.ts";
import { isMapping } from "./check-mounts.ts";
import { badConfig } from "./shape.ts";

/** ioctl(2) of a namespace's file: its CLONE_NEW* flag. <linux/nsfs.h> */
const NS_GET_NSTYPE = 0xb703;
/** The kernel's own limit of lines in a map. */
const MAX_MAPPINGS = 340;
const CLOCKS = ["monotonic", "boottime"];
const IFNAMSIZ = 16;

/** @throws {BoxError} `bad-config`, `bad-namespace`, `bad-sysctl`, `bad-device`, `bad-scheduling` */
export function checkLinux(spec: Spec): void {
  const { linux } = spec;
  checkNamespaces(linux);
  checkUsers(linux);
  checkTime(linux);
  checkPaths(linux);
  checkDevices(linux.devices ?? []);
  checkNetDevices(linux);
  checkSysctls(linux.sysctl ?? {}, (type) => isOwn(linux.namespaces, type), Boolean(spec.hostname));
  if (linux.memoryPolicy !== undefined) checkMemoryPolicy(linux.memoryPolicy);
  if (linux.personality !== undefined) checkPersonality(linux.personality);
  checkSeccomp(linux);
  if (linux.rootfsPropagation && !Object.hasOwn(PROPAGATION, linux.rootfsPropagation)) {
    throw badConfig("linux.rootfsPropagation", `must not be ${JSON.stringify(linux.rootfsPropagation)}`);
  }
  if (linux.intelRdt !== undefined) {
    throw new BoxError(
      "unsupported",
      "Cannot set linux.intelRdt: cache and bandwidth allocation is not supported here",
    );
  }
}

function checkNamespaces({ namespaces }: Linux): void {
  const seen = new Set<NamespaceType>();
  for (const { type, path } of namespaces) {
    if (seen.has(type)) throw badConfig("linux.namespaces", `must not name "${type}" twice`);
    seen.add(type);
    if (path !== undefined) checkNamespaceFile(type, path);
  }
}

/** Whether `path` is a namespace of that type, which is for the kernel to say. */
function checkNamespaceFile(type: NamespaceType, path: string): void {
  if (!path.startsWith("/")) throw badConfig("linux.namespaces", `must name the ${type} namespace by an absolute path`);
  const what = `Cannot join the ${type} namespace "${path}"`;
  const fd = attempt("openat", AT.FDCWD, cstr(path), O.RDONLY | O.CLOEXEC);
  if (fd < 0) throw new BoxError("bad-namespace", `${what}: it cannot be opened`);
  try {
    if (attempt("ioctl", fd, NS_GET_NSTYPE, 0) === NAMESPACE_FLAG[type]) return;
  } finally {
    close(fd);
  }
  throw new BoxError("bad-namespace", `${what}: it is not a namespace of that type`);
}

/** Whether the container will have one that is not this process's. */
function isOwn(namespaces: readonly Namespace[], type: NamespaceType): boolean {
  const namespace = namespaces.find((each) => each.type === type);
  if (namespace === undefined) return false;
  if (namespace.path === undefined) return true;
  const own = { network: "net", mount: "mnt" }[type as string] ?? type;
  return identity(namespace.path) !== identity(`/proc/self/ns/${own}`);
}

function identity(path: string): string {
  const { dev, ino } = nodeFs().statSync(path);
  return `${dev}:${ino}`;
}

function checkUsers({ namespaces, uidMappings, gidMappings }: Linux): void {
  const users = namespaces.find(({ type }) => type === "user");
  const isMapped = uidMappings !== undefined || gidMappings !== undefined;
  if (users === undefined && isMapped) {
    throw badConfig("linux.uidMappings", "needs a user namespace", 'Add one of type "user" to linux.namespaces');
  }
  if (users === undefined || users.path !== undefined) return;
  if (!uidMappings?.length || !gidMappings?.length) {
    throw badConfig("linux.uidMappings", 'and "linux.gidMappings" must map users of a new user namespace');
  }
  checkMap("linux.uidMappings", uidMappings);
  checkMap("linux.gidMappings", gidMappings);
}

function checkMap(at: string, map: readonly IdMapping[]): void {
  if (map.length > MAX_MAPPINGS) throw badConfig(at, `must not have more than ${MAX_MAPPINGS} entries`);
  for (let i = 0; i < map.length; i++) {
    const a = map[i] as IdMapping;
    if (!isMapping(a)) throw badConfig(`${at}[${i}]`, "must have a size, and end before 4294967295");
    for (const b of map.slice(0, i)) {
      if (overlaps(a.containerID, b.containerID, a, b) || overlaps(a.hostID, b.hostID, a, b)) {
        throw badConfig(`${at}[${i}]`, "must not overlap another mapping");
      }
    }
  }
}

function overlaps(a: number, b: number, { size: sizeA }: IdMapping, { size: sizeB }: IdMapping): boolean {
  return a < b + sizeB && b < a + sizeA;
}

function checkTime({ namespaces, timeOffsets }: Linux): void {
  if (timeOffsets === undefined || Object.keys(timeOffsets).length === 0) return;
  const time = namespaces.find(({ type }) => type === "time");
  if (time === undefined) throw badConfig("linux.timeOffsets", "needs a time namespace");
  if (time.path !== undefined) throw badConfig("linux.timeOffsets", "is for a new time namespace, not a joined one");
  for (const [clock, { nanosecs = 0 }] of Object.entries(timeOffsets)) {
    if (!CLOCKS.includes(clock)) throw badConfig(`linux.timeOffsets.${clock}`, "is not a clock that can be set off");
    if (nanosecs > 999_999_999) throw badConfig(`linux.timeOffsets.${clock}.nanosecs`, "must be below a second");
  }
}

function checkPaths({ namespaces, maskedPaths = [], readonlyPaths = [] }: Linux): void {
  for (const [at, paths] of Object.entries({ maskedPaths, readonlyPaths })) {
    if (paths.length > 0 && !namespaces.some(({ type }) => type === "mount")) {
      throw badConfig(`linux.${at}`, "needs a mount namespace", 'Add one of type "mount" to linux.namespaces');
    }
    for (const path of paths) if (!path.startsWith("/")) throw badConfig(`linux.${at}`, "must hold absolute paths");
  }
}

function checkNetDevices({ namespaces, netDevices = {} }: Linux): void {
  const names = Object.entries(netDevices);
  if (names.length > 0 && !isOwn(namespaces, "network")) {
    throw badConfig("linux.netDevices", "needs a network namespace of the container's own");
  }
  // Its first process would need the rights of two namespaces at once.
  if (names.length > 0 && namespaces.some(({ type }) => type === "user")) {
    throw badConfig("linux.netDevices", "cannot be had together with a user namespace here");
  }
  for (const [from, { name = from }] of names) {
    for (const each of [from, name]) {
      if (/^[^/:\s]+$/.test(each) && each !== "." && each !== ".." && Buffer.byteLength(each) < IFNAMSIZ) continue;
      throw badConfig(`linux.netDevices.${from}`, `must not use the name ${JSON.stringify(each)}`);
    }
  }
}

function checkSeccomp({ seccomp }: Linux): void {
  if (seccomp === undefined) return;
  if (seccomp.listenerMetadata && !seccomp.listenerPath) {
    throw badConfig("linux.seccomp.listenerMetadata", 'needs a "listenerPath"');
  }
  const rules = (seccomp.syscalls ?? []).filter(({ action }) => action === "SCMP_ACT_NOTIFY");
  if (rules.some(({ names }) => names.includes("sendmsg"))) {
    throw badConfig("linux.seccomp.syscalls", 'must not notify of "sendmsg", by which the listener gets the filter');
  }
  if (rules.length > 0 && !seccomp.listenerPath) {
    throw badConfig("linux.seccomp.listenerPath", "must say who answers SCMP_ACT_NOTIFY");
  }
}
