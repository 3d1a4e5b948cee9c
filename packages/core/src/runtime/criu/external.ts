/** What of a container's process is the host's, and cannot be dumped: mounts, pipes, namespaces. */
import {
  AT,
  allocate,
  attempt,
  BoxError,
  call,
  cstr,
  Fd,
  isErrno,
  nodeFs,
  O,
  RESOLVE,
  readTextSync,
} from "@bantubox/ffi";
import { isBind } from "../binds.ts";
import type { Mount } from "../spec.ts";

/** A mount that a restore finds on its host again. */
export interface ExternalMount {
  /** Where it is in the container. */
  readonly point: string;
  /** Of the bind mount in config.json that it came with; absent for a device of the host's. */
  readonly destination?: string;
  /** Below the bind mount's source; a device's path. */
  readonly path: string;
}

/** A line of /proc/PID/mountinfo. */
interface MountLine {
  readonly root: string;
  readonly point: string;
  readonly type: string;
}

/** Finds the mounts of process `pid` that are the host's. @param mounts Those of config.json. */
export function externalMounts(pid: number, mounts: readonly Mount[]): ExternalMount[] {
  using root = new Fd(openAt(AT.FDCWD, `/proc/${pid}/root`, O.PATH | O.DIRECTORY | O.CLOEXEC));
  const places = mounts.map((mount) => ({ mount, point: realPath(root, mount.destination) ?? mount.destination }));
  const found: ExternalMount[] = [];
  for (const { point, root: shown, type } of readMounts(`/proc/${pid}/mountinfo`)) {
    if (point === "/") continue;
    const place = places
      .filter((each) => point === each.point || point.startsWith(`${each.point}/`))
      .sort((a, b) => a.point.length - b.point.length)
      .at(-1);
    if (place !== undefined && isBind(place.mount)) {
      const { destination } = place.mount;
      found.push({ point, destination, path: point.slice(place.point.length) });
    }
    // What hides a file, and a device that was not made in the container's own /dev.
    else if (type === "devtmpfs" && shown !== "/") found.push({ point, path: `/dev${shown}` });
  }
  return found;
}

/** Where it is on this host. @throws {BoxError} `no-such-mount` */
export function sourceOf({ destination, path, point }: ExternalMount, mounts: readonly Mount[]): string {
  if (destination === undefined) return path;
  const mount = mounts.find((each) => each.destination === destination && isBind(each));
  if (mount?.source !== undefined) return path === "" ? mount.source : sourceBelow(mount.source, path, point);
  throw new BoxError(
    "no-such-mount",
    `Cannot restore: the checkpoint has a bind mount at "${point}", config.json has none`,
  );
}

/** Of a mount that lay below another. The container may have put a link in its place, which would lead it to the host's files. */
function sourceBelow(source: string, path: string, point: string): string {
  using top = new Fd(call("openat", `"${source}"`, AT.FDCWD, cstr(source), O.PATH | O.CLOEXEC));
  const raw = openBelow(top, path.slice(1), RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS);
  if (raw < 0) {
    throw new BoxError(
      "no-such-mount",
      `Cannot restore: what was mounted at "${point}" is not at "${source}${path}", or a link leads there`,
    );
  }
  new Fd(raw).close();
  return `${source}${path}`;
}

/** What stands at 0, 1 and 2: `pipe:[4711]`, `/dev/pts/0`. */
export function descriptorsOf(pid: number): string[] {
  return [0, 1, 2].map((fd) => {
    try {
      return nodeFs().readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch (error) {
      if (isErrno(error, "ENOENT")) return "";
      throw error;
    }
  });
}

/** How CRIU is told that a namespace is the host's: `net[4026531840]:extRootNetNS`. */
export function externalNamespace(type: "net" | "pid", path: string): string {
  const inode = nodeFs().statSync(path).ino;
  return `${type}[${inode}]:${namespaceKey(type)}`;
}

/** By which name a restore gives it back. As runc has it, whose images can be exchanged with ours. */
export function namespaceKey(type: "net" | "pid"): string {
  return type === "net" ? "extRootNetNS" : "extRootPidNS";
}

function openAt(directory: number, path: string, flags: number): number {
  const fd = attempt("openat", directory, cstr(path), flags);
  if (fd >= 0) return fd;
  throw new BoxError("container-not-running", "Cannot checkpoint the container: it has ended");
}

/** Where a path of config.json leads below `root`; undefined where there is nothing. */
function realPath(root: Fd, path: string): string | undefined {
  const raw = openBelow(root, path, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS);
  if (raw < 0) return undefined;
  using fd = new Fd(raw);
  return nodeFs().readlinkSync(`/proc/self/fd/${fd.raw}`);
}

/** @returns A descriptor of mere place, or -errno. */
function openBelow(directory: Fd, path: string, resolve: number): number {
  // struct open_how
  const how = new BigUint64Array(3);
  how[0] = BigInt(O.PATH | O.CLOEXEC);
  how[2] = BigInt(resolve);
  const memory = allocate(24);
  memory.set(new Uint8Array(how.buffer));
  return attempt("openat2", directory.raw, cstr(path), memory, 24);
}

function readMounts(path: string): MountLine[] {
  return readTextSync(path)
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      // proc(5): ID, parent, device, root, mount point, …, "-", type, …
      const [left = "", right = ""] = line.split(" - ");
      const [, , , root = "", point = ""] = left.split(" ");
      return { root: fromOctal(root), point: fromOctal(point), type: right.split(" ", 1)[0] ?? "" };
    });
}

/** Spaces and the like are octal there. */
function fromOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
