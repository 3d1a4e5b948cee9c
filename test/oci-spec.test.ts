/** What config.json asks for, as a container sees it: run by bb-oci, on this kernel. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { makeBusybox, missing, run } from "./harness.ts";
import { type Config, cgroupsOf, newRuntime, type Runtime } from "./oci-harness.ts";

const noPython = missing("no python3 to play the listener", Bun.which("python3") === null);
let runtime: Runtime;

beforeEach(() => {
  runtime = newRuntime();
});
afterEach(async () => await runtime[Symbol.asyncDispose]());

/** What a container with a changed default configuration prints. */
async function output(command: string | readonly string[], change?: (config: Config) => void): Promise<string> {
  const { code, stdout, stderr } = await result(command, change);
  if (code !== 0) throw new Error(`status ${code}: ${stderr}${stdout}`);
  return stdout.trimEnd();
}

async function result(command: string | readonly string[], change?: (config: Config) => void) {
  const args = typeof command === "string" ? ["sh", "-c", command] : command;
  const bundle = await runtime.bundle(args, change);
  return await runtime.oci(["run", "--bundle", bundle, runtime.id()]);
}

/** A root directory of this test's own. */
async function ownRoot(owner = 0): Promise<string> {
  const root = join(runtime.directory, "own-root");
  mkdirSync(root);
  await makeBusybox(root);
  if (owner !== 0) await run(["chown", "-R", `${owner}:${owner}`, root]);
  return root;
}

const MAP = [{ containerID: 0, hostID: 100_000, size: 65_536 }];

/** Adds a user namespace whose root is the host's user 100000. */
function mapUsers(config: Config): void {
  config.linux.namespaces.push({ type: "user" });
  config.linux["uidMappings"] = MAP;
  config.linux["gidMappings"] = MAP;
}

function without(config: Config, type: string): void {
  config.linux.namespaces = config.linux.namespaces.filter((namespace) => namespace.type !== type);
}

describe("namespaces", () => {
  test("of users: maps, a root that is nobody on the host, devices of the host", async () => {
    const root = await ownRoot(100_000);
    const text = await output(
      "id -u; cat /proc/self/uid_map; touch /made; cat /dev/null; ls -l /dev/zero",
      (config) => {
        mapUsers(config);
        config.root = { path: root, readonly: false };
      },
    );
    expect(text).toMatch(/^0\n\s+0\s+100000\s+65536\n.*1, +5 .*\/dev\/zero$/s);
    expect((await run(["stat", "-c", "%u:%g", join(root, "made")])).stdout.trim()).toBe("100000:100000");
  });

  test("of users, whose root cannot reach what is mounted for it", async () => {
    const secret = join(runtime.directory, "secret");
    mkdirSync(secret);
    writeFileSync(join(secret, "file"), "reached\n");
    chmodSync(secret, 0o755);
    const outer = join(runtime.directory, "outer");
    mkdirSync(outer);
    await run(["mv", secret, outer]);
    chmodSync(outer, 0o700);
    const root = await ownRoot(100_000);
    const text = await output("cat /data/file", (config) => {
      mapUsers(config);
      config.root.path = root;
      config.mounts.push({ destination: "/data", source: join(outer, "secret"), options: ["rbind", "ro"] });
    });
    expect(text).toBe("reached");
  });

  test("of PIDs and networks, joined by path", async () => {
    const holder = Bun.spawn(["unshare", "--pid", "--net", "--fork", "--kill-child", "sleep", "60"]);
    try {
      const inner = await waitChild(holder.pid);
      const text = await output("readlink /proc/self/ns/net; ps | grep -c '[s]leep 60'", (config) => {
        for (const namespace of config.linux.namespaces) {
          if (namespace.type === "pid") namespace.path = `/proc/${inner}/ns/pid`;
          if (namespace.type === "network") namespace.path = `/proc/${inner}/ns/net`;
        }
      });
      const link = (await run(["readlink", `/proc/${inner}/ns/net`])).stdout.trim();
      expect(text.split("\n")).toEqual([link, "1"]);
    } finally {
      holder.kill("SIGKILL");
      await holder.exited;
    }
  });

  test("of time, with offsets", async () => {
    const text = await output("cut -d. -f1 /proc/uptime", (config) => {
      config.linux.namespaces.push({ type: "time" });
      config.linux["timeOffsets"] = { boottime: { secs: 1_000_000 }, monotonic: { secs: 5 } };
    });
    expect(Number(text)).toBeGreaterThan(1_000_000);
  });

  test("that are left out are the caller's", async () => {
    const text = await output("hostname", (config) => {
      for (const type of ["uts", "ipc", "network", "cgroup", "mount"]) without(config, type);
      config.mounts = [];
      delete config["hostname"];
      config.root.readonly = false;
      config.linux["maskedPaths"] = [];
      config.linux["readonlyPaths"] = [];
    });
    expect(text).toBe(hostname());
  });
});

async function waitChild(parent: number): Promise<string> {
  for (;;) {
    const text = readFileSync(`/proc/${parent}/task/${parent}/children`, "utf8").trim();
    if (text !== "") return text;
    await Bun.sleep(10);
  }
}

describe("mounts", () => {
  test("have each its own options, and what lies below only the recursive ones", async () => {
    const source = join(runtime.directory, "tree");
    mkdirSync(join(source, "below"), { recursive: true });
    await run(["mount", "-t", "tmpfs", "tmpfs", join(source, "below")]);
    try {
      const lines = (
        await output("grep ' /tmp/' /proc/mounts | cut -d' ' -f2,4", (config) => {
          config.mounts.push({ destination: "/tmp", type: "tmpfs", source: "tmpfs" });
          config.mounts.push({ destination: "/tmp/one", source, options: ["rbind", "ro", "nosuid"] });
          config.mounts.push({ destination: "/tmp/two", source, options: ["rbind", "rro", "rnoexec"] });
        })
      ).split("\n");
      const options = Object.fromEntries(lines.map((line) => line.split(" "))) as Record<string, string>;
      expect(options["/tmp/one"]).toMatch(/^ro,nosuid/);
      expect(options["/tmp/one/below"]).toMatch(/^rw/);
      expect(options["/tmp/two"]).toMatch(/^ro,noexec/);
      expect(options["/tmp/two/below"]).toMatch(/^ro,noexec/);
    } finally {
      await run(["umount", join(source, "below")]);
    }
  });

  test("of memory have the mode of what they cover, and with tmpcopyup all of it", async () => {
    const root = await ownRoot();
    const data = join(root, "data");
    mkdirSync(join(data, "sub"), { recursive: true });
    writeFileSync(join(data, "file"), "text\n");
    chownSync(join(data, "file"), 7, 8);
    symlinkSync("file", join(data, "link"));
    chmodSync(join(data, "sub"), 0o2750);
    chmodSync(data, 0o750);
    const text = await output(
      "stat -c '%a %u:%g %n' /data /data/file /data/sub /new; cat /data/link; touch /data/x 2>&1; mount | grep -c ' /data type tmpfs'",
      (config) => {
        config.root.path = root;
        config.mounts.push({ destination: "/data", type: "tmpfs", source: "tmpfs", options: ["tmpcopyup", "ro"] });
        config.root.readonly = false;
        config.mounts.push({ destination: "/new", type: "tmpfs", source: "tmpfs" });
      },
    );
    expect(text.split("\n")).toEqual([
      "750 0:0 /data",
      "644 7:8 /data/file",
      "2750 0:0 /data/sub",
      "1777 0:0 /new",
      "text",
      "touch: /data/x: Read-only file system",
      "1",
    ]);
  });

  test("show owners as maps say, their own or the container's", async () => {
    const source = join(runtime.directory, "owned");
    mkdirSync(source);
    writeFileSync(join(source, "file"), "");
    chownSync(join(source, "file"), 1000, 1000);
    const bind = { destination: "/mnt", source, options: ["rbind", "idmap"] };
    const root = await ownRoot();
    const maps = [
      { containerID: 0, hostID: 0, size: 1 },
      { containerID: 1000, hostID: 5000, size: 1 },
    ];
    const own = await output("stat -c %u:%g /mnt/file", (config) => {
      config.root = { path: root, readonly: false };
      config.mounts.push({ ...bind, uidMappings: maps, gidMappings: maps });
    });
    expect(own).toBe("5000:5000");
    await run(["chown", "-R", "100000:100000", root]);
    const users = await output("stat -c %u:%g /mnt/file", (config) => {
      mapUsers(config);
      config.root = { path: root, readonly: false };
      config.mounts.push(bind);
    });
    expect(users).toBe("1000:1000");
  });

  test("of cgroups show the container's own group; v2's without a namespace all of them, as runc's", async () => {
    const isV2 = existsSync("/sys/fs/cgroup/cgroup.controllers");
    for (const hasNamespace of [true, false]) {
      const files =
        isV2 && !hasNamespace
          ? "/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/cgroup.procs"
          : "/sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs";
      const text = await output(`cat ${files} 2>/dev/null | sort -un | head -1`, (config) => {
        if (!hasNamespace) without(config, "cgroup");
      });
      expect(text).toBe("1");
    }
  });

  test.each([
    ["shared", /^\[shared:[0-9]+ \]\n$/],
    ["private", /^\[\]\n$/],
    ["unbindable", /^\[unbindable \]\n$/],
    ["rslave", /^\[master:[0-9]+ \]\n$/],
  ])("spread from a root that is %s, on a host that spreads its own", async (rootfsPropagation, expected) => {
    // The fields between the options of what is mounted on / and the dash.
    const script = "sed -nE 's|^[0-9]+ [0-9]+ [^ ]+ [^ ]+ / [^ ]+ (.*)- .*|[\\1]|p' /proc/self/mountinfo";
    const bundle = await runtime.bundle(["sh", "-c", script], (config) => {
      config.linux["rootfsPropagation"] = rootfsPropagation;
    });
    const onHost = ["unshare", "--mount", "--propagation", "shared", ...runtime.command];
    const { stdout } = await run([...onHost, "run", "--bundle", bundle, runtime.id()]);
    expect(stdout).toMatch(expected);
  });

  test("on the root are the root from then on, also of those behind them", async () => {
    const script = "ls -d /proc/self; mkdir /made && ls /";
    const bundle = await runtime.bundle(["sh", "-c", script], (config) => {
      const own = join(runtime.directory, "own");
      cpSync(config.root.path, own, { recursive: true, verbatimSymlinks: true });
      mkdirSync(join(own, "mark"));
      config.root.readonly = false;
      config.mounts.unshift({ destination: "/", type: "bind", source: own, options: ["rbind", "rw"] });
    });
    const lines = (await runtime.ok(["run", "--bundle", bundle, runtime.id()])).split("\n");
    expect(lines).toContain("mark");
    expect(lines).toContain("made");
    expect(lines).toContain("/proc/self");
  });

  test.each([
    ["a file", "/dev/null", "/proc"],
    ["a directory", "/tmp", "/bin/busybox"],
  ])("of %s on what is none are refused in the kernel's words", async (_, source, destination) => {
    const bundle = await runtime.bundle(["true"], ({ mounts }) => {
      mounts.push({ destination, type: "bind", source, options: ["rbind"] });
    });
    const { code, stderr } = await runtime.oci(["run", "--bundle", bundle, runtime.id()]);
    expect(code).toBe(1);
    expect(stderr).toContain(`Cannot mount on \\"${destination}\\": ENOTDIR: not a directory`);
  });

  test.each(["acl", "noacl"])("of memory take %s", async (option) => {
    const bundle = await runtime.bundle(["true"], ({ mounts }) => {
      mounts.push({ destination: "/tmp", type: "tmpfs", source: "tmpfs", options: [option] });
    });
    await runtime.ok(["run", "--bundle", bundle, runtime.id()]);
    const { mountOptions } = JSON.parse(await runtime.ok(["features"])) as { mountOptions: string[] };
    expect(mountOptions).toContain(option);
  });

  test("of sources that are not there are refused before anything is made", async () => {
    const { code, stderr } = await result("true", (config) => {
      config.mounts.push({ destination: "/x", source: "/not/there", options: ["bind"] });
      config.linux.cgroupsPath = "/bb-test-never";
    });
    expect(code).not.toBe(0);
    expect(stderr).toContain("/not/there");
    expect(cgroupsOf("bb-test-never")).toEqual([]);
    expect(existsSync(runtime.root) ? readdirSync(runtime.root) : []).toEqual([]);
  });
});

test("network devices move in with their addresses, under another name", async () => {
  const [name, peer] = [`bbt${process.pid % 100_000}`, `bbp${process.pid % 100_000}`];
  await run(["ip", "link", "add", name, "type", "veth", "peer", "name", peer]);
  try {
    await run(["ip", "address", "add", "192.0.2.7/24", "dev", name]);
    const text = await output("ip -4 address show; ip link show inner0", (config) => {
      config.linux["netDevices"] = { [name]: { name: "inner0" } };
    });
    expect(text).toContain("inet 192.0.2.7/24");
    expect(text).toMatch(/inner0.*<[^>]*UP/);
    const { code, stderr } = await result("true", (config) => {
      config.linux["netDevices"] = { nowhere0: {} };
    });
    expect([code === 0, stderr]).toEqual([false, expect.stringContaining("nowhere0")]);
  } finally {
    await run(["ip", "link", "delete", peer]);
  }
});

describe("devices", () => {
  test("of all types, with mode and owner, and of large numbers", async () => {
    const text = await output("cd /dev; stat -c '%a %u:%g %F %t:%T %n' fuse fifo big null", (config) => {
      config.linux["devices"] = [
        { type: "c", path: "/dev/fuse", major: 10, minor: 229, fileMode: 0o640, uid: 5, gid: 6 },
        { type: "p", path: "/dev/fifo" },
        { type: "b", path: "/dev/big", major: 8, minor: 300, fileMode: 0o600 },
        { type: "u", path: "/dev/null", major: 1, minor: 3, fileMode: 0o600 },
      ];
    });
    expect(text.split("\n")).toEqual([
      "640 5:6 character special file a:e5 fuse",
      "666 0:0 fifo 0:0 fifo",
      "600 0:0 block special file 8:12c big",
      "600 0:0 character special file 1:3 null",
    ]);
  });

  test("are not what already stands there", async () => {
    const root = await ownRoot();
    writeFileSync(join(root, "etc/device"), "");
    const { code, stderr } = await result("true", (config) => {
      config.root.path = root;
      config.linux["devices"] = [{ type: "c", path: "/etc/device", major: 1, minor: 3 }];
    });
    expect(code).not.toBe(0);
    expect(stderr).toContain("something else is there");
  });

  test("are there without a /dev of the configuration's", async () => {
    const root = await ownRoot();
    const text = await output("ls /dev", (config) => {
      config.root = { path: root, readonly: false };
      config.mounts = config.mounts.filter(({ destination }) => !String(destination).startsWith("/dev"));
    });
    for (const name of ["full", "null", "ptmx", "random", "tty", "urandom", "zero"]) expect(text).toContain(name);
  });
});

describe("the process", () => {
  test("is scheduled as it asks, and remembered so by the kernel", async () => {
    const hasNuma = existsSync("/proc/self/numa_maps");
    const text = await output(
      "cut -d' ' -f19,41 /proc/self/stat; cat /proc/self/oom_score_adj /proc/self/personality; head -1 /proc/self/numa_maps | cut -d' ' -f2",
      (config) => {
        config.process["scheduler"] = { policy: "SCHED_BATCH", nice: 5 };
        config.process["ioPriority"] = { class: "IOPRIO_CLASS_IDLE", priority: 0 };
        config.process["oomScoreAdj"] = 77;
        config.linux["personality"] = { domain: "LINUX32" };
        if (hasNuma) config.linux["memoryPolicy"] = { mode: "MPOL_BIND", nodes: "0" };
      },
    );
    expect(text).toMatch(hasNuma ? /^5 3\n77\n0*8\nbind:0$/ : /^5 3\n77\n0*8$/);
  });

  test("has its limits, exactly", async () => {
    const text = await output("ulimit -Hn; ulimit -Sn; ulimit -Hc", (config) => {
      config.process["rlimits"] = [
        { type: "RLIMIT_NOFILE", soft: 100, hard: 200 },
        { type: "RLIMIT_CORE", soft: 0, hard: 0 },
      ];
    });
    expect(text.split("\n")).toEqual(["200", "100", "0"]);
  });

  test("sets the kernel's parameters of its namespaces", async () => {
    const text = await output(
      "cd /proc/sys; cat net/ipv4/ip_forward kernel/shmmax kernel/domainname fs/mqueue/msg_max",
      (config) => {
        config.linux["sysctl"] = {
          "net.ipv4.ip_forward": "1",
          "kernel.shmmax": "12345",
          "kernel.domainname": "dom",
          "fs/mqueue/msg_max": "11",
        };
      },
    );
    expect(text.split("\n")).toEqual(["1", "12345", "dom", "11"]);
  });

  test("needs no call allowed that the runtime makes before it, with no_new_privs", async () => {
    const text = await output("grep -E '^Seccomp:' /proc/self/status; cd /tmp || echo denied", (config) => {
      config.linux["seccomp"] = {
        defaultAction: "SCMP_ACT_ALLOW",
        syscalls: [{ names: ["chdir", "getcwd", "prctl", "close_range"], action: "SCMP_ACT_ERRNO" }],
      };
    });
    expect(text).toContain("Seccomp:\t2");
    expect(text).toContain("denied");
  });

  test.skipIf(noPython)("has its calls answered by a listener", async () => {
    const path = join(runtime.directory, "listener.sock");
    const agent = Bun.spawn(["python3", join(import.meta.dir, "probes/seccomp-agent.py"), path], { stdout: "pipe" });
    while (!existsSync(path)) await Bun.sleep(10);
    const { stderr } = await result("mkdir /tmp/made", (config) => {
      config.linux["seccomp"] = {
        defaultAction: "SCMP_ACT_ALLOW",
        listenerPath: path,
        listenerMetadata: "for you",
        syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_NOTIFY" }],
      };
    });
    expect(stderr).toContain("File exists");
    const state = JSON.parse(await new Response(agent.stdout).text()) as Record<string, unknown>;
    expect(state).toMatchObject({ fds: ["seccompFd"], metadata: "for you", state: { status: "creating" } });
    expect(state["pid"]).toBe((state["state"] as Record<string, unknown>)["pid"]);
    expect(await agent.exited).toBe(0);
  });

  test("gets what can be had of its capabilities, and a warning for the rest", async () => {
    const bundle = await runtime.bundle(["grep", "Cap", "/proc/self/status"], (config) => {
      const names = ["CAP_CHOWN", "CAP_NO_SUCH"];
      config.process["capabilities"] = {
        bounding: names,
        permitted: names,
        effective: names,
        inheritable: names,
        ambient: names,
      };
    });
    const { code, stdout, stderr } = await runtime.oci(["run", "--bundle", bundle, runtime.id()]);
    expect(code).toBe(0);
    for (const set of ["Inh", "Prm", "Eff", "Bnd", "Amb"]) expect(stdout).toContain(`Cap${set}:\t0000000000000001`);
    expect(stderr).toContain("CAP_NO_SUCH");
  });
});

describe("resources", () => {
  test("are held by the group, whichever version it is of", async () => {
    const cgroupsPath = `/bb-test-oci/${process.pid}`;
    const bundle = await runtime.bundle(["sleep", "60"], (config) => {
      config.linux.cgroupsPath = cgroupsPath;
      config.linux["resources"] = {
        memory: { limit: 64 << 20, kernel: 0 },
        cpu: { shares: 512, quota: 20_000, period: 50_000, burst: 1000 },
        pids: { limit: 33 },
      };
    });
    const id = runtime.id();
    const created = await runtime.oci(["create", "--bundle", bundle, id]);
    expect(created).toEqual({ code: 0, stdout: "", stderr: "" });
    const read = (...names: readonly string[]): string | undefined =>
      names
        .map((name) => `/sys/fs/cgroup${name}`)
        .filter(existsSync)
        .map((path) => readFileSync(path, "utf8").trim())[0];
    const of = (controller: string, v1: string, v2: string): string | undefined =>
      read(`/${controller}${cgroupsPath}/${v1}`, `${cgroupsPath}/${v2}`);
    expect(of("memory", "memory.limit_in_bytes", "memory.max")).toBe(String(64 << 20));
    expect(of("cpu", "cpu.cfs_quota_us", "cpu.max")).toMatch(/^20000/);
    expect(of("cpu", "cpu.cfs_burst_us", "cpu.max.burst")).toBe("1000");
    expect(of("pids", "pids.max", "pids.max")).toBe("33");
    await runtime.ok(["delete", "--force", id]);
    expect(cgroupsOf(cgroupsPath)).toEqual([]);
    await run(["sh", "-c", "rmdir /sys/fs/cgroup/bb-test-oci /sys/fs/cgroup/*/bb-test-oci 2>/dev/null"]);
  });

  test("let devices be opened only by the rules' order, and those that every container has", async () => {
    const text = await output(
      "for d in fuse null full; do (exec 3< /dev/$d) 2>/dev/null && echo $d; done",
      (config) => {
        config.linux["devices"] = [{ type: "c", path: "/dev/fuse", major: 10, minor: 229 }];
        config.linux["resources"] = {
          devices: [
            { allow: false, access: "rwm" },
            { allow: true, type: "c", major: 10, access: "rwm" },
            { allow: false, type: "c", major: 10, minor: 229, access: "rwm" },
          ],
        };
      },
    );
    expect(text.split("\n")).toEqual(["null", "full"]);
  });
});
