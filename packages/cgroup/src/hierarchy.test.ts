import { expect, test } from "bun:test";
import { detectCgroups, parseMountinfo } from "./hierarchy.ts";

const HYBRID = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
`;
const V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";

function detect(mountinfo: string, controllers: Record<string, string> = {}) {
  return detectCgroups((path) => (path === "/proc/self/mountinfo" ? mountinfo : (controllers[path] ?? "")));
}

test("detectCgroups() finds v1, named and v2 hierarchies of a hybrid host", () => {
  const host = detect(HYBRID, { "/sys/fs/cgroup/unified/cgroup.controllers": "hugetlb\n" });
  expect(host.mode).toBe("hybrid");
  expect(host.unified).toBe("/sys/fs/cgroup/unified");
  expect(host.hierarchies).toEqual([
    { version: 1, mount: "/sys/fs/cgroup/cpu,cpuacct", controllers: ["cpu", "cpuacct"], name: undefined },
    { version: 1, mount: "/sys/fs/cgroup/memory", controllers: ["memory"], name: undefined },
    { version: 1, mount: "/sys/fs/cgroup/systemd", controllers: [], name: "systemd" },
    { version: 2, mount: "/sys/fs/cgroup/unified", controllers: ["hugetlb"], name: undefined },
  ]);
  expect(host.controllers.get("cpuacct")).toEqual({ version: 1, mount: "/sys/fs/cgroup/cpu,cpuacct" });
  expect(host.controllers.get("hugetlb")).toEqual({ version: 2, mount: "/sys/fs/cgroup/unified" });
});

test("detectCgroups() finds the controllers of a v2 host", () => {
  const host = detect(V2, { "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n" });
  expect(host.mode).toBe("v2");
  expect([...host.controllers.keys()]).toEqual(["cpuset", "cpu", "io", "memory", "pids"]);
});

test.each([
  ["nothing is mounted", "", "none"],
  ["all of it is read-only, as in a container", V2.replace("rw,nosuid", "ro,nosuid"), "none"],
  ["only v1 is mounted", HYBRID.replaceAll(/.*cgroup2.*\n/g, ""), "v1"],
  ["a directory is called - cgroup", "30 23 0:26 / /x\\040-\\040cgroup rw - tmpfs - cgroup,rw\n", "none"],
] as const)("detectCgroups() when %s", (_, mountinfo, mode) => expect(detect(mountinfo).mode).toBe(mode));

test("detectCgroups() prefers the mount that shows all of a hierarchy", () => {
  const inner = "33 31 0:32 /docker/x /var/lib/x/cgroup/memory rw - cgroup cgroup rw,memory\n";
  const again = "99 31 0:32 / /srv/memory rw - cgroup cgroup rw,memory\n";
  expect(detect(inner + HYBRID + again).controllers.get("memory")?.mount).toBe("/sys/fs/cgroup/memory");
  expect(detect(inner).controllers.get("memory")?.mount).toBe("/var/lib/x/cgroup/memory");
});

test("parseMountinfo() reads escaped paths, and a last line without its end", () => {
  const [mount] = parseMountinfo("32 31 0:29 /a\\134b /sys/my\\040cgroups rw - cgroup none rw,pids,release_agent=/x");
  expect(mount).toEqual({
    version: 1,
    mount: "/sys/my cgroups",
    root: "/a\\b",
    readOnly: false,
    controllers: ["pids"],
    name: undefined,
  });
});
