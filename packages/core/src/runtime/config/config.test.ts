import { describe, expect, test } from "bun:test";
import { RLIMIT } from "@bantubox/ffi";
import { ALL_CAPABILITIES, capabilitySet } from "../capabilities.ts";
import { checkConfig, checkProcess, type HostFacts } from "./check.ts";
import { parseConfig, parseProcess, parseResources } from "./parse.ts";

const HOST: HostFacts = { bounding: ALL_CAPABILITIES, hasSelinux: false, hasAppArmor: false };
const MINIMAL = { ociVersion: "1.2.0", root: { path: "/" }, process: { cwd: "/", args: ["true"] } };

function parse(config: object): ReturnType<typeof parseConfig> {
  return parseConfig(JSON.stringify({ ...MINIMAL, ...config }), "/bundle");
}

function check(config: object, host: HostFacts = HOST): ReturnType<typeof checkConfig> {
  return checkConfig(parse(config), host);
}

/** What a process lacks by itself, with some of it replaced. */
function withProcess(fields: object): object {
  return { process: { ...MINIMAL.process, ...fields } };
}

function withLinux(fields: object, ...namespaces: readonly string[]): object {
  return { linux: { namespaces: namespaces.map((type) => ({ type })), ...fields } };
}

const MAP = [{ containerID: 0, hostID: 100_000, size: 65_536 }];

describe("parseConfig()", () => {
  test("fills in what a file may leave out", () => {
    const spec = parse({ root: { path: "rootfs" }, mounts: [{ destination: "data", source: "d", options: ["bind"] }] });
    expect(spec.root.path).toBe("/bundle/rootfs");
    expect(spec.mounts).toEqual([{ destination: "/data", source: "/bundle/d", options: ["bind"] }]);
    const capabilities = { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] };
    expect(spec.process).toEqual({ cwd: "/", args: ["true"], env: [], user: { uid: 0, gid: 0 }, capabilities });
    expect(spec.linux.namespaces).toEqual([]);
  });

  test("takes null as left out, and passes what it does not know", () => {
    const spec = parse({ linux: { seccomp: null, resources: { memory: null } }, hostname: null, vm: { x: 1 } });
    expect(spec.linux).toEqual({ namespaces: [], resources: {} });
    expect(spec.hostname).toBeUndefined();
    expect(spec).toHaveProperty("vm");
  });

  test("knows no limit in what is larger than a number", () => {
    const json = `{"cwd": "/", "args": ["a"], "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 18446744073709551615}]}`;
    expect(parseProcess(json, parse({}).process).rlimits).toEqual([{ type: "RLIMIT_CORE", soft: 0, hard: -1 }]);
    expect(parseResources(`{"memory": {"limit": 9223372036854771712, "swap": 4096}}`)).toEqual({
      memory: { limit: -1, swap: 4096 },
    });
  });

  test("keeps every digit of a seccomp argument", () => {
    const args = `[{"index": 0, "op": "SCMP_CMP_EQ", "value": 18446744073709551615}]`;
    const seccomp = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG", "args": ${args}}]}`;
    const text = JSON.stringify(MINIMAL).replace(/}$/, `, "linux": {"seccomp": ${seccomp}}}`);
    expect(parseConfig(text, "/").linux.seccomp?.syscalls?.[0]?.args?.[0]?.value).toBe(0xffff_ffff_ffff_ffffn);
  });

  test.each([
    ["no JSON", "{", "it is not JSON"],
    ["a wrong type", JSON.stringify({ ...MINIMAL, hostname: 1 }), '"hostname" must be a string'],
    ["a missing field", JSON.stringify({ ...MINIMAL, root: {} }), '"root.path" is missing'],
    ["a NUL", JSON.stringify({ ...MINIMAL, root: { path: "/\0" } }), '"root.path" must not hold a NUL'],
    [
      "a user that is -1",
      JSON.stringify({ ...MINIMAL, ...withProcess({ user: { uid: 4_294_967_295, gid: 0 } }) }),
      "process.user.uid",
    ],
    [
      "a place deep inside",
      JSON.stringify({ ...MINIMAL, mounts: [{ destination: "/", options: [1] }] }),
      "mounts[0].options[0]",
    ],
    ["a namespace of no type", JSON.stringify({ ...MINIMAL, linux: { namespaces: [{ type: "net" }] } }), 'not "net"'],
    ["a version of the past", JSON.stringify({ ...MINIMAL, ociVersion: "0.5.0" }), 'version "0.5.0"'],
    ["no version", JSON.stringify({ ...MINIMAL, ociVersion: "one" }), "semantic version"],
    [
      "a hook without time",
      JSON.stringify({ ...MINIMAL, hooks: { prestart: [{ path: "/x", timeout: 0 }] } }),
      "hooks.prestart[0].timeout",
    ],
  ])("refuses %s", (_, json, words) => {
    expect(() => parseConfig(json, "/")).toThrow(words);
  });
});

describe("checkConfig()", () => {
  test.each([
    ["a root that is none", { root: { path: "/proc/version" } }, "root.path"],
    ["no command", withProcess({ args: [] }), "process.args"],
    ["a relative cwd", withProcess({ cwd: "tmp" }), "process.cwd"],
    ["a limit of no name", withProcess({ rlimits: [{ type: "RLIMIT_TEST", soft: 1, hard: 1 }] }), "RLIMIT_TEST"],
    ["a limit twice", withProcess({ rlimits: Array(2).fill({ type: "RLIMIT_CORE", soft: 1, hard: 1 }) }), "twice"],
    ["a soft limit too high", withProcess({ rlimits: [{ type: "RLIMIT_CORE", soft: 2, hard: 1 }] }), "above the hard"],
    ["an impossible oomScoreAdj", withProcess({ oomScoreAdj: 1001 }), "oomScoreAdj"],
    ["a priority without real time", withProcess({ scheduler: { policy: "SCHED_OTHER", priority: 5 } }), "priority"],
    ["no such policy", withProcess({ scheduler: { policy: "SCHED_X" } }), "SCHED_X"],
    ["no such I/O class", withProcess({ ioPriority: { class: "IDLE", priority: 0 } }), "ioPriority.class"],
    ["no list of CPUs", withProcess({ execCPUAffinity: { initial: "0-" } }), "0-"],
    ["a hostname without its namespace", { hostname: "a" }, "uts namespace"],
    ["a hostname of 65 bytes", { hostname: "a".repeat(65), ...withLinux({}, "uts") }, "64 bytes"],
    ["two namespaces of a type", withLinux({}, "pid", "pid"), "twice"],
    [
      "a namespace that is not there",
      { linux: { namespaces: [{ type: "pid", path: "/nowhere" }] } },
      "cannot be opened",
    ],
    [
      "a namespace of another type",
      { linux: { namespaces: [{ type: "pid", path: "/proc/self/ns/net" }] } },
      "not a namespace of that type",
    ],
    [
      "a file that is no namespace",
      { linux: { namespaces: [{ type: "pid", path: "/proc/version" }] } },
      "not a namespace",
    ],
    ["maps without users", withLinux({ uidMappings: MAP, gidMappings: MAP }), "user namespace"],
    ["users without maps", withLinux({}, "user"), "must map users"],
    ["maps that overlap", withLinux({ uidMappings: [...MAP, ...MAP], gidMappings: MAP }, "user"), "overlap"],
    [
      "an empty map",
      withLinux({ uidMappings: [{ containerID: 0, hostID: 0, size: 0 }], gidMappings: MAP }, "user"),
      "size",
    ],
    ["offsets without a time namespace", withLinux({ timeOffsets: { boottime: { secs: 1 } } }), "time namespace"],
    [
      "offsets of a joined one",
      { linux: { namespaces: [{ type: "time", path: "/proc/self/ns/time" }], timeOffsets: { boottime: {} } } },
      "joined",
    ],
    ["offsets of another clock", withLinux({ timeOffsets: { realtime: { secs: 1 } } }, "time"), "not a clock"],
    ["masks without mounts", withLinux({ maskedPaths: ["/proc/kcore"] }), "mount namespace"],
    ["a relative mask", withLinux({ maskedPaths: ["proc"] }, "mount"), "absolute"],
    ["no such propagation", withLinux({ rootfsPropagation: "public" }), "rootfsPropagation"],
    ["a device without a number", withLinux({ devices: [{ type: "c", path: "/dev/x" }] }), "major"],
    ["a device without a name", withLinux({ devices: [{ type: "p", path: "/dev/" }] }), "absolute path"],
    ["a link for no network", withLinux({ netDevices: { eth0: {} } }), "network namespace"],
    ["a link of no name", withLinux({ netDevices: { eth0: { name: "a/b" } } }, "network"), "a/b"],
    ["a machine's parameter", withLinux({ sysctl: { "kernel.panic": "1" } }, "ipc"), "whole machine"],
    ["a network's without one", withLinux({ sysctl: { "net.ipv4.ip_forward": "1" } }), "network namespace"],
    [
      "a network's in the caller's own",
      {
        linux: { namespaces: [{ type: "network", path: "/proc/self/ns/net" }], sysctl: { "net/ipv4/ip_forward": "1" } },
      },
      "network namespace",
    ],
    ["queues without IPC", withLinux({ sysctl: { "fs.mqueue.msg_max": "1" } }), "ipc namespace"],
    [
      "a parameter that leads elsewhere",
      withLinux({ sysctl: { "net.//.kernel.panic": "1" } }, "network"),
      "not a name",
    ],
    [
      "a hostname said twice",
      { hostname: "a", ...withLinux({ sysctl: { "kernel.hostname": "b" } }, "uts") },
      '"hostname"',
    ],
    ["RDT", withLinux({ intelRdt: { closID: "a" } }), "intelRdt"],
    ["a policy without nodes", withLinux({ memoryPolicy: { mode: "MPOL_BIND" } }), "at least one"],
    ["no such domain", withLinux({ personality: { domain: "BSD" } }), "BSD"],
    [
      "nobody to ask",
      withLinux({
        seccomp: { defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_NOTIFY" }] },
      }),
      "listenerPath",
    ],
    ["a terminal without mounts", withProcess({ terminal: true }), "mount namespace"],
    [
      "a bind of what is not there",
      { mounts: [{ destination: "/a", source: "/no/x", options: ["bind"] }] },
      "no such file",
    ],
    ["a bind of nothing", { mounts: [{ destination: "/a", options: ["bind"] }] }, "needs a source"],
    [
      "maps of half the ids",
      { mounts: [{ destination: "/a", source: "/", options: ["bind", "idmap"], uidMappings: MAP }] },
      "come together",
    ],
    [
      "maps from nowhere",
      { mounts: [{ destination: "/a", source: "/", options: ["bind", "idmap"] }] },
      "needs mappings",
    ],
    [
      "maps of a file system",
      { mounts: [{ destination: "/a", type: "tmpfs", options: ["idmap"] }] },
      "only bind mounts",
    ],
    [
      "copying up into a bind",
      { mounts: [{ destination: "/a", source: "/", options: ["bind", "tmpcopyup"] }] },
      "tmpcopyup",
    ],
  ])("refuses %s", (_, config, words) => {
    expect(() => check(config)).toThrow(words);
  });

  test("leaves out what this host cannot grant, and says so", () => {
    const names = ["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_MADE_UP"];
    const capabilities = { bounding: names, permitted: names, effective: names, inheritable: [], ambient: names };
    const host = { ...HOST, bounding: capabilitySet(["CAP_CHOWN"]) };
    const { value, warnings } = check(withProcess({ capabilities, apparmorProfile: "p", selinuxLabel: "l" }), host);
    const kept = ["CAP_CHOWN"];
    expect(value.process.capabilities).toEqual({
      bounding: kept,
      permitted: kept,
      effective: kept,
      inheritable: [],
      ambient: [],
    });
    expect(value.process).not.toHaveProperty("apparmorProfile");
    expect(value.process).not.toHaveProperty("selinuxLabel");
    expect(warnings).toEqual([
      'No capability has the name "CAP_MADE_UP"',
      "This host cannot grant CAP_SYS_ADMIN: left out",
      "process.apparmorProfile is left out: AppArmor is not enabled on this host",
      "process.selinuxLabel is left out: SELinux is not enabled on this host",
    ]);
  });

  test("gives no capability that is not named, and all of them in a user namespace of its own", () => {
    const none = { bounding: [], permitted: [], effective: [], inheritable: [], ambient: [] };
    expect(check({}).value.process.capabilities).toEqual(none);
    const capabilities = { ...none, bounding: ["CAP_SYS_ADMIN"] };
    const host = { ...HOST, bounding: capabilitySet([]) };
    const users = withLinux({ uidMappings: MAP, gidMappings: MAP }, "user");
    const { value, warnings } = check({ ...users, ...withProcess({ capabilities }) }, host);
    expect(value.process.capabilities?.bounding).toEqual(["CAP_SYS_ADMIN"]);
    expect(warnings).toEqual([]);
  });

  test("knows every limit of the kernel's", () => {
    const rlimits = Object.keys(RLIMIT).map((name) => ({ type: `RLIMIT_${name}`, soft: 1, hard: -1 }));
    const process = { ...parse({}).process, rlimits };
    expect(checkProcess(process, HOST).value.rlimits).toEqual(rlimits);
  });

  test("takes what engines write", () => {
    const { value } = check({
      hostname: "box",
      mounts: [
        { destination: "/proc", type: "proc", source: "proc" },
        { destination: "/d", type: "bind", source: "/proc/version", options: ["rbind", "rprivate"] },
        { destination: "/m", source: "/tmp", options: ["rbind", "idmap"] },
      ],
      ...withLinux(
        {
          uidMappings: MAP,
          gidMappings: MAP,
          timeOffsets: { monotonic: { secs: -5 }, boottime: { nanosecs: 1 } },
          sysctl: { "net.ipv4.conf.eth0/1.forwarding": "1", "kernel.shmmax": "1", "kernel.domainname": "d" },
          maskedPaths: ["/proc/kcore"],
          rootfsPropagation: "rslave",
          memoryPolicy: { mode: "MPOL_BIND", nodes: "0" },
          personality: { domain: "LINUX32" },
          devices: [{ type: "u", path: "/dev/x", major: 1, minor: 1_048_575 }],
        },
        ...["mount", "pid", "uts", "ipc", "network", "user", "cgroup", "time"],
      ),
    });
    expect(value.hostname).toBe("box");
    expect(value.mounts[1]).toEqual({
      destination: "/d",
      type: "bind",
      source: "/proc/version",
      options: ["rbind", "rprivate", "x-bantubox.file"],
    });
  });
});
