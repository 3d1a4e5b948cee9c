/** What a container has done to its files: diff, commit and export. */
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { archiveTree } from "../packages/image/src/tree/archive.ts";
import { busyboxRoot, cgroupsOf, missing, newStore, run, type Store, until } from "./harness.ts";
import { patience } from "./patience.ts";

/** A store with the image `box:1` of busybox. */
async function boxStore(): Promise<Store> {
  const store = await newStore();
  await store.ok(["init", await busyboxRoot(), "box:1", "-e", "LANG=C.UTF-8", "-l", "made=here"]);
  return store;
}

/** Runs a shell in a container until it ends. */
async function change(store: Store, script: string, ...flags: string[]): Promise<void> {
  await store.ok(["run", "--name", "box", "--network", "none", ...flags, "box:1", "sh", "-ec", script]);
}

/** Everything that can be seen of a tree from inside. */
const LOOK = `find / -xdev -path /proc -prune -o -path /sys -prune -o -path /dev -prune -o -path /etc/hosts -prune \
-o -path /etc/hostname -prune -o -path /etc/resolv.conf -prune -o -print | sort | while read -r f; do
  stat -c '%n %F %a %u:%g %h %Y %t:%T' "$f"; [ -L "$f" ] && readlink "$f"; [ -f "$f" ] && [ ! -L "$f" ] && sha256sum "$f"; done; true`;

const EVERYTHING = `
mkdir -p /new/deep /opt; echo hello > /new/deep/file; chown 1000:50 /new/deep/file; chmod 4711 /new/deep/file
ln /new/deep/file /new/other; ln -s /nowhere /new/link; mkfifo /new/pipe; mknod /new/null c 1 3
touch -d '2001-02-03 04:05:06' /new/deep/file; chmod 1777 /new
rm -r /home; rm -r /var; mkdir /var; echo in > /var/in; rm /etc/group; mkdir /etc/group; echo x > /etc/group/y
echo more >> /etc/passwd; rm /bin/ar; echo now > /bin/ar; dd if=/dev/zero of=/new/sparse bs=1 count=1 seek=100000000 2>/dev/null`;

describe("diff", () => {
  test("tells what was added, changed and deleted, with the directories on the way", async () => {
    await using store = await boxStore();
    await change(store, "mkdir -p /opt/a; echo x > /opt/a/b; echo y >> /etc/passwd; rm -r /home; rm /bin/ar");
    expect((await store.ok(["diff", "box"])).split("\n")).toEqual([
      "C /bin",
      "D /bin/ar",
      "C /etc",
      "C /etc/passwd",
      "D /home",
      "A /opt",
      "A /opt/a",
      "A /opt/a/b",
    ]);
  });

  test("is empty for a container that has done nothing, running or not, whatever is mounted into it", async () => {
    await using store = await boxStore();
    await store.ok(["create", "--name", "idle", "--network", "none", "box:1", "true"]);
    await store.ok(["run", "-d", "--name", "box", "--init", "-v", "vol:/home/user", "box:1", "sleep", "600"]);
    expect([await store.ok(["diff", "box"]), await store.ok(["diff", "idle"])]).toEqual(["", ""]);
    await store.ok(["exec", "box", "sh", "-c", "echo x > /home/user/x; touch /tmp/t; rm /tmp/t"]);
    expect(await store.ok(["diff", "box"])).toBe("C /tmp");
  });

  test("sees what was put in the place of a directory, and what was in that", async () => {
    await using store = await boxStore();
    await change(store, "rm -r /home; mkdir /home; echo x > /home/x; rm -r /usr; echo file > /usr");
    expect((await store.ok(["diff", "box"])).split("\n")).toEqual(["C /home", "D /home/user", "A /home/x", "C /usr"]);
  });
});

describe("commit", () => {
  test("makes an image whose containers see the same, byte for byte", async () => {
    await using store = await boxStore();
    await change(store, EVERYTHING);
    await store.ok(["commit", "box", "box:2"]);
    await store.ok(["start", "-a", "box"]).catch(() => "");
    const second = await store.ok(["run", "--rm", "--network", "none", "box:2", "sh", "-c", LOOK]);
    // The same layer over the same image once more, by way of a registry's format.
    const layers = JSON.parse(await store.ok(["inspect", "box:2"]))[0].RootFS.Layers as string[];
    expect(layers).toHaveLength(2);
    for (const layer of layers) {
      const hash = createHash("sha256");
      for await (const chunk of archiveTree(join(store.root, "layers", layer.slice(7)))) hash.update(chunk);
      expect(`sha256:${hash.digest("hex")}`).toBe(layer);
    }
    await store.ok(["run", "--name", "again", "--network", "none", "box:1", "sh", "-ec", `${EVERYTHING}; ${LOOK}`]);
    expect(normalise(second)).toBe(normalise(await store.ok(["logs", "again"])));
    expect(second).toContain("/new/deep/file regular file 4711 1000:50 2");
  });

  test("takes the container's settings, changed as it is told", async () => {
    await using store = await boxStore();
    await store.ok([
      ...["run", "--name", "box", "--network", "none", "-e", "A=1", "-w", "/tmp", "-u", "user", "-l", "x=y"],
      ...["--entrypoint", "/bin/echo", "box:1", "one", "two"],
    ]);
    const id = await store.ok(["commit", "-a", "Ann <ann@example.org>", "-m", "why", "box", "box:2"]);
    const [image] = JSON.parse(await store.ok(["inspect", "box:2"]));
    expect(image.Config).toMatchObject({
      Env: ["LANG=C.UTF-8", "A=1"],
      Entrypoint: ["/bin/echo"],
      Cmd: ["one", "two"],
      User: "1000:1000",
      WorkingDir: "/tmp",
      Labels: { made: "here", x: "y" },
    });
    const config = JSON.parse(readFileSync(join(store.root, "blobs/sha256", id.slice(7)), "utf8"));
    expect(config.author).toBe("Ann <ann@example.org>");
    expect(config.history).toHaveLength(2);
    expect(config.history[1]).toMatchObject({ author: "Ann <ann@example.org>", comment: "why" });
    expect(await store.ok(["run", "--rm", "--network", "none", "box:2"])).toBe("one two");
    const changes = ["-c", "ENTRYPOINT []", "--change", 'CMD ["id", "-u"]', "-c", "USER 7", "-c", "ENV B=2"];
    await store.ok(["commit", ...changes, "box", "box:3"]);
    expect(await store.ok(["run", "--rm", "--network", "none", "box:3"])).toBe("7");
    expect((await store.bb(["commit", "-c", "FROM x", "box", "box:4"])).stderr).toContain("Cannot apply change");
    expect((await store.bb(["inspect", "box:4"])).code).toBe(1);
  });

  test("of a running container pauses it, and lets it go on", async () => {
    await using store = await boxStore();
    await store.ok(["run", "-d", "--name", "box", "--network", "none", "box:1", "sh", "-c", "while :; do :; done"]);
    expect(await store.ok(["commit", "box"])).toStartWith("sha256:");
    expect(await store.ok(["commit", "--pause=false", "box", "box:2"])).toStartWith("sha256:");
    expect(await store.ok(["ps", "--format", "{{.State}}"])).toBe("running");
    expect(await store.ok(["exec", "box", "echo", "in"])).toBe("in");
  });

  test("that is killed while the container stands still lets it go on (kill -9)", async () => {
    await using store = await boxStore();
    const id = await store.ok(["run", "-d", "--name", "box", "--network", "none", "box:1", "sleep", "600"]);
    const script = "dd if=/dev/zero of=/tmp/big bs=1M count=300 2>/dev/null";
    await store.ok(["exec", "box", "sh", "-c", script]);
    const child = Bun.spawn([...store.command, "commit", "box", "box:2"], { stdout: "ignore", stderr: "ignore" });
    const frozen = (): boolean => cgroupsOf(id).some((path) => /FROZEN|frozen 1/.test(frozenText(path)));
    await until("it stands still", () => frozen() || child.exitCode !== null);
    expect(frozen()).toBe(true);
    child.kill("SIGKILL");
    await child.exited;
    await until("it goes on", () => !frozen());
    expect((await store.bb(["inspect", "box:2"])).code).toBe(1);
    expect(await store.ok(["exec", "box", "echo", "in"])).toBe("in");
    await store.ok(["commit", "box", "box:2"]);
    expect(readdirSync(join(store.root, "layers")).filter((name) => name.startsWith(".tmp"))).toEqual([]);
  });

  test("of a plain directory takes all of it, and nothing of what is mounted", async () => {
    await using store = await newStore();
    const root = await busyboxRoot();
    const flags = ["--name", "box", "--network", "none", "-v", "vol:/mnt"];
    await store.ok(["run", ...flags, root, "sh", "-c", "echo x > /mnt/x; echo y > /y; rm /bin/ar"]);
    await store.ok(["commit", "box", "whole"]);
    const script = "ls /mnt; cat /y; test ! -e /bin/ar; head -c 6 /etc/passwd";
    expect(await store.ok(["run", "--rm", "--network", "none", "whole", "sh", "-ec", script])).toBe("y\nroot:x");
  });

  test("makes an image that is saved and loaded like any, with all its layers", async () => {
    await using store = await boxStore();
    await change(store, EVERYTHING);
    const id = await store.ok(["commit", "box", "box:2"]);
    const directory = mkdtempSync(join(tmpdir(), "bb-commit-"));
    try {
      const file = join(directory, "box.tar");
      await store.ok(["save", "-o", file, "box:2"]);
      await using other = await newStore();
      await other.ok(["load", "-i", file]);
      expect(await other.ok(["images", "-q", "--no-trunc"])).toBe(id);
      const look = ["run", "--rm", "--network", "none", "box:2", "sh", "-c", LOOK];
      expect(normalise(await other.ok(look))).toBe(normalise(await store.ok(look)));
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test("where trees are whole (copy), diff, commit, export and cp do the same", async () => {
    await using store = await newStore();
    const driver = ["--storage-driver", "copy"];
    await store.ok([...driver, "init", await busyboxRoot(), "box:1"]);
    await change(store, "mkdir -p /opt/a; echo x > /opt/a/b; ln /opt/a/b /opt/a/c; rm -r /home; echo y >> /etc/passwd");
    const lines = ["C /etc", "C /etc/passwd", "D /home", "A /opt", "A /opt/a", "A /opt/a/b", "A /opt/a/c"];
    expect((await store.ok(["diff", "box"])).split("\n")).toEqual(lines);
    const directory = mkdtempSync(join(tmpdir(), "bb-copy-"));
    try {
      await store.ok(["cp", "box:/opt", directory]);
      await store.ok(["cp", join(directory, "opt/a/b"), "box:/opt/in"]);
      await store.ok(["commit", "box", "box:2"]);
      const script = "cat /opt/in /opt/a/b; stat -c %h /opt/a/c; ls -d /home; tail -n 1 /etc/passwd";
      const { stdout } = await store.bb(["run", "--rm", "--network", "none", "box:2", "sh", "-c", script]);
      expect(stdout).toBe("x\nx\n2\ny\n");
      await store.ok(["save", "-o", join(directory, "box.tar"), "box:2"]);
      const list = (await run(["sh", "-c", `"$@" export box | tar -t`, "sh", ...store.command])).stdout;
      expect(list).toContain("\nopt/a/b\n");
      expect(list).not.toMatch(/^home/m);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test("refuses a container that keeps nothing, and one that is not there", async () => {
    await using store = await newStore();
    expect((await store.bb(["commit", "none"])).stderr).toContain('Cannot find container "none"');
    await store.ok(["create", "--name", "box", "--network", "none", "host", "true"]);
    for (const command of ["commit", "diff", "export"]) {
      expect((await store.bb([command, "box"])).stderr).toContain("what it writes lies in memory only");
    }
  });
});

describe("a container full of traps (CP-07)", () => {
  const TRAPS = `mkdir /traps; mkfifo /traps/fifo; mknod /traps/zero c 1 5
    printf 'end\n' | dd of=/traps/huge bs=1 seek=1000000000000 conv=notrunc 2>/dev/null
    (while :; do dd if=/dev/zero bs=64k count=4 2>/dev/null; sleep 0.01; done >> /traps/grows) & exec sleep 600`;

  test("is exported and committed without waiting, and without its holes", async () => {
    await using store = await boxStore();
    await store.ok(["run", "-d", "--name", "box", "--network", "none", "box:1", "sh", "-c", TRAPS]);
    await until("it is set up", async () => (await store.bb(["exec", "box", "test", "-s", "/traps/grows"])).code === 0);
    const directory = mkdtempSync(join(tmpdir(), "bb-export-"));
    try {
      const file = join(directory, "box.tar");
      const started = performance.now();
      await store.ok(["export", "-o", file, "box"]);
      expect((await Bun.file(file).stat()).size).toBeLessThan(300_000_000);
      await store.ok(["commit", "--pause=false", "box", "box:2"]);
      expect(performance.now() - started).toBeLessThan(patience(20_000));
      const list = (await run(["tar", "-tvf", file, "traps"])).stdout;
      expect(list).toMatch(/^prw.* traps\/fifo$/m);
      expect(list).toMatch(/^crw.* 1,5 .*traps\/zero$/m);
      expect(list).toMatch(/ 1000000000004 .*traps\/huge$/m);
    } finally {
      rmSync(directory, { recursive: true });
    }
    const script = "stat -c %s /traps/huge; dd if=/traps/huge bs=1 skip=1000000000000 count=3 2>/dev/null";
    expect(await store.ok(["run", "--rm", "--network", "none", "box:2", "sh", "-c", script])).toBe(
      "1000000000004\nend",
    );
  });
});

describe("export", () => {
  test("leaves volumes out, has what they cover, and unpacks with tar", async () => {
    await using store = await boxStore();
    const flags = ["-d", "--name", "box", "--network", "none", "--tmpfs", "/home/user", "-v", "vol:/etc"];
    await store.ok(["run", ...flags, "box:1", "sh", "-c", "echo x > /home/user/x; echo v > /etc/v; sleep 600"]);
    await until("it is set up", async () => (await store.bb(["exec", "box", "test", "-s", "/etc/v"])).code === 0);
    const directory = mkdtempSync(join(tmpdir(), "bb-export-"));
    try {
      await run(["sh", "-c", `"$@" export box | tar -x -C ${directory}`, "sh", ...store.command]);
      expect(readdirSync(join(directory, "home/user"))).toEqual([]);
      expect(existsSync(join(directory, "etc/v"))).toBe(false);
      expect(readFileSync(join(directory, "etc/passwd"), "utf8")).toStartWith("root:");
      expect(readdirSync(directory)).not.toContain("proc");
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test("to a file that cannot be made says so, and leaves nothing of an export that failed", async () => {
    await using store = await boxStore();
    const directory = mkdtempSync(join(tmpdir(), "bb-export-"));
    mkdirSync(join(directory, "sub"));
    await store.ok(["create", "--name", "box", "--network", "none", "box:1", "true"]);
    expect((await store.bb(["export", "-o", join(directory, "no/file"), "box"])).stderr).toContain("ENOENT");
    expect((await store.bb(["export", "-o", join(directory, "sub"), "box"])).stderr).toContain("EISDIR");
    expect((await store.bb(["export", "-o", join(directory, "file"), "none"])).code).toBe(1);
    expect(readdirSync(directory)).toEqual(["sub"]);
    rmSync(directory, { recursive: true });
  });
});

function frozenText(path: string): string {
  const names = ["freezer.state", "cgroup.events"].map((name) => join(path, name)).filter((name) => existsSync(name));
  return names.map((name) => readFileSync(name, "utf8")).join();
}

/** Times of what the container made, and of the directories that it made things in, are those of each run. */
function normalise(text: string): string {
  return text.replace(/ [0-9]{10} /g, " TIME ");
}

const noPython = missing("no python3 to make the directories", Bun.which("python3") === null);

test.skipIf(noPython)(
  "what lies five thousand directories deep is found; what cannot be done is said",
  async () => {
    await using store = await boxStore();
    const id = await store.ok(["create", "--name", "box", "--network", "none", "box:1", "true"]);
    // No path is as long: each is made from within the last.
    const script =
      'import os, sys\nos.chdir(sys.argv[1])\nfor i in range(5000): os.mkdir("d"); os.chdir("d")\nopen("file", "w")';
    await run(["python3", "-c", script, join(store.root, "containers", id, "upper")]);
    const limited = [
      "prlimit",
      "--nofile=500:500",
      "setpriv",
      "--bounding-set",
      "-sys_resource",
      "--inh-caps",
      "-sys_resource",
    ];
    for (const command of [
      ["diff", "box"],
      ["export", "-o", "/dev/null", "box"],
      ["commit", "box", "box:few"],
    ]) {
      const { code, stderr } = await run([...limited, ...store.command, ...command]);
      expect(stderr).toContain("nested more deeply than the limit of 500 open files allows");
      expect(code).toBe(1);
    }
    const changes = (await store.ok(["diff", "box"])).split("\n");
    expect(changes).toHaveLength(5001);
    expect(changes.at(-1)).toEndWith("/d/d/file");
    for (const command of [
      ["export", "-o", "/dev/null", "box"],
      ["commit", "box", "box:deep"],
    ]) {
      const { stderr } = await store.bb(command);
      expect(stderr).toContain("its path is too long\nhint: The kernel takes paths of 4095 bytes");
    }
    await store.ok(["rm", "box"]);
  },
  120_000,
);

test.skipIf(noPython)(
  "what lies three hundred directories deep is committed, saved, and loaded",
  async () => {
    await using store = await boxStore();
    const id = await store.ok(["create", "--name", "box", "--network", "none", "box:1", "true"]);
    const script =
      'import os, sys\nos.chdir(sys.argv[1])\nfor i in range(300): os.mkdir("d"); os.chdir("d")\nopen("file", "w")';
    await run(["python3", "-c", script, join(store.root, "containers", id, "upper")]);
    const archive = join(store.root, "../deep.tar");
    await store.ok(["commit", "box", "deep:1"]);
    await store.ok(["save", "-o", archive, "deep:1"]);
    await using other = await newStore();
    await other.ok(["load", "-q", "-i", archive]);
    await other.ok(["system", "check"]);
    await other.ok(["rmi", "deep:1"]);
  },
  120_000,
);
