import { isErrno, readLinesWith, readTextSync } from "@bantubox/ffi";

/** One mounted tree of cgroups that we may create groups in. */
export interface Hierarchy {
  readonly version: 1 | 2;
  /** Absolute path of the topmost directory that can be reached. */
  readonly mount: string;
  readonly controllers: readonly string[];
  /** Of a v1 hierarchy without controllers: `systemd`, mostly. */
  readonly name: string | undefined;
}

/** Where a controller's files are. */
export interface ControllerPlace {
  readonly version: 1 | 2;
  readonly mount: string;
}

/** What this host has. `none`: no cgroup file system is mounted, or none that can be written. */
export interface CgroupHost {
  readonly mode: "v1" | "v2" | "hybrid" | "none";
  readonly controllers: ReadonlyMap<string, ControllerPlace>;
  /** Where v2 is mounted, with or without controllers. */
  readonly unified: string | undefined;
  readonly hierarchies: readonly Hierarchy[];
}

/** A line of mountinfo that is about cgroups. v2's controllers are not in it. */
export interface CgroupMount {
  readonly version: 1 | 2;
  readonly mount: string;
  /** The cgroup that `mount` shows: `/` for the topmost one. */
  readonly root: string;
  readonly readOnly: boolean;
  readonly controllers: readonly string[];
  readonly name: string | undefined;
}

// A v1 mount's options mix controllers with flags such as xattr; no controller will be added to v1 any more.
const V1_CONTROLLERS =
  " cpu cpuacct cpuset memory devices freezer blkio pids hugetlb net_cls net_prio perf_event rdma misc ";

const MOUNTINFO = "/proc/self/mountinfo";

/** Finds the cgroup hierarchies of this host. Reads two files; the caller keeps the answer. */
export function detectCgroups(readFile: (path: string) => string = readText): CgroupHost {
  const mounts = chooseMounts(parseMountinfo(readFile(MOUNTINFO)));
  const controllers = new Map<string, ControllerPlace>();
  const hierarchies: Hierarchy[] = [];
  let unified: string | undefined;
  let hasV1 = false;
  for (const { version, mount, controllers: named, name } of mounts) {
    let list = named;
    if (version === 2) {
      unified = mount;
      list = words(readFile(`${mount}/cgroup.controllers`));
    } else {
      hasV1 = true;
    }
    for (const controller of list) controllers.set(controller, { version, mount });
    hierarchies.push({ version, mount, controllers: list, name });
  }
  const mode = unified === undefined ? (hasV1 ? "v1" : "none") : hasV1 ? "hybrid" : "v2";
  return { mode, controllers, unified, hierarchies };
}

/**
 * The cgroup mounts of a `/proc/<pid>/mountinfo`, in its order.
 *
 * @see https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
 */
export function parseMountinfo(text: string): CgroupMount[] {
  const mounts: CgroupMount[] = [];
  // A host with many containers has thousands of lines; only those few are split.
  for (let at = text.indexOf(" - cgroup"); at !== -1; at = text.indexOf(" - cgroup", at + 1)) {
    const end = text.indexOf("\n", at);
    const fields = text.slice(text.lastIndexOf("\n", at) + 1, end === -1 ? undefined : end).split(" ");
    const root = fields[3];
    const mount = fields[4];
    // Optional fields come before the dash, so what follows it is not at a fixed place.
    const dash = fields.indexOf("-", 6);
    const type = fields[dash + 1];
    if (root === undefined || mount === undefined || dash === -1 || (type !== "cgroup" && type !== "cgroup2")) continue;
    let readOnly = fields[5] === "ro" || fields[5]?.startsWith("ro,") === true;
    let name: string | undefined;
    const controllers: string[] = [];
    for (const option of (fields[dash + 3] ?? "").split(",")) {
      if (option === "ro") readOnly = true;
      else if (type === "cgroup2") continue;
      else if (option.startsWith("name=")) name = option.slice(5);
      else if (V1_CONTROLLERS.includes(` ${option} `)) controllers.push(option);
    }
    const version = type === "cgroup2" ? 2 : 1;
    mounts.push({ version, mount: decodeOctal(mount), root: decodeOctal(root), readOnly, controllers, name });
  }
  return mounts;
}

/** One mount of each hierarchy that can be written, preferring one that shows the whole of it, then the first. */
function chooseMounts(mounts: CgroupMount[]): CgroupMount[] {
  const chosen = new Map<string, CgroupMount>();
  for (const candidate of mounts) {
    if (candidate.readOnly) continue;
    const key = candidate.version === 2 ? "2" : `${candidate.controllers.join()} ${candidate.name}`;
    const known = chosen.get(key);
    if (known === undefined || (known.root !== "/" && candidate.root === "/")) chosen.set(key, candidate);
  }
  return [...chosen.values()];
}

/** mountinfo writes space, tab, newline and backslash as `\` and three octal digits. */
function decodeOctal(path: string): string {
  if (!path.includes("\\")) return path;
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** The words of a space-separated list, none for an empty one. */
export function words(text: string): string[] {
  const trimmed = text.trim();
  return trimmed === "" ? [] : trimmed.split(/\s+/);
}

function readText(path: string): string {
  // Its other lines change with every mount of the host.
  if (path === MOUNTINFO) return readLinesWith(path, " - cgroup");
  try {
    return readTextSync(path);
  } catch (error) {
    // Without /proc, or with a hierarchy that vanished, there is nothing to be had: the first limit says so.
    if (isErrno(error, "ENOENT", "ENODEV")) return "";
    throw error;
  }
}
