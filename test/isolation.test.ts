/** What a container shares with its host, and with others: nothing that was not asked for. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { BB, busyboxRoot, newStore, run, type Store } from "./harness.ts";

const root = await busyboxRoot();
const NAMESPACES = ["mnt", "pid", "uts", "ipc", "net", "cgroup", "time"] as const;

/** Starts a container that stays. @returns Its ID. */
async function start(store: Store, ...options: string[]): Promise<string> {
  return await store.ok(["run", "-d", "--network", "none", ...options, root, "sleep", "1000"]);
}

async function pidOf(store: Store, name: string): Promise<number> {
  const [{ State }] = JSON.parse(await store.ok(["inspect", name])) as [{ State: { Pid: number } }];
  return State.Pid;
}

describe("namespaces", () => {
  test("are all the container's own, and those of its exec'd processes", async () => {
    await using store = await newStore();
    const id = await start(store);
    const pid = await pidOf(store, id);
    const script = `for n in ${NAMESPACES.join(" ")}; do readlink /proc/self/ns/$n; done`;
    const seen = (await store.ok(["exec", id, "sh", "-c", script])).split("\n");
    for (const [i, name] of NAMESPACES.entries()) {
      expect(readlinkSync(`/proc/${pid}/ns/${name}`)).not.toBe(readlinkSync(`/proc/self/ns/${name}`));
      expect(seen[i]).toBe(readlinkSync(`/proc/${pid}/ns/${name}`));
    }
    expect(readlinkSync(`/proc/${pid}/ns/user`)).toBe(readlinkSync("/proc/self/ns/user"));
  });

  test("pid: the command is PID 1 and sees none but its own", async () => {
    await using store = await newStore();
    const script = "echo $$; for p in /proc/[0-9]*; do basename $p; done";
    const [self, ...pids] = (await store.ok(["run", "--rm", "--network", "none", root, "sh", "-c", script])).split(
      "\n",
    );
    expect(self).toBe("1");
    expect(pids).toEqual(["1"]);
  });

  test("uts: a hostname set inside stays inside", async () => {
    await using store = await newStore();
    const before = hostname();
    const options = ["run", "--rm", "--network", "none", "--cap-add", "SYS_ADMIN"];
    expect(await store.ok([...options, root, "sh", "-c", "hostname inside && hostname"])).toBe("inside");
    expect(readFileSync("/proc/sys/kernel/hostname", "utf8").trim()).toBe(before);
  });

  test("uts: the hostname is the short ID, or the one that was asked for", async () => {
    await using store = await newStore();
    const id = await start(store);
    expect(await store.ok(["exec", id, "hostname"])).toBe(id.slice(0, 12));
    expect(await store.ok(["exec", id, "cat", "/etc/hostname"])).toBe(id.slice(0, 12));
    const asked = ["run", "--rm", "--network", "none", "--hostname", "my-box.example"];
    expect(await store.ok([...asked, root, "hostname"])).toBe("my-box.example");
    expect(await store.bb([...asked.slice(0, -1), "two words", root, "true"])).toMatchObject({ code: 125 });
  });

  test("ipc: System V objects and message queues are not shared", async () => {
    await using store = await newStore();
    const { stdout } = await run(["ipcmk", "-Q"]);
    const queue = /[0-9]+/.exec(stdout)?.[0] ?? "";
    expect(queue).not.toBe("");
    try {
      const script = "tail -n +2 /proc/sysvipc/msg; ls /dev/mqueue";
      expect(await store.ok(["run", "--rm", "--network", "none", root, "sh", "-c", script])).toBe("");
    } finally {
      await run(["ipcrm", "-q", queue]);
    }
  });

  test("net: --network none has loopback alone, and it is up", async () => {
    await using store = await newStore();
    const script =
      "ls /sys/class/net; ip route; ip -o addr show lo; ping -c 1 -W 1 127.0.0.1 >/dev/null && echo answers";
    const out = await store.ok(["run", "--rm", "--network", "none", root, "sh", "-c", script]);
    expect(out).toContain("inet 127.0.0.1/8");
    expect(out.split("\n")[0]).toBe("lo");
    expect(out).not.toContain("default");
    expect(out.endsWith("answers")).toBe(true);
  });

  test("net: host is the host's own, container:ID another container's", async () => {
    await using store = await newStore();
    const net = readlinkSync("/proc/self/ns/net");
    expect(await store.ok(["run", "--rm", "--network", "host", root, "readlink", "/proc/self/ns/net"])).toBe(net);
    expect(await store.ok(["run", "--rm", "--network", "host", root, "hostname"])).toBe(hostname());
    const id = await start(store, "--name", "first");
    const other = ["run", "--rm", "--network", "container:first", root, "readlink", "/proc/self/ns/net"];
    expect(await store.ok(other)).toBe(readlinkSync(`/proc/${await pidOf(store, id)}/ns/net`));
    // Whatever the first has made of its files.
    await store.ok(["exec", id, "dd", "if=/dev/zero", "of=/etc/hosts", "bs=1M", "count=20"]);
    expect((await store.bb(other)).code).toBe(0);
    const gone = await store.bb(["run", "--rm", "--network", "container:nobody", root, "true"]);
    expect(gone).toMatchObject({ code: 125 });
    expect(gone.stderr).toContain('"container:nobody"');
  });

  test("cgroup: the container sees itself at the root of every hierarchy", async () => {
    await using store = await newStore();
    const groups = await store.ok(["run", "--rm", "--network", "none", root, "cat", "/proc/self/cgroup"]);
    for (const line of groups.split("\n")) expect(line.endsWith(":/")).toBe(true);
    const mounts = await store.ok(["run", "--rm", "--network", "none", root, "cat", "/proc/self/mountinfo"]);
    const roots = mounts
      .split("\n")
      .filter((line) => / - cgroup2? /.test(line))
      .map((line) => line.split(" ")[3]);
    expect(roots.length).toBeGreaterThan(0);
    expect(new Set(roots)).toEqual(new Set(["/"]));
  });

  test("mount: what is mounted inside is not seen outside", async () => {
    await using store = await newStore();
    const id = await start(store, "--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined");
    const mount = "mkdir /tmp/inside && mount -t tmpfs bb-inside /tmp/inside && grep -c bb-inside /proc/self/mounts";
    expect(await store.ok(["exec", id, "sh", "-c", mount])).toBe("1");
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain("bb-inside");
  });

  test("mount: nothing of the host's root can be reached", async () => {
    await using store = await newStore();
    const script =
      "cd / && cd ../../../.. && ls; ls /proc/1/root/; awk '{print $5}' /proc/self/mountinfo | grep -c \"^/$\"";
    const out = await store.ok(["run", "--rm", "--network", "none", root, "sh", "-c", script]);
    const own = [...new Set([...readdirSync(root), "dev", "proc", "sys"])].sort();
    expect(readdirSync("/").filter((name) => !own.includes(name))).not.toEqual([]);
    expect(out.split("\n")).toEqual([...own, ...own, "1"]);
  });
});

/** A mount of its own with a propagation, below which a store lies; everything in a namespace of its own. */
const WITH_PROPAGATION = `
set -e
dir=$1 kind=$2 root=$3; shift 3
mkdir -p "$dir/parent" "$dir/source"
mount -t tmpfs parent "$dir/parent"
mount --make-shared "$dir/parent"
if [ "$kind" = slave ]; then mount --bind "$dir/parent" "$dir/source"; mount --make-slave "$dir/source"; base="$dir/source"
else mount "--make-$kind" "$dir/parent"; base="$dir/parent"; fi
cp -a "$root" "$base/rootfs"
mkdir "$base/volume"
cut -d' ' -f3- /proc/self/mountinfo > "$dir/before"
"$@" --root "$base/lib" --run-root "$dir/run" run -d --name probe --network none -v "$base/volume:/volume" \
  --tmpfs /scratch "$base/rootfs" sleep 1000 >/dev/null
cut -d' ' -f3- /proc/self/mountinfo > "$dir/during"
"$@" --root "$base/lib" --run-root "$dir/run" exec probe true
cut -d' ' -f3- /proc/self/mountinfo > "$dir/exec"
"$@" --root "$base/lib" --run-root "$dir/run" rm -f probe >/dev/null
cut -d' ' -f3- /proc/self/mountinfo > "$dir/after"
`;

describe("RT-16: the host's mount table is the same before, during and after", () => {
  for (const kind of ["private", "shared", "slave", "unbindable"]) {
    test(`below a ${kind} mount`, async () => {
      const dir = mkdtempSync(join(tmpdir(), "bb-propagation-"));
      try {
        const command = ["unshare", "-m", "sh", "-c", WITH_PROPAGATION, "sh", dir, kind, root, BB];
        const { code, stderr } = await run(command);
        expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
        const before = readFileSync(join(dir, "before"), "utf8");
        expect(before).toContain("parent");
        for (const when of ["during", "exec", "after"]) expect(readFileSync(join(dir, when), "utf8")).toBe(before);
      } finally {
        rmSync(dir, { recursive: true, force: true });
      }
    });
  }

  test("a mount made later on the host reaches the container only where that was asked for", async () => {
    await using store = await newStore();
    const dir = mkdtempSync(join(tmpdir(), "bb-later-"));
    const script = `
      mount --make-rprivate / && mount -t tmpfs top "$1" && mount --make-shared "$1" && mkdir "$1/later"
      shift
      "$@" run -d --name private --network none -v "$DIR:/host" "$ROOT" sleep 1000 >/dev/null
      "$@" run -d --name slave --network none -v "$DIR:/host:rslave" "$ROOT" sleep 1000 >/dev/null
      mount -t tmpfs later "$DIR/later" && touch "$DIR/later/file"
      "$@" exec private ls /host/later; echo "--"; "$@" exec slave ls /host/later
      "$@" rm -f private slave >/dev/null`;
    const env = { DIR: dir, ROOT: root };
    const { stdout, stderr } = await run(["unshare", "-m", "sh", "-c", script, "sh", dir, ...store.command], { env });
    rmSync(dir, { recursive: true, force: true });
    expect({ stdout, stderr }).toEqual({ stdout: "--\nfile\n", stderr: "" });
  });
});

test("a mount made in the container reaches the host only with rshared", async () => {
  await using store = await newStore();
  const dir = mkdtempSync(join(tmpdir(), "bb-shared-"));
  const script = `
    mount --make-rprivate / && mount -t tmpfs top "$DIR" && mount --make-shared "$DIR" && mkdir "$DIR/a" "$DIR/b"
    admin="--cap-add SYS_ADMIN --security-opt apparmor=unconfined"
    "$@" run --rm --network none $admin -v "$DIR:/host:rslave" "$ROOT" mount -t tmpfs slave /host/a
    "$@" run --rm --network none $admin -v "$DIR:/host:rshared" "$ROOT" mount -t tmpfs shared /host/b
    cut -d' ' -f5 /proc/self/mountinfo | grep "^$DIR/"
    umount "$DIR/b" && cut -d' ' -f5 /proc/self/mountinfo | grep "^$DIR/."`;
  const env = { DIR: dir, ROOT: root };
  const { stdout, stderr } = await run(["unshare", "-m", "sh", "-c", script, "sh", ...store.command], { env });
  rmSync(dir, { recursive: true, force: true });
  expect({ stdout, stderr }).toEqual({ stdout: `${dir}/b\n`, stderr: "" });
});

describe("what the projects before this one do (SEEDS)", () => {
  test("S0: run a command in a new container, with ps and ifconfig, and stop it", async () => {
    await using store = await newStore();
    const script = "ps | tail -n +2 | wc -l; ifconfig lo | grep -c 127.0.0.1; hostname | wc -c";
    expect(await store.ok(["run", "--rm", "--network", "none", root, "sh", "-c", `${script}; exit 0`])).toMatch(
      /^[1-5]\n1\n13$/,
    );
    const id = await start(store, "--stop-timeout", "0");
    expect(await store.ok(["list"])).toContain(id.slice(0, 12));
    await store.ok(["stop", id]);
    expect(await store.ok(["list"])).not.toContain(id.slice(0, 12));
    expect(await store.ok(["list", "-a"])).toContain("Exited (137)");
  });

  test("S0: an overlay keeps the image as it is", async () => {
    await using store = await newStore();
    const script = "echo changed > /etc/passwd; rm /bin/vi; echo new > /new; cat /new";
    expect(await store.ok(["run", "--rm", "--network", "none", root, "sh", "-c", script])).toBe("new");
    expect(await store.ok(["run", "--rm", "--network", "none", root, "sh", "-c", "ls /new /bin/vi 2>&1; id -un"])).toBe(
      "ls: /new: No such file or directory\n/bin/vi\nroot",
    );
  });

  test("S1: container <id> <image> <command>", async () => {
    await using store = await newStore();
    await store.ok(["init", root, "busybox"]);
    const out = await store.ok([
      "run",
      "--rm",
      "--name",
      "box-1",
      "--network",
      "none",
      "busybox",
      "echo",
      "from inside",
    ]);
    expect(out).toBe("from inside");
  });

  test("S1: /proc and /dev are mounted anew, PATH is set, and a detached container has logs and inspect", async () => {
    await using store = await newStore();
    const script = "mount | grep -c -e ' on /proc type proc' -e ' on /dev type tmpfs'; echo $PATH; echo error >&2";
    await store.ok(["run", "-d", "--name", "box-1", "--network", "none", root, "sh", "-c", script]);
    expect(await store.ok(["wait", "box-1"])).toBe("0");
    const logs = await store.bb(["logs", "box-1"]);
    expect(logs.stdout).toBe("2\n/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n");
    expect(logs.stderr).toBe("error\n");
    const [{ Name, State }] = JSON.parse(await store.ok(["inspect", "box-1"])) as [
      { Name: string; State: { Status: string } },
    ];
    expect({ Name, Status: State.Status }).toEqual({ Name: "/box-1", Status: "exited" });
  });

  test("S2: a directory as root, a hostname of one's own, a shell as PID 1", async () => {
    await using store = await newStore();
    const command = ["run", "--rm", "-i", "--network", "none", "--hostname", "container", "./rootfs", "/bin/sh"];
    const cwd = mkdtempSync(join(tmpdir(), "bb-s2-"));
    await run(["cp", "-a", root, join(cwd, "rootfs")]);
    const { code, stdout } = await store.bb(command, { cwd, stdin: "hostname; echo $$; exit 3\n" });
    rmSync(cwd, { recursive: true });
    expect({ code, stdout }).toEqual({ code: 3, stdout: "container\n1\n" });
  });

  test("S3: init, images, run, ps, exec, logs, rm of a container and of an image", async () => {
    await using store = await newStore();
    await store.ok(["init", root, "base"]);
    expect(await store.ok(["images"])).toContain("base");
    const id = await store.ok(["run", "-d", "--network", "none", "base", "sh", "-c", "echo started; exec sleep 1000"]);
    expect(await store.ok(["ps"])).toContain(id.slice(0, 12));
    expect(await store.ok(["exec", id, "sh", "-c", "echo exec"])).toBe("exec");
    expect(await store.ok(["logs", id])).toBe("started");
    expect((await store.bb(["rm", "base"])).code).toBe(1);
    await store.ok(["rm", "-f", id]);
    await store.ok(["rm", "base"]);
    expect(await store.ok(["images", "-q"])).toBe("");
  });

  test("S4: container <rootfs-path> <command> [args]", async () => {
    await using store = await newStore();
    const out = await store.ok(["run", "--rm", "--network", "none", root, "/bin/ls", "-la", "/"]);
    for (const name of ["bin", "proc", "dev", "sys", "etc"]) expect(out).toMatch(new RegExp(` ${name}$`, "m"));
  });

  test("S4: a memory cgroup of 100 MB", async () => {
    await using store = await newStore();
    const id = await start(store, "-m", "100m");
    const [{ HostConfig }] = JSON.parse(await store.ok(["inspect", id])) as [{ HostConfig: { Memory: number } }];
    expect(HostConfig.Memory).toBe(100 << 20);
    const script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null";
    expect((await store.bb(["exec", id, "sh", "-c", script])).stdout).toBe(`${100 << 20}\n`);
  });

  test("S4: the old root is unmounted, and the command's directory is within the new one", async () => {
    await using store = await newStore();
    const script = "readlink /proc/self/cwd; readlink /proc/self/root; awk '$5==\"/\"' /proc/self/mountinfo | wc -l";
    expect(await store.ok(["run", "--rm", "--network", "none", root, "sh", "-c", script])).toBe("/\n/\n1");
  });
});

describe("a root directory of one's own", () => {
  test("is written through with --rootfs-rw, and only then", async () => {
    await using store = await newStore();
    const dir = mkdtempSync(join(tmpdir(), "bb-rw-"));
    await run(["cp", "-a", `${root}/.`, dir]);
    mkdirSync(join(dir, "data"));
    await store.ok(["run", "--rm", "--network", "none", dir, "touch", "/data/layer"]);
    await store.ok(["run", "--rm", "--network", "none", "--rootfs-rw", dir, "touch", "/data/through"]);
    expect(await store.ok(["run", "--rm", "--network", "none", dir, "ls", "/data"])).toBe("through");
    rmSync(dir, { recursive: true });
  });
});
