/** The options of run and exec that say where files, users and variables come from. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { busyboxRoot, missing, newStore, run, type Store, until } from "./harness.ts";

const root = await busyboxRoot();

async function bb(store: Store, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return await store.bb(["run", "--rm", "--network", "none", ...args]);
}

/** A directory that goes with the store. */
function directoryIn(store: Store): string {
  return mkdtempSync(join(store.runRoot, "..", "dir-"));
}

describe("binds", () => {
  test("-v: read and write, read-only, a file, a source that is made", async () => {
    await using store = await newStore();
    const dir = directoryIn(store);
    writeFileSync(join(dir, "file"), "from the host\n");
    const options = [
      "-v",
      `${dir}:/rw`,
      "-v",
      `${dir}:/ro:ro`,
      "-v",
      `${dir}/file:/etc/one-file:ro`,
      "-v",
      `${dir}/new:/new`,
    ];
    const script =
      "cat /etc/one-file; echo x > /rw/written; (echo x > /ro/no) 2>&1; (echo x > /etc/one-file) 2>&1; ls /ro";
    const { stdout } = await bb(store, ...options, root, "sh", "-c", script);
    expect(stdout).toBe(
      "from the host\nsh: can't create /ro/no: Read-only file system\nsh: can't create /etc/one-file: Read-only file system\nfile\nnew\nwritten\n",
    );
    expect(readdirSync(dir).sort()).toEqual(["file", "new", "written"]);
  });

  test("ro holds for the mounts below, too", async () => {
    await using store = await newStore();
    const dir = directoryIn(store);
    mkdirSync(join(dir, "below"));
    const script = 'mount -t tmpfs below "$1/below" && shift && exec "$@"';
    const inside = "(echo x > /data/below/x) 2>&1; grep -c ' /data' /proc/self/mountinfo";
    const command = [
      ...store.command,
      "run",
      "--rm",
      "--network",
      "none",
      "-v",
      `${dir}:/data:ro`,
      root,
      "sh",
      "-c",
      inside,
    ];
    const { stdout } = await run(["unshare", "-m", "sh", "-c", script, "sh", dir, ...command]);
    expect(stdout).toBe("sh: can't create /data/below/x: Read-only file system\n2\n");
  });

  test("--mount in its forms", async () => {
    await using store = await newStore();
    const dir = directoryIn(store);
    const options = [
      ["--mount", `type=bind,source=${dir},target=/a`],
      ["--mount", `type=bind,src=${dir},dst=/b,readonly`],
      ["--mount", "type=tmpfs,destination=/c,tmpfs-size=1m,tmpfs-mode=700"],
      ["--mount", "source=named,target=/d"],
    ].flat();
    const script =
      "touch /a/x && touch /b/y 2>/dev/null || echo ro; stat -c %a /c; touch /d/z; awk '$5~/^\\/[a-d]$/{print $5}' /proc/self/mountinfo";
    const { stdout, stderr } = await bb(store, ...options, root, "sh", "-c", script);
    expect({ stdout, stderr }).toEqual({ stdout: "ro\n700\n/a\n/b\n/c\n/d\n", stderr: "" });
    for (const bad of [
      `type=bind,source=${dir}/none,target=/x`,
      "type=bind,target=/x",
      "type=magic,target=/x",
      "target=x",
      "type=tmpfs",
    ]) {
      expect({ bad, code: (await bb(store, "--mount", bad, root, "true")).code }).toEqual({ bad, code: 125 });
    }
  });

  test("--read-only: nothing but what is mounted can be written, also with -t", async () => {
    await using store = await newStore();
    const script = "(echo x > /x) 2>&1; echo y > /scratch/y && cat /scratch/y; echo z > /dev/null; echo ok";
    const out = await bb(
      store,
      "--read-only",
      "--tmpfs",
      "/tmp",
      "--tmpfs",
      "/var:rw",
      "-v",
      `${directoryIn(store)}:/tmp/in`,
      root,
      "sh",
      "-c",
      script.replaceAll("/scratch", "/tmp"),
    );
    expect(out.stdout).toBe("sh: can't create /x: Read-only file system\ny\nok\n");
    const tty = await bb(store, "--read-only", "-t", root, "sh", "-c", "tty; test -c /dev/console && echo console");
    expect(tty.stdout).toBe("/dev/pts/0\r\nconsole\r\n");
  });
});

describe("volumes", () => {
  test("a named one is made, filled from the image once, and stays", async () => {
    await using store = await newStore();
    const image = directoryIn(store);
    await run([
      "sh",
      "-c",
      'cp -a "$1/." "$2" && mkdir "$2/data" && echo image > "$2/data/file" && chown 7:8 "$2/data" && chmod 750 "$2/data"',
      "sh",
      root,
      image,
    ]);
    await store.ok(["init", image, "filled"]);
    const script = "cat /data/file; stat -c '%a %u:%g' /data; echo own > /data/file";
    const options = ["-v", "named:/data", "filled", "sh", "-c", script];
    expect((await bb(store, ...options)).stdout).toBe("image\n750 7:8\n");
    expect((await bb(store, ...options)).stdout).toBe("own\n750 7:8\n");
    expect(readFileSync(join(store.root, "volumes/named/_data/file"), "utf8")).toBe("own\n");
  });

  /** Makes an image that has this in its /data. */
  async function makeFilled(store: Store): Promise<void> {
    const image = directoryIn(store);
    const script =
      'cp -a "$1/." "$2" && mkdir -p "$2/data/sub" && for i in 1 2 3 4 5 6; do echo $i > "$2/data/$i"; done';
    await run(["sh", "-c", script, "sh", root, image]);
    await store.ok(["init", image, "filled"]);
  }
  const whole = "1\n2\n3\n4\n5\n6\nsub\n";
  const listIn = async (store: Store, volume: string): Promise<string> =>
    (await bb(store, "-v", `${volume}:/data`, "filled", "ls", "/data")).stdout;

  test("one that is empty is filled, whoever made it", async () => {
    await using store = await newStore();
    await makeFilled(store);
    const list = (volume: string): Promise<string> => listIn(store, volume);
    await store.ok(["volume", "create", "made"]);
    expect(await list("made")).toBe(whole);
    // Others have it mounted already: it fills before their eyes.
    await store.ok([
      "run",
      "-d",
      "--name",
      "box",
      "--network",
      "none",
      "-v",
      "shared:/elsewhere",
      "filled",
      "sleep",
      "1000",
    ]);
    expect(await list("shared")).toBe(whole);
    expect(`${await store.ok(["exec", "box", "ls", "/elsewhere"])}\n`).toBe(whole);
    // What somebody has put there stays alone.
    await bb(store, "-v", "own:/elsewhere", "filled", "touch", "/elsewhere/mine");
    expect(await list("own")).toBe("mine\n");
  });

  const noStrace = missing("strace is not installed", Bun.which("strace") === null);
  test.skipIf(noStrace)("one is whole even when somebody was killed while it was filled", async () => {
    await using store = await newStore();
    await makeFilled(store);
    const inject = [
      "-f",
      "-qq",
      "-o",
      "/dev/null",
      "-e",
      "trace=fchmodat",
      "-e",
      "inject=fchmodat:signal=SIGKILL:when=4",
    ];
    const create = ["create", "--network", "none", "-v", "broken:/data", "filled", "true"];
    expect((await run(["strace", ...inject, ...store.command, ...create])).code).not.toBe(0);
    expect(await listIn(store, "broken")).toBe(whole);
    expect(readdirSync(join(store.root, "volumes/broken"))).toEqual(["_data"]);
  });

  test("an anonymous one goes with --rm, and with rm -v", async () => {
    await using store = await newStore();
    const volumes = (): string[] => readdirSync(join(store.root, "volumes"));
    expect((await bb(store, "-v", "/anonymous", root, "sh", "-c", "touch /anonymous/x; ls /anonymous")).stdout).toBe(
      "x\n",
    );
    // The monitor removed the container; its volume goes with the next command that looks.
    await store.ok(["ps"]);
    expect(volumes()).toEqual([]);
    const id = await store.ok([
      "run",
      "-d",
      "--network",
      "none",
      "-v",
      "/anonymous",
      "-v",
      "kept:/named",
      root,
      "true",
    ]);
    expect(volumes()).toHaveLength(2);
    await store.ok(["wait", id]);
    await store.ok(["rm", "-v", id]);
    expect(volumes()).toEqual(["kept"]);
    // Options are looked at before anything is made.
    for (const bad of [
      ["-w", "relative"],
      ["-u", "nobody-knows"],
      ["--cidfile", "/dev/null"],
    ]) {
      expect((await bb(store, "-v", "/anonymous", ...bad, root, "true")).code).toBe(125);
    }
    expect(volumes()).toEqual(["kept"]);
  });
});

test("a hostname may be what the kernel takes, but nothing that adds to /etc/hosts", async () => {
  await using store = await newStore();
  for (const name of ["my_host", "-x-", "UPPER.example"]) {
    expect((await bb(store, "--hostname", name, root, "hostname")).stdout).toBe(`${name}\n`);
  }
  for (const name of ["two words", "line\nbreak", "a#b", "x".repeat(65)]) {
    expect((await bb(store, "--hostname", name, root, "true")).code).toBe(125);
  }
  // As if it were not given, which Docker has for every empty value.
  expect((await bb(store, "--hostname", "", root, "hostname")).stdout).toMatch(/^[0-9a-f]{12}\n$/);
});

describe("users", () => {
  const ids = ["sh", "-c", "id -u; id -g; id -G; echo $HOME"];

  test("by name and number, with the groups of /etc/group and the home of /etc/passwd", async () => {
    await using store = await newStore();
    const of = async (user: string): Promise<string[]> =>
      (await bb(store, "-u", user, root, ...ids)).stdout.trim().split("\n");
    expect(await of("user")).toEqual(["1000", "1000", "1000 10 2000", "/home/user"]);
    expect(await of("1000")).toEqual(["1000", "1000", "1000 10 2000", "/home/user"]);
    expect(await of("user:wheel")).toEqual(["1000", "10", "10", "/home/user"]);
    expect(await of("4242:4243")).toEqual(["4242", "4243", "4243", "/"]);
    expect(await of("4242")).toEqual(["4242", "0", "0", "/"]);
  });

  test("see the root, its files and volumes whatever umask the caller has", async () => {
    await using store = await newStore();
    const script = [
      "sh",
      "-c",
      "cat /etc/hosts > /dev/null && cat /proc/self/cgroup > /dev/null && ls -d /data/. /sys/fs/cgroup/.",
    ];
    const args = ["run", "--rm", "--network", "none", "-u", "1000", "-v", "data:/data", root, ...script];
    const { code, stderr } = await run(["sh", "-c", 'umask 077; exec "$@"', "sh", ...store.command, ...args]);
    expect([code, stderr]).toEqual([0, ""]);
  });

  test("of the image, and exec's own", async () => {
    await using store = await newStore();
    await store.ok(["init", "-u", "user", root, "as-user"]);
    const id = await store.ok(["run", "-d", "--network", "none", "as-user", "sleep", "1000"]);
    expect(await store.ok(["exec", id, ...ids])).toBe("1000\n1000\n1000 10 2000\n/home/user");
    expect(await store.ok(["exec", "-u", "0", id, ...ids])).toBe("0\n0\n0 10\n/root");
  });

  test("standard streams belong to the user: /dev/stdout can be opened", async () => {
    await using store = await newStore();
    const script = "echo out > /dev/stdout; echo err > /dev/stderr";
    for (const options of [[], ["-u", "1000"]]) {
      expect(await bb(store, ...options, root, "sh", "-c", script)).toEqual({
        code: 0,
        stdout: "out\n",
        stderr: "err\n",
      });
    }
    expect((await bb(store, "-t", "-u", "1000", root, "sh", "-c", script)).stdout).toBe("out\r\nerr\r\n");
  });
});

describe("environment and working directory", () => {
  test("-e, --env-file and the image's, the later one wins", async () => {
    await using store = await newStore();
    const file = join(directoryIn(store), "env");
    writeFileSync(file, "# a comment\nFILE=from file\nBOTH=file\nEMPTY=\nTAKEN\n");
    await store.ok(["init", "-e", "IMAGE=i", "-e", "BOTH=image", root, "env"]);
    const options = ["--env-file", file, "-e", "FLAG=a=b c", "-e", "BOTH=flag", "-e", "OWN"];
    const { stdout } = await store.bb(["run", "--rm", "--network", "none", ...options, "env", "env"], {
      env: { TAKEN: "from the caller", OWN: "mine" },
    });
    const seen = Object.fromEntries(
      stdout
        .trim()
        .split("\n")
        .map((line) => [line.split("=")[0], line.slice(line.indexOf("=") + 1)]),
    );
    expect(seen).toMatchObject({
      IMAGE: "i",
      FILE: "from file",
      BOTH: "flag",
      EMPTY: "",
      FLAG: "a=b c",
      OWN: "mine",
      TAKEN: "from the caller",
    });
  });

  test("-w is made when it is missing; exec's must be there", async () => {
    await using store = await newStore();
    const id = await store.ok(["run", "-d", "--network", "none", "-w", "/new/dir", root, "sleep", "1000"]);
    expect(await store.ok(["exec", id, "pwd"])).toBe("/new/dir");
    expect(await store.ok(["exec", "-w", "/tmp", id, "pwd"])).toBe("/tmp");
    const { code, stderr } = await store.bb(["exec", "-w", "/none", id, "pwd"]);
    expect(code).toBe(127);
    expect(stderr).toContain('Cannot use the working directory "/none": it does not exist');
    expect((await bb(store, "-w", "relative", root, "pwd")).code).toBe(125);
    expect((await bb(store, "-w", "/etc/passwd", root, "pwd")).code).toBeGreaterThan(124);
  });
});

describe("--init", () => {
  test("reaps what lost its parent, and passes signals on", async () => {
    await using store = await newStore();
    const script = "trap 'echo got TERM; exit 7' TERM; (sleep 0.01 &); echo ready; while :; do sleep 0.05; done";
    const id = await store.ok(["run", "-d", "--init", "--network", "none", root, "sh", "-c", script]);
    await until("it is ready", async () => (await store.ok(["logs", id])) === "ready");
    const zombies = "cat /proc/[0-9]*/stat 2>/dev/null | awk '$3==\"Z\"' | wc -l";
    await until("no zombie is left", async () => (await store.ok(["exec", id, "sh", "-c", zombies])) === "0");
    await store.ok(["stop", id]);
    expect(await store.ok(["wait", id])).toBe("7");
    expect(await store.ok(["logs", id])).toBe("ready\ngot TERM");
  });
});

describe("the rest", () => {
  test("--stop-signal", async () => {
    await using store = await newStore();
    const script = "trap 'exit 9' USR1; trap 'exit 8' TERM; echo ready; while :; do sleep 0.05; done";
    const id = await store.ok(["run", "-d", "--stop-signal", "SIGUSR1", "--network", "none", root, "sh", "-c", script]);
    await until("it is ready", async () => (await store.ok(["logs", id])) === "ready");
    await store.ok(["stop", id]);
    expect(await store.ok(["wait", id])).toBe("9");
    expect((await bb(store, "--stop-signal", "SIGNOTHING", root, "true")).code).toBe(125);
  });

  test("--cidfile is written once, and never over", async () => {
    await using store = await newStore();
    const file = join(directoryIn(store), "cid");
    const id = await store.ok(["create", "--cidfile", file, "--network", "none", root, "true"]);
    expect(readFileSync(file, "utf8")).toBe(id);
    const { code, stderr } = await bb(store, "--cidfile", file, root, "true");
    expect(code).toBe(125);
    expect(stderr).toContain("the file exists");
    expect(readFileSync(file, "utf8")).toBe(id);
    expect(await store.ok(["ps", "-aq", "--no-trunc"])).toBe(id);
  });

  test("labels, of the image and one's own", async () => {
    await using store = await newStore();
    await store.ok(["init", "--label", "a=image", "--label", "b=image", root, "labelled"]);
    await store.ok([
      "create",
      "--name",
      "box",
      "--label",
      "b=own",
      "-l",
      "__proto__=x",
      "--network",
      "none",
      "labelled",
      "true",
    ]);
    const [{ Config }] = JSON.parse(await store.ok(["inspect", "box"])) as [
      { Config: { Labels: Record<string, string> } },
    ];
    expect(Object.entries(Config.Labels)).toEqual(
      expect.arrayContaining([
        ["a", "image"],
        ["b", "own"],
        ["__proto__", "x"],
      ]),
    );
  });

  test("--privileged: everything is open", async () => {
    await using store = await newStore();
    const script =
      "mount -t tmpfs x /tmp && grep -c ' /tmp ' /proc/self/mounts; touch /proc/sys/kernel/hostname && echo writable";
    expect((await bb(store, "--privileged", root, "sh", "-c", script)).stdout).toBe("1\nwritable\n");
  });
});
