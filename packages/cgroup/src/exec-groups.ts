import { BoxError, existsSync, readIfThere } from "@bantubox/ffi";
import type { CgroupHost, Hierarchy } from "./hierarchy.ts";
import type { CgroupPlan } from "./plan.ts";

/**
 * The groups that another process of a container joins: the container's, or one below it.
 *
 * @param cgroup The container's own, relative to each hierarchy's top.
 * @param pid Of its first process.
 * @param given Of `--cgroup`: a path below it, for all controllers or, as in `cpu,memory:sub`, for some of v1's.
 * @throws {BoxError} `bad-cgroup`
 */
export function execGroups(
  host: CgroupHost,
  cgroup: string,
  pid: number | undefined,
  given: readonly string[] = [],
): Pick<CgroupPlan, "joins" | "intoDirectory"> {
  const below = new Map<string, string>();
  for (const text of given) {
    const colon = text.indexOf(":");
    const path = subPath(text.slice(colon + 1));
    for (const controller of colon === -1 ? [""] : text.slice(0, colon).split(",")) {
      if (controller !== "" && host.controllers.get(controller)?.version !== 1) {
        throw new BoxError("bad-cgroup", `unknown controller ${controller} in --cgroup ${text}`);
      }
      below.set(controller, path);
    }
  }
  const directoryOf = ({ version, mount, controllers }: Hierarchy): string => {
    const own = controllers.map((name) => below.get(name)).find((path) => path !== undefined);
    const group = version === 2 && given.length === 0 ? innerGroup(mount, cgroup, pid) : cgroup;
    const directory = `${mount}/${group}${own ?? below.get("") ?? ""}`;
    if (existsSync(directory)) return directory;
    throw new BoxError(
      "bad-cgroup",
      `error adding pid to cgroups: open ${directory}/cgroup.procs: no such file or directory`,
    );
  };
  const joins = host.hierarchies.map((hierarchy) => {
    const directory = directoryOf(hierarchy);
    // v1's file for one thread needs no lock over all forks of the machine.
    return `${directory}/${hierarchy.version === 2 ? "cgroup.procs" : "tasks"}`;
  });
  const unified = host.hierarchies.find(({ version }) => version === 2);
  return { joins, intoDirectory: unified && directoryOf(unified) };
}

/**
 * v2's group for another process: where the container hands controllers on to groups of its own, as a systemd in it
 * does, no process may be in the topmost any more, and the first one's is the place.
 */
function innerGroup(mount: string, cgroup: string, pid: number | undefined): string {
  if (pid === undefined || !readIfThere(`${mount}/${cgroup}/cgroup.subtree_control`)?.trim()) return cgroup;
  const [, group] = /^0::\/(.*)$/m.exec(readIfThere(`/proc/${pid}/cgroup`) ?? "") ?? [];
  return group?.startsWith(`${cgroup}/`) ? group : cgroup;
}

/** With a slash in front, or nothing. */
function subPath(text: string): string {
  const parts = text.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw new BoxError("bad-cgroup", `bad --cgroup: ${text} is not a sub cgroup path`);
  return parts.map((part) => `/${part}`).join("");
}
