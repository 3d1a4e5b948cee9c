/** What a container may do: Docker's answers, measured from inside on the running kernel. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { attempt, Fd } from "../ffi/src/mod.ts";
import { probe } from "./compile.ts";
import { BB, makeBusybox, missing, newStore, run, type Store, until } from "./harness.ts";

const DEFAULT_CAPS = 0xa80425fbn;
const NET_ADMIN = 1n << 12n;
const hostCaps = BigInt(`0x${/CapBnd:\t(\w+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]}`);

let root = "";
beforeAll(async () => {
  root = await makeBusybox(mkdtempSync(join(tmpdir(), "bb-security-")));
  for (const name of ["spy", "terminal"]) await run(["cp", await probe(name), join(root, "bin", name)]);
});
afterAll(() => rmSync(root, { recursive: true }));

async function pidOf(store: Store, name: string): Promise<number> {
  const [{ State }] = JSON.parse(await store.ok(["inspect", name])) as [{ State: { Pid: number } }];
  return State.Pid;
}

/** Fields of /proc/self/status. */
function fields(status: string): Record<string, string> {
  return Object.fromEntries(status.split("\n").map((line) => line.split(/:\s*/) as [string, string]));
}

function caps(status: string): bigint[] {
  const of = fields(status);
  return ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map((name) => BigInt(`0x${of[name]}`));
}

/** Inheritable, permitted, effective, bounding, ambient. */
type Sets = readonly [bigint, bigint, bigint, bigint, bigint];
const asRoot = (set: bigint): Sets => [0n, set, set, set, 0n];
/** Who is not root keeps only what was named for it. */
const asUser = (set: bigint, named = 0n): Sets => [named, named, named, set, named];

describe("RT-12: capabilities", () => {
  const table: [string, string[], bigint, bigint][] = [
    ["the default", [], DEFAULT_CAPS, 0n],
    ["--cap-add", ["--cap-add", "NET_ADMIN"], DEFAULT_CAPS | NET_ADMIN, NET_ADMIN],
    ["--cap-drop", ["--cap-drop", "cap_chown"], DEFAULT_CAPS & ~1n, 0n],
    ["--cap-drop ALL", ["--cap-drop", "ALL"], 0n, 0n],
    ["--cap-drop ALL --cap-add", ["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"], NET_ADMIN, NET_ADMIN],
    ["a drop against an add", ["--cap-add", "CHOWN", "--cap-drop", "CHOWN"], DEFAULT_CAPS & ~1n, 0n],
    ["--cap-add ALL", ["--cap-add", "ALL"], hostCaps, 0n],
    ["--privileged", ["--privileged"], hostCaps, 0n],
  ];
  for (const [name, options, set, named] of table) {
    test(name, async () => {
      await using store = await newStore();
      const status = ["cat", "/proc/self/status"];
      const start = ["run", "-d", "--network", "none", ...options];
      const id = await store.ok([...start, root, "sleep", "1000"]);
      expect(caps(readFileSync(`/proc/${await pidOf(store, id)}/status`, "utf8"))).toEqual([...asRoot(set)]);
      expect(caps(await store.ok(["exec", id, ...status]))).toEqual([...asRoot(set)]);
      expect(caps(await store.ok(["exec", "-u", "1000", id, ...status]))).toEqual([...asUser(set)]);

      const user = await store.ok([...start, "-u", "1000", root, "sleep", "1000"]);
      expect(caps(readFileSync(`/proc/${await pidOf(store, user)}/status`, "utf8"))).toEqual([...asUser(set, named)]);
      expect(caps(await store.ok(["exec", user, ...status]))).toEqual([...asUser(set, named)]);
      expect(caps(await store.ok(["exec", "-u", "root", user, ...status]))).toEqual([...asRoot(set)]);
    });
  }

  test("exec --privileged has all of them", async () => {
    await using store = await newStore();
    const id = await store.ok(["run", "-d", "--network", "none", root, "sleep", "1000"]);
    const status = await store.ok(["exec", "--privileged", id, "cat", "/proc/self/status"]);
    expect(caps(status)).toEqual([...asRoot(hostCaps)]);
    expect(fields(status)["Seccomp"]).toBe("0");
  });

  test("an unknown name is an error", async () => {
    await using store = await newStore();
    for (const flag of ["--cap-add", "--cap-drop"]) {
      const { code, stderr } = await store.bb(["run", "--rm", "--network", "none", flag, "SYS_MAGIC", root, "true"]);
      expect(code).toBe(125);
      expect(stderr).toContain("SYS_MAGIC");
    }
  });
});

describe("RT-17: a security option is in force, or nothing starts", () => {
  test("no-new-privileges, also in exec", async () => {
    await using store = await newStore();
    const option = ["--security-opt", "no-new-privileges"];
    const id = await store.ok(["run", "-d", "--network", "none", ...option, root, "sleep", "1000"]);
    const init = fields(readFileSync(`/proc/${await pidOf(store, id)}/status`, "utf8"));
    const exec = fields(await store.ok(["exec", id, "cat", "/proc/self/status"]));
    for (const status of [init, exec]) {
      expect(status["NoNewPrivs"]).toBe("1");
      expect(status["Seccomp"]).toBe("2");
      expect(status["CapEff"]).toBe(DEFAULT_CAPS.toString(16).padStart(16, "0"));
    }
  });

  test("a seccomp profile of one's own, also with --privileged and in exec", async () => {
    await using store = await newStore();
    const file = join(store.runRoot, "..", "profile.json");
    const rule = { names: ["chmod", "fchmodat", "fchmod", "fchmodat2"], action: "SCMP_ACT_ERRNO", errnoRet: 13 };
    writeFileSync(file, JSON.stringify({ defaultAction: "SCMP_ACT_ALLOW", syscalls: [rule] }));
    const option = ["--network", "none", "--security-opt", `seccomp=${file}`];
    for (const more of [[], ["--privileged"]]) {
      const id = await store.ok(["run", "-d", ...option, ...more, root, "sleep", "1000"]);
      const { code, stderr } = await store.bb(["exec", id, "chmod", "700", "/tmp"]);
      expect({ code, stderr }).toEqual({ code: 1, stderr: "chmod: /tmp: Permission denied\n" });
    }
    const { code } = await store.bb(["run", "--rm", ...option, root, "chmod", "700", "/tmp"]);
    expect(code).toBe(1);
  });

  test("unconfined is unconfined", async () => {
    await using store = await newStore();
    const options = ["--network", "none", "--security-opt", "seccomp=unconfined"];
    const status = await store.ok(["run", "--rm", ...options, root, "cat", "/proc/self/status"]);
    expect(fields(status)["Seccomp"]).toBe("0");
  });

  test("what is unknown, or cannot be had, is an error", async () => {
    await using store = await newStore();
    const empty = join(store.runRoot, "..", "empty.json");
    writeFileSync(empty, "{}");
    const options = [
      "no-such-option",
      "no-new-privileges=maybe",
      "seccomp=/no/such/profile.json",
      `seccomp=${empty}`,
      "apparmor=no-such-profile",
      "label=type:container_t",
      "systempaths=unconfined",
      "",
    ];
    for (const option of options) {
      const { code, stderr } = await store.bb([
        "run",
        "--rm",
        "--network",
        "none",
        "--security-opt",
        option,
        root,
        "true",
      ]);
      expect({ option, code }).toEqual({ option, code: 125 });
      expect(stderr).toStartWith("bb: Cannot ");
    }
    expect(await store.ok(["ps", "-aq"])).toBe("");
  });
});

describe("KRN-03: masked paths", () => {
  const FILES = ["/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug"];
  const MORE_FILES = ["/proc/timer_list", "/proc/timer_stats"];
  const DIRECTORIES = ["/proc/acpi", "/proc/asound", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"];

  test("files are /dev/null, directories empty and read-only; RT-07: whatever the image has for a null", async () => {
    await using store = await newStore();
    const hostile = join(store.runRoot, "..", "root");
    await run(["cp", "-a", root, hostile]);
    await run(["mkdir", join(hostile, "dev")]);
    writeFileSync(join(hostile, "dev/null"), "the image's own null");
    const script = [...FILES, ...MORE_FILES]
      .map((path) => `[ -e ${path} ] && stat -c '%F %t:%T %n' ${path}`)
      .join("; ");
    const there = [...FILES, ...MORE_FILES].filter((path) => existsSync(path));
    expect(there.length).toBeGreaterThan(0);
    for (const image of [root, hostile]) {
      const { stdout } = await store.bb(["run", "--rm", "--network", "none", image, "sh", "-c", script]);
      expect(stdout.trim().split("\n")).toEqual(there.map((path) => `character special file 1:3 ${path}`));
      for (const path of DIRECTORIES.filter((each) => existsSync(each))) {
        const touch = `ls -A ${path}; touch ${path}/x 2>&1; rmdir ${path} 2>&1; umount ${path} 2>&1`;
        const out = await store.bb(["run", "--rm", "--network", "none", image, "sh", "-c", touch]);
        expect(out.stdout).toContain("Read-only file system");
        expect(out.stdout).toContain("umount: can't unmount");
        expect(out.stdout.startsWith("touch: ")).toBe(true);
      }
    }
    expect(readFileSync(join(hostile, "dev/null"), "utf8")).toBe("the image's own null");
  });

  test("what hides a file is the host's null, which root in there can use, and not change", async () => {
    await using store = await newStore();
    const path = FILES.find((each) => existsSync(each)) ?? "";
    const before = statSync("/dev/null");
    const script = `echo x >${path} && cat ${path} && touch -d '2001-02-03 04:05' ${path}; chown 0:0 ${path}`;
    // AppArmor's profile would be in the way before.
    const command = ["run", "--rm", "--network", "none", "--security-opt", "apparmor=unconfined", root];
    const { code, stdout, stderr } = await store.bb([...command, "sh", "-c", script]);
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr.match(/Read-only file system/g)).toHaveLength(2);
    const after = statSync("/dev/null");
    expect([after.mode, after.uid, after.mtimeMs < 1e12]).toEqual([before.mode, before.uid, false]);
  });

  test("--privileged unmasks", async () => {
    await using store = await newStore();
    const command = ["head", "-c", "10", "/proc/interrupts"];
    expect(await store.ok(["run", "--rm", "--network", "none", root, ...command])).toBe("");
    expect(await store.ok(["run", "--rm", "--network", "none", "--privileged", root, ...command])).not.toBe("");
  });
});

describe("KRN-04: read-only paths", () => {
  test("of /proc and /sys cannot be written, nor any cgroup (RT-11)", async () => {
    await using store = await newStore();
    const before = readFileSync("/proc/sys/kernel/core_pattern", "utf8");
    const paths = [
      "/proc/sys/kernel/core_pattern",
      "/proc/sys/kernel/hostname",
      "/proc/sysrq-trigger",
      "/proc/irq/0/smp_affinity",
      "/proc/irq/default_smp_affinity",
      "/sys/kernel/uevent_helper",
      "/sys/kernel/mm/transparent_hugepage/enabled",
      "/sys/fs/cgroup/cgroup.procs",
      "/sys/fs/cgroup/memory/release_agent",
      "/sys/fs/cgroup/pids/notify_on_release",
      "/sys/fs/cgroup/devices/devices.allow",
    ].filter((path) => existsSync(path));
    const script = `for p in ${paths.join(" ")}; do (echo x > $p) 2>&1; done; for d in /sys/fs/cgroup /sys/fs/cgroup/*; do [ ! -d $d ] || mkdir $d/x 2>&1; done`;
    const out = await store.bb(["run", "--rm", "--network", "none", root, "sh", "-c", script]);
    const lines = out.stdout.trim().split("\n");
    expect(lines.length).toBeGreaterThan(paths.length);
    for (const line of lines)
      expect(line).toMatch(/Read-only file system|nonexistent directory|Permission denied|Input\/output error/);
    expect(readFileSync("/proc/sys/kernel/core_pattern", "utf8")).toBe(before);
  });
});

describe("devices", () => {
  const FORBIDDEN = ["c 1 1", "c 1 11", "c 10 229", "c 10 200", "c 10 232", "b 7 0", "b 8 0", "c 4 0", "c 4 64"];
  const { rdev } = statSync("/dev/null");

  test("KRN-05, RT-15: nodes may be made, but only Docker's opened; also in exec", async () => {
    await using store = await newStore();
    const id = await store.ok(["run", "-d", "--network", "none", root, "sleep", "1000"]);
    const make = FORBIDDEN.map((node, i) => `mknod /tmp/n${i} ${node} && dd if=/tmp/n${i} count=0 2>&1`).join("; ");
    const { stdout } = await store.bb(["exec", id, "sh", "-c", make]);
    const denied = FORBIDDEN.map((_, i) => `dd: can't open '/tmp/n${i}': Operation not permitted`);
    expect(stdout.trim().split("\n")).toEqual(denied);
    expect(rdev).toBe(259);
    const good =
      "for d in null zero full random urandom; do dd if=/dev/$d of=/dev/null bs=1 count=1 2>/dev/null || echo $d; done";
    expect(await store.ok(["exec", id, "sh", "-c", good])).toBe("");
  });

  test("the host's are not there, and its log cannot be read", async () => {
    await using store = await newStore();
    const script = "ls /dev | tr '\\n' ' '; dmesg 2>&1";
    const { stdout } = await store.bb(["run", "--rm", "--network", "none", root, "sh", "-c", script]);
    expect(stdout).toBe(
      "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero dmesg: klogctl: Operation not permitted\n",
    );
  });

  test("all can be opened with --privileged", async () => {
    await using store = await newStore();
    const script = "mknod /tmp/kmsg c 1 11 && dd if=/tmp/kmsg count=0 2>&1 && ls /dev";
    const out = await store.ok(["run", "--rm", "--network", "none", "--privileged", root, "sh", "-c", script]);
    expect(out.split("\n").slice(2)).toContain("kmsg");
  });
});

describe("KRN-01: the default seccomp filter, from inside", () => {
  const isX64 = process.arch === "x64";
  /**
   * They end, fork, wait, or write out all of the host's disks; what brk answers to no matter what hangs on where the
   * heap lies; uprobe passes by every filter since Linux 6.14.
   */
  const SKIPPED = new Set([
    "brk",
    "uprobe",
    "exit",
    "exit_group",
    "pause",
    "fork",
    "vfork",
    "rt_sigreturn",
    "sigreturn",
    "sync",
  ]);
  const EPERM = "-1";
  const ENOSYS = "-38";

  interface Row {
    readonly call: string;
    readonly answer: string;
  }

  function rows(): Row[] {
    const path = join(import.meta.dir, "../packages/core/src/runtime/seccomp/testdata/default-answers.tsv");
    const found: Row[] = [];
    for (const line of readFileSync(path, "utf8").split("\n")) {
      const [name = "", x64 = "-", answer = "", , i386 = "-", answer32 = ""] = line.split("\t");
      if (line.startsWith("#") || SKIPPED.has(name) || name === "") continue;
      if (x64 !== "-") found.push({ call: `x64:${x64}`, answer });
      if (i386 !== "-") found.push({ call: `i386:${i386}`, answer: answer32 });
    }
    return found;
  }

  async function answers(
    store: Store,
    image: string,
    options: string[],
    calls: string[],
  ): Promise<Map<string, string>> {
    const out = await store.ok(["run", "--rm", "--network", "none", ...options, image, "syscalls", ...calls]);
    return new Map(
      out.split("\n").map((line) => [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)]),
    );
  }

  test.skipIf(missing("the probe is for x86-64", !isX64))("answers every call as Docker's does", async () => {
    await using store = await newStore();
    await run(["cp", await probe("syscalls"), join(root, "bin/syscalls")]);
    const is32 = (await run([await probe("syscalls"), "i386:20"])).stdout === "i386:20 ok\n";
    const all = rows().filter(({ call }) => is32 || call.startsWith("x64"));
    const filtered = await answers(
      store,
      root,
      [],
      all.map(({ call }) => call),
    );
    const allowed = all.filter(({ answer }) => answer === "ALLOW").map(({ call }) => call);
    const free = await answers(store, root, ["--security-opt", "seccomp=unconfined"], allowed);
    const wrong: string[] = [];
    for (const { call, answer } of all) {
      if (answer === "ARGS") continue;
      const expected = answer === "ALLOW" ? free.get(call) : answer === "ENOSYS" ? ENOSYS : EPERM;
      if (filtered.get(call) !== expected)
        wrong.push(`${call}: ${filtered.get(call)} instead of ${expected} (${answer})`);
    }
    expect(wrong).toEqual([]);
    expect(all.length).toBeGreaterThan(is32 ? 750 : 350);
  });

  test.skipIf(missing("the probe is for x86-64", !isX64))("decides by arguments where Docker's does", async () => {
    await using store = await newStore();
    await run(["cp", await probe("syscalls"), join(root, "bin/syscalls")]);
    const expected = {
      // socket: unix is fine, vsock and the kernel's crypto are not.
      "x64:41:1:1:0": "ok",
      "x64:41:2:1:0": "ok",
      "x64:41:40:1:0": EPERM,
      "x64:41:38:5:0": EPERM,
      "x64:41:0x100000026:5:0": EPERM,
      // clone: no namespaces.
      "x64:56:0x10000011:0:0": EPERM,
      "x64:56:0x00020011:0:0": EPERM,
      "x64:56:0x40000011:0:0": EPERM,
      // personality: Linux, and asking.
      "x64:135:0xffffffff": "ok",
      "x64:135:0": "ok",
      "x64:135:0x0040000": EPERM,
      // x32 has the same limits.
      "x64:0x400000a5": EPERM,
      "x64:0x40000141": EPERM,
    };
    expect(Object.fromEntries(await answers(store, root, [], Object.keys(expected)))).toEqual(expected);
  });

  test("a capability opens its calls, in Docker's way", async () => {
    await using store = await newStore();
    const script = "unshare -m true 2>&1";
    const { stdout, code } = await store.bb(["run", "--rm", "--network", "none", root, "sh", "-c", script]);
    expect({ stdout, code }).toEqual({ stdout: "unshare: unshare(0x20000): Operation not permitted\n", code: 1 });
    // unshare makes the new namespace's mounts private, which AppArmor would refuse.
    const admin = ["--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined"];
    await store.ok(["run", "--rm", "--network", "none", ...admin, root, "sh", "-c", script]);
  });

  test("ID-04: no user namespace", async () => {
    await using store = await newStore();
    const { code } = await store.bb(["run", "--rm", "--network", "none", "-u", "1000", root, "unshare", "-Ur", "true"]);
    expect(code).toBe(1);
  });
});

describe("RT-22: the operator's terminal", () => {
  async function onTerminal(store: Store, args: string[]): Promise<string> {
    let output = "";
    const terminal = new Bun.Terminal({
      data(_, bytes) {
        output += new TextDecoder().decode(bytes);
      },
    });
    const child = Bun.spawn([...store.command, ...args], { terminal });
    await child.exited;
    await until("the last output", () => output.includes("session"));
    terminal.close();
    return output.replaceAll("\r", "").replace(/^#+/, "");
  }

  test("is out of reach without -t", async () => {
    await using store = await newStore();
    const out = await onTerminal(store, ["run", "--rm", "--network", "none", root, "terminal"]);
    const ENXIO = 6;
    const ENOTTY = 25;
    const tiocsti = `TIOCSTI -${ENOTTY}\n`.repeat(3);
    expect(out).toBe(`isatty 000\n/dev/tty -${ENXIO}\n${tiocsti}session 1\n`);
  });

  test("is out of reach with -t: what the container has is its own pty", async () => {
    await using store = await newStore();
    const id = await store.ok(["run", "-dt", "--network", "none", root, "sleep", "1000"]);
    const pid = await pidOf(store, id);
    const [inside, outside] = [statSync(`/proc/${pid}/root/dev/pts/0`), statSync("/dev/pts")];
    expect(inside.dev).not.toBe(outside.dev);
    expect(readlinkSync(`/proc/${pid}/fd/0`)).toBe("/dev/pts/0");
    expect(statSync(`/proc/${pid}/root/dev/console`).rdev).toBe(inside.rdev);
  });
});

describe("processes of the engine", () => {
  test("RT-14: no abstract socket, and run directories are root's alone", async () => {
    await using store = await newStore();
    const abstracts = (text: string): string[] =>
      text.split("\n").filter((line) => / @\S*(bb|bantu|attach)/.test(line));
    const id = await store.ok(["run", "-d", "--network", "host", root, "sleep", "1000"]);
    expect(abstracts(await store.ok(["exec", id, "cat", "/proc/net/unix"]))).toEqual([]);
    expect(statSync(store.runRoot).mode & 0o77).toBe(0);
    expect(statSync(join(store.runRoot, id)).mode & 0o777).toBe(0o700);
    expect(statSync(join(store.runRoot, id, "attach")).mode & 0o777).toBe(0o600);
  });

  test("RT-02: run from a sealed memfd, which an image can neither run as its own nor write", async () => {
    await using store = await newStore();
    const before = Bun.hash(await Bun.file(BB).bytes());
    const image = join(store.runRoot, "..", "root");
    await run(["cp", "-a", root, image]);
    await Bun.write(join(image, "evil"), "#!/proc/self/exe\n");
    await run(["chmod", "755", join(image, "evil")]);
    await run(["ln", "-s", "/proc/self/exe", join(image, "bin/link")]);
    for (const command of ["/evil", "/bin/link"]) {
      const { code } = await store.bb(["run", "--rm", "--network", "none", image, command]);
      expect(code).not.toBe(0);
    }
    const id = await store.ok(["run", "-d", "--network", "none", image, "sleep", "1000"]);
    for (const command of ["/evil", "/bin/link"]) expect((await store.bb(["exec", id, command])).code).not.toBe(0);

    const init = await pidOf(store, id);
    const monitor = fields(readFileSync(`/proc/${init}/status`, "utf8"))["PPid"];
    const exe = `/proc/${monitor}/exe`;
    expect(readlinkSync(exe)).toStartWith("/memfd:");
    const F_GET_SEALS = 1034;
    const SEAL_SHRINK_GROW_WRITE = 0b1110;
    using file = new Fd(openSync(exe, "r"));
    expect(attempt("fcntl", file.raw, F_GET_SEALS, 0) & SEAL_SHRINK_GROW_WRITE).toBe(SEAL_SHRINK_GROW_WRITE);
    expect(Bun.hash(await Bun.file(BB).bytes())).toBe(before);
  });

  test("RT-01: an exec shows the container nothing of the host, at no instant", async () => {
    await using store = await newStore();
    // AppArmor alone would keep the spy from seeing anything.
    const unseen = ["--security-opt", "apparmor=unconfined"];
    const id = await store.ok(["run", "-d", "--network", "none", "--cap-add", "SYS_PTRACE", ...unseen, root, "spy"]);
    await until("the spy is ready", async () => (await store.ok(["logs", id])) === "ready");
    for (let i = 0; i < 30; i++) {
      const command = [...store.command, "exec", id, "true"];
      const codes = await Promise.all(Array.from({ length: 4 }, () => run(command)));
      expect(codes.map(({ code }) => code)).toEqual([0, 0, 0, 0]);
    }
    await store.ok(["exec", id, "touch", "/tmp/stop"]);
    await store.ok(["wait", id]);
    const [, ...found] = (await store.ok(["logs", id])).split("\n");
    expect(found).toHaveLength(1);
    // It did see them at work: otherwise nothing is proved.
    expect(Number(/before execve ([0-9]+)/.exec(found[0] ?? "")?.[1])).toBeGreaterThan(0);
  }, 120_000);
});

test("a root that is the host's own does not show the store", async () => {
  await using store = await newStore();
  for (const image of ["host", "/"]) {
    // Where /tmp is a mount of its own, it is not in the host's root to begin with.
    const script = `ls -A ${store.root} ${store.runRoot} 2> /dev/null; echo "that is all"`;
    const listed = await store.ok(["run", "--rm", "--network", "none", image, "sh", "-c", script]);
    expect(listed).toEndWith("that is all");
    expect(listed).not.toMatch(/containers|plans|boot/);
  }
  await store.ok(["ps"]);
  expect(statSync(join(store.root, "db.sqlite")).mode & 0o777).toBe(0o600);
});
