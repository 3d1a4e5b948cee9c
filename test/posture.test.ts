/**
 * The posture of every kind of process, whole: what is not listed here must not be there.
 * Change these values only together with the decision behind them.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync, readlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { busyboxRoot, newStore, type Store } from "./harness.ts";
import { descriptorsOf } from "./processes.ts";

const root = await busyboxRoot();

/** What a process tells of itself, in sections. */
const COLLECT = `
echo "## status"; grep -E '^(Umask|Uid|Gid|Groups|Sig(Blk|Ign|Cgt)|Cap...|NoNewPrivs|Seccomp|Seccomp_filters):' /proc/self/status
echo "## environment"; tr '\\0' '\\n' < /proc/$$/environ | cut -d= -f1
echo "## cwd"; pwd; readlink /proc/self/root
echo "## mounts"; cut -d' ' -f4- /proc/self/mountinfo
echo "## dev"; cd /dev && find . | sort | while read f; do stat -c '%A %u:%g %t:%T %N' $f; done | tr -d "'"
echo "## sysctl"; cd /proc/sys; grep . net/ipv4/ip_unprivileged_port_start net/ipv4/ping_group_range net/ipv4/ip_forward kernel/hostname
echo "## oom"; cat /proc/self/oom_score_adj
echo "## root"; stat -c '%A %u:%g %n' / /dev/shm /tmp
`;

type Sections = Record<string, string[]>;

async function collect(store: Store, args: readonly string[]): Promise<Sections> {
  const sections: Sections = {};
  let current: string[] = [];
  for (const line of (await store.ok([...args, "sh", "-c", COLLECT])).split("\n")) {
    if (line.startsWith("## ")) {
      current = [];
      sections[line.slice(3)] = current;
    } else current.push(line);
  }
  return sections;
}

/** A mount as `target type: options of the mount`. */
function mountOf(line: string): string {
  const [before = "", after = ""] = line.split(" - ");
  const [source, target, options] = before.split(" ");
  return `${target} ${after.split(" ")[0]}${source === "/" ? "" : ` of ${source}`}: ${options}`;
}

const CAPS = "00000000a80425fb";
const NONE = "0000000000000000";

function status(uid: number, gid: number, groups: string, caps: string): string[] {
  return [
    "Umask:\t0022",
    `Uid:\t${Array(4).fill(uid).join("\t")}`,
    `Gid:\t${Array(4).fill(gid).join("\t")}`,
    `Groups:\t${groups} `,
    `SigBlk:\t${NONE}`,
    `SigIgn:\t${NONE}`,
    `SigCgt:\t${NONE}`,
    `CapInh:\t${NONE}`,
    `CapPrm:\t${caps}`,
    `CapEff:\t${caps}`,
    `CapBnd:\t${CAPS}`,
    `CapAmb:\t${NONE}`,
    "NoNewPrivs:\t0",
    "Seccomp:\t2",
    "Seccomp_filters:\t1",
  ];
}

const ENVIRONMENT = ["PATH", "HOSTNAME", "HOME"];

const DEV = [
  "drwxr-xr-x 0:0 0:0 .",
  "lrwxrwxrwx 0:0 0:0 ./core -> /proc/kcore",
  "lrwxrwxrwx 0:0 0:0 ./fd -> /proc/self/fd",
  "crw-rw-rw- 0:0 1:7 ./full",
  "drwxrwxrwt 0:0 0:0 ./mqueue",
  "crw-rw-rw- 0:0 1:3 ./null",
  "lrwxrwxrwx 0:0 0:0 ./ptmx -> pts/ptmx",
  "drwxr-xr-x 0:0 0:0 ./pts",
  "crw-rw-rw- 0:0 5:2 ./pts/ptmx",
  "crw-rw-rw- 0:0 1:8 ./random",
  "drwxrwxrwt 0:0 0:0 ./shm",
  "lrwxrwxrwx 0:0 0:0 ./stderr -> /proc/self/fd/2",
  "lrwxrwxrwx 0:0 0:0 ./stdin -> /proc/self/fd/0",
  "lrwxrwxrwx 0:0 0:0 ./stdout -> /proc/self/fd/1",
  "crw-rw-rw- 0:0 5:0 ./tty",
  "crw-rw-rw- 0:0 1:9 ./urandom",
  "crw-rw-rw- 0:0 1:5 ./zero",
];

/** On every host; masked and read-only paths follow, as far as the kernel has them. */
const MOUNTS = [
  "/ overlay: rw,relatime",
  "/proc proc: rw,nosuid,nodev,noexec,relatime",
  "/dev tmpfs: rw,nosuid",
  "/dev/pts devpts: rw,nosuid,noexec,relatime",
  "/sys sysfs: ro,nosuid,nodev,noexec,relatime",
  "/dev/mqueue mqueue: rw,nosuid,nodev,noexec,relatime",
  "/dev/shm tmpfs: rw,nosuid,nodev,noexec,relatime",
];

describe("golden posture", () => {
  const kinds = [
    ["PID 1 as root", [], status(0, 0, "0 10", CAPS)],
    ["PID 1 as 1000", ["-u", "1000"], status(1000, 1000, "10 1000 2000", NONE)],
  ] as const;
  for (const [name, options, expected] of kinds) {
    test(name, async () => {
      await using store = await newStore();
      const seen = await collect(store, ["run", "--rm", "--network", "none", "--hostname", "box", ...options, root]);
      expect(seen["status"]).toEqual(expected);
      check(seen);
    });
  }

  for (const [user, expected] of [
    [undefined, status(0, 0, "0 10", CAPS)],
    ["user", status(1000, 1000, "10 1000 2000", NONE)],
  ] as const) {
    test(`exec as ${user ?? "the container's user"}`, async () => {
      await using store = await newStore();
      const id = await store.ok(["run", "-d", "--network", "none", "--hostname", "box", root, "sleep", "1000"]);
      const seen = await collect(store, ["exec", ...(user === undefined ? [] : ["-u", user]), id]);
      expect(seen["status"]).toEqual(expected);
      check(seen);
    });
  }

  test("--init: the reaper is as confined as what it reaps", async () => {
    await using store = await newStore();
    const id = await store.ok(["run", "-d", "--init", "--network", "none", root, "sleep", "1000"]);
    const pid = await pidOf(store, id);
    const fields = readFileSync(`/proc/${pid}/status`, "utf8");
    expect(fields).toContain(`CapEff:\t${CAPS}`);
    expect(fields).toContain("Seccomp:\t2");
    expect(Object.keys(descriptorsOf(pid))).toEqual(["0", "1", "2"]);
    expect(readlinkSync(`/proc/${pid}/exe`)).toStartWith("/memfd:");
    expect(readFileSync(`/proc/${pid}/environ`, "utf8")).toBe("");
  });

  function check(seen: Sections): void {
    expect(seen["environment"]).toEqual(ENVIRONMENT);
    expect(seen["cwd"]).toEqual(["/", "/"]);
    expect(seen["dev"]).toEqual(DEV);
    expect(seen["oom"]).toEqual(["0"]);
    expect(seen["sysctl"]).toEqual([
      "net/ipv4/ip_unprivileged_port_start:0",
      "net/ipv4/ping_group_range:0\t2147483647",
      expect.stringMatching(/^net\/ipv4\/ip_forward:[01]$/),
      "kernel/hostname:box",
    ]);
    expect(seen["root"]).toEqual(["drwxr-xr-x 0:0 /", "drwxrwxrwt 0:0 /dev/shm", expect.stringMatching(/ \/tmp$/)]);
    const mounts = (seen["mounts"] ?? []).map(mountOf);
    const isProtection = (line: string): boolean => /^\/(proc|sys)\/.+ (tmpfs|devtmpfs|proc|sysfs)/.test(line);
    const cgroups = mounts.filter((line) => line.startsWith("/sys/fs/cgroup"));
    for (const line of cgroups)
      expect(line).toMatch(/^\/sys\/fs\/cgroup(\/\S+)? (cgroup2?|tmpfs): ro,nosuid,nodev,noexec,relatime$/);
    const files = mounts.filter((line) => line.startsWith("/etc/"));
    expect(files.map((line) => line.split(" ")[0])).toEqual(["/etc/resolv.conf", "/etc/hostname", "/etc/hosts"]);
    const rest = mounts.filter((line) => !cgroups.includes(line) && !files.includes(line));
    expect(rest.filter((line) => !isProtection(line))).toEqual(MOUNTS);
    for (const line of rest.filter(isProtection)) {
      // Read-only paths, masked directories, masked files.
      expect(line).toMatch(
        /^\/proc\/(bus|fs|irq|sys|sysrq-trigger) proc of \S+: ro,|^\S+ tmpfs: ro,nosuid,nodev,noexec,relatime$|^\S+ (dev)?tmpfs of \/null: ro,nosuid,noexec,/,
      );
    }
    expect(rest.filter(isProtection).map((line) => line.split(" ")[0])).toContain("/proc/sys");
  }
});

test("what is open in PID 1, in exec's process, and with -i", async () => {
  await using store = await newStore();
  for (const options of [[], ["-i"]]) {
    const id = await store.ok(["run", "-d", ...options, "--network", "none", root, "sleep", "1000"]);
    const fds = descriptorsOf(await pidOf(store, id));
    const input = options.length === 0 ? "/dev/null" : expect.stringMatching(/^pipe:/);
    expect(fds).toEqual({ 0: input, 1: expect.stringMatching(/^pipe:/), 2: expect.stringMatching(/^pipe:/) });
    const listing = ["exec", id, "sh", "-c", "for n in $(seq 0 40); do [ -e /proc/$$/fd/$n ] && echo $n; done; :"];
    expect(await store.ok(listing)).toBe("0\n1\n2");
  }
});

test("limits of a process are the host's, but for open files", async () => {
  await using store = await newStore();
  const limits = await store.ok(["run", "--rm", "--network", "none", root, "cat", "/proc/self/limits"]);
  const own = readFileSync("/proc/self/limits", "utf8").trimEnd().split("\n");
  for (const [i, line] of limits.split("\n").entries()) {
    if (line.startsWith("Max open files")) {
      const hard = Math.min(524_288, Number(own[i]?.split(/\s+/)[4]));
      expect(line.split(/\s+/).slice(3, 5)).toEqual(["1024", String(hard)]);
    } else expect(line.trimEnd()).toBe(own[i]?.trimEnd() ?? "");
  }
});

test("the monitor: small, alone, and out of everybody's way", async () => {
  await using store = await newStore();
  const env = { BUN_INSTALL: "/x", LD_LIBRARY_PATH: "/x", SECRET: "y" };
  const id = await store.ok(["run", "-d", "--network", "none", root, "sleep", "1000"], { env, cwd: tmpdir() });
  const monitor = Number(/PPid:\s*([0-9]+)/.exec(readFileSync(`/proc/${await pidOf(store, id)}/status`, "utf8"))?.[1]);
  const proc = `/proc/${monitor}`;
  expect(readFileSync(`${proc}/environ`, "utf8")).toBe("");
  expect(readlinkSync(`${proc}/cwd`)).toBe("/");
  expect(readlinkSync(`${proc}/exe`)).toStartWith("/memfd:");
  const text = readFileSync(`${proc}/status`, "utf8");
  expect(text).toContain("Threads:\t1\n");
  const pss = Number(/Pss:\s+([0-9]+) kB/.exec(readFileSync(`${proc}/smaps_rollup`, "utf8"))?.[1]);
  expect(pss).toBeLessThanOrEqual(100);
  const allowed = /^(\/dev\/null|pipe:|socket:|anon_inode:|\/memfd:)/;
  const own = [store.root, store.runRoot];
  for (const [fd, target] of Object.entries(descriptorsOf(monitor))) {
    const isKnown = allowed.test(target) || own.some((path) => target.startsWith(path));
    expect({ fd, target, isKnown }).toEqual({ fd, target, isKnown: true });
  }
  // None of its own: it must not be what keeps a mount or a terminal busy.
  const session = readFileSync(`${proc}/stat`, "latin1").split(") ")[1]?.split(" ") ?? [];
  expect(session[3]).toBe(String(monitor));
  expect(session[4]).toBe("0");
});

async function pidOf(store: Store, name: string): Promise<number> {
  const [{ State }] = JSON.parse(await store.ok(["inspect", name])) as [{ State: { Pid: number } }];
  return State.Pid;
}
