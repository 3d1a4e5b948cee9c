/** What comes from outside and means harm: root directories, images, the directory that bb is called in, too much of anything. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { busyboxRoot, missing, newStore, run, type Store } from "./harness.ts";

const busybox = await busyboxRoot();
const SECRET = "the host's own secret";
let canary = "";

beforeAll(() => {
  canary = mkdtempSync(join(tmpdir(), "bb-canary-"));
  writeFileSync(join(canary, "file"), SECRET);
  mkdirSync(join(canary, "dir"));
});
afterAll(() => {
  expect(readdirSync(canary).sort()).toEqual(["dir", "file"]);
  expect(readdirSync(join(canary, "dir"))).toEqual([]);
  expect(readFileSync(join(canary, "file"), "utf8")).toBe(SECRET);
  rmSync(canary, { recursive: true });
});

/** A root directory of one's own to spoil; it goes with the store. */
async function rootIn(store: Store): Promise<string> {
  const root = mkdtempSync(join(store.runRoot, "..", "root-"));
  await run(["cp", "-a", `${busybox}/.`, root]);
  return root;
}

async function bb(store: Store, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return await store.bb(["run", "--rm", "--network", "none", ...args]);
}

describe("RT-03, RT-09: what stands at /dev/null is stdin only if it is that device", () => {
  test("a link to a descriptor of the engine's", async () => {
    await using store = await newStore();
    const dev = mkdtempSync(join(store.runRoot, "..", "dev-"));
    for (const fd of [4, 8, 9, 10]) {
      symlinkSync(`/proc/self/fd/${fd}`, join(dev, "null"));
      const { code, stdout, stderr } = await bb(store, "-v", `${dev}:/dev`, busybox, "readlink", "/proc/self/fd/0");
      expect([code, stdout]).toEqual([125, ""]);
      expect(stderr).toContain('Cannot use "/dev/null": it is not the device of that name');
      rmSync(join(dev, "null"));
    }
  });

  test("a file that only the engine may open, and a pipe; a device made again is fine", async () => {
    await using store = await newStore();
    const id = await store.ok(["run", "-d", "--network", "none", busybox, "sleep", "60"]);
    const exec = (command: string) => store.bb(["exec", "-i", id, "sh", "-c", command], { stdin: "" });
    for (const make of ["ln -s /proc/kmsg /dev/null", "mkfifo /dev/null"]) {
      expect((await exec(`rm /dev/null; ${make}`)).code).toBe(0);
      const { code, stderr } = await store.bb(["exec", id, "readlink", "/proc/self/fd/0"], { timeoutMs: 10_000 });
      expect(code).toBe(125);
      expect(stderr).toContain('Cannot use "/dev/null": it is not the device of that name');
    }
    expect((await exec("rm /dev/null; mknod -m 666 /dev/null c 1 3")).code).toBe(0);
    expect(await store.ok(["exec", id, "readlink", "/proc/self/fd/0"])).toBe("/dev/null");
  });
});

describe("RT-05: /proc and /sys are real, or nothing starts", () => {
  for (const name of ["proc", "sys"]) {
    test(`/${name} as a link`, async () => {
      await using store = await newStore();
      const root = await rootIn(store);
      symlinkSync("/tmp", join(root, name));
      const { code, stderr } = await bb(store, root, "true");
      expect(code).toBe(125);
      expect(stderr).toContain(`Cannot mount on "/${name}": ELOOP`);
      expect(stderr).toContain("the image has a symbolic link there");
      expect(await store.ok(["ps", "-aq"])).toBe("");
    });

    test(`/${name} as a file`, async () => {
      await using store = await newStore();
      const root = await rootIn(store);
      writeFileSync(join(root, name), "");
      const { code, stderr } = await bb(store, root, "true");
      expect(code).toBe(125);
      expect(stderr).toContain(`Cannot mount on "/${name}": ENOTDIR`);
    });

    test(`/${name} as a directory with something in it is covered`, async () => {
      await using store = await newStore();
      const root = await rootIn(store);
      mkdirSync(join(root, name, "self"), { recursive: true });
      writeFileSync(join(root, name, "self/status"), "CapEff: none");
      const out = await bb(store, root, "sh", "-c", "cat /proc/self/status; ls /sys");
      expect(out.code).toBe(0);
      expect(out.stdout).toContain("CapEff:\t00000000a80425fb");
      expect(out.stdout).toContain("kernel");
    });
  }

  test("what covers /proc by way of a link is noticed", async () => {
    await using store = await newStore();
    const root = await rootIn(store);
    symlinkSync("proc", join(root, "link"));
    const { code, stderr } = await bb(store, "--tmpfs", "/link", root, "true");
    expect(code).toBe(125);
    expect(stderr).toContain("Cannot use the container's /proc or /dev/pts: something else covers it");
  });

  test("no mount of the user's goes below /proc, nor an image's volume", async () => {
    await using store = await newStore();
    for (const target of ["/proc", "/proc/self", "/x/../proc/sys"]) {
      const { code, stderr } = await bb(store, "--tmpfs", target, busybox, "true");
      expect(code).toBe(125);
      expect(stderr).toContain("/proc is the kernel's view of the container");
    }
  });
});

describe("links that lead to the host", () => {
  test("RT-09: /dev, absolute and relative", async () => {
    await using store = await newStore();
    for (const to of [join(canary, "dir"), `../../../../../../..${canary}/dir`, relative("/", join(canary, "dir"))]) {
      const root = await rootIn(store);
      symlinkSync(to, join(root, "dev"));
      const { code, stderr } = await bb(store, root, "sh", "-c", "echo x > /dev/null && [ -c /dev/null ]");
      expect({ to, started: code === 0 || stderr.startsWith("bb: Cannot mount on") }).toEqual({ to, started: true });
      expect(readdirSync(join(canary, "dir"))).toEqual([]);
    }
  });

  test("RT-10: /etc, and the files that are written there", async () => {
    await using store = await newStore();
    const root = await rootIn(store);
    for (const name of ["resolv.conf", "hosts", "hostname"]) symlinkSync(join(canary, "file"), join(root, "etc", name));
    expect((await bb(store, root, "cat", "/etc/hosts")).stdout).toContain("localhost");
    const linked = await rootIn(store);
    await run(["sh", "-c", 'mv "$1/etc" "$1/real" && ln -s "$2" "$1/etc"', "sh", linked, join(canary, "dir")]);
    const { stdout } = await bb(store, linked, "cat", "/etc/hostname", join(canary, "dir", "hostname"));
    expect(stdout).toMatch(/^([0-9a-f]{12})\n\1\n$/);
  });

  test("RT-10: a working directory, and mounts, below a link", async () => {
    await using store = await newStore();
    const root = await rootIn(store);
    symlinkSync(canary, join(root, "link"));
    const source = mkdtempSync(join(store.runRoot, "..", "source-"));
    const options = ["-w", "/link/new/dir", "-v", `${source}:/link/mount`, "--tmpfs", "/link/dir"];
    const { code, stdout } = await bb(store, ...options, root, "sh", "-c", `pwd -P; touch /link/dir/x; ls ${canary}`);
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${canary}/new/dir\ndir\nmount\nnew\n` });
    expect(statSync(canary).nlink).toBe(3);
  });

  test("IMG-07, CP-04: /etc/passwd is a link, a circle, a pipe, a device, too large, or rubbish", async () => {
    await using store = await newStore();
    const linked = await rootIn(store);
    rmSync(join(linked, "etc/passwd"));
    symlinkSync("/etc/shadow", join(linked, "etc/passwd"));
    expect(await bb(store, "-u", "daemon", linked, "true")).toMatchObject({ code: 125 });
    for (const script of ["ln -s passwd etc/passwd", "mknod etc/passwd c 1 5", "truncate -s 5G etc/passwd"]) {
      const odd = await rootIn(store);
      rmSync(join(odd, "etc/passwd"));
      expect((await run(["sh", "-ec", script], { cwd: odd })).code).toBe(0);
      const result = await store.bb(["run", "--rm", "--network", "none", "-u", "user", odd, "true"], {
        timeoutMs: 30_000,
      });
      expect([script, result.code]).toEqual([script, 125]);
    }
    const pipe = await rootIn(store);
    rmSync(join(pipe, "etc/passwd"));
    await run(["mkfifo", join(pipe, "etc/passwd")]);
    expect(
      await store.bb(["run", "--rm", "--network", "none", "-u", "user", pipe, "true"], { timeoutMs: 30_000 }),
    ).toMatchObject({
      code: 125,
    });
    expect((await bb(store, "-u", "7", pipe, "grep", "Uid", "/proc/self/status")).stdout).toBe("Uid:\t7\t7\t7\t7\n");
    const rubbish = await rootIn(store);
    writeFileSync(
      join(rubbish, "etc/passwd"),
      "a:x:-1:0::/:\nb:x:4294967296:0::/:\nc:x:1e3:0::/:\nd::0x0:0\n\0:x:0:0\n",
    );
    for (const user of ["a", "b", "c", "d"])
      expect(await bb(store, "-u", user, rubbish, "id")).toMatchObject({ code: 125 });
  });

  test("twins: /etc/passwd and /etc lie elsewhere in the image, by absolute links (IMG-07)", async () => {
    await using store = await newStore();
    for (const script of [
      "mkdir -p nix/store/abc; mv etc/passwd nix/store/abc/passwd; ln -s /nix/store/abc/passwd etc/passwd",
      "mkdir system; mv etc system/etc; ln -s /system/etc etc",
    ]) {
      const root = await rootIn(store);
      expect((await run(["sh", "-ec", script], { cwd: root })).code).toBe(0);
      expect(await bb(store, "-u", "user", root, "id", "-u")).toMatchObject({ code: 0, stdout: "1000\n" });
    }
  });
});

test("ID-01: a user is a decimal number or a name, and nothing that looks like one", async () => {
  await using store = await newStore();
  const bad = [
    "1e3",
    "0x0",
    "+5",
    " 5",
    "-1",
    "4294967295",
    "99999999999999999999",
    "1000:x:y",
    "nobody-here",
    "٣",
    "0:-1",
    "0:4294967296",
  ];
  for (const user of bad) {
    const { code, stderr } = await bb(store, `--user=${user}`, busybox, "id");
    expect({ user, code }).toEqual({ user, code: 125 });
    expect(stderr).toStartWith("bb: Cannot run ");
  }
  expect((await bb(store, "-u", "4294967294:4294967294", busybox, "id", "-u")).stdout).toBe("4294967294\n");
});

describe("RT-03: nothing of the engine's is reached through /proc/self/fd", () => {
  const DEPTH = "../../../../../../../../../..";

  test("as working directory, of run, of exec and of an image", async () => {
    await using store = await newStore();
    const read = ["sh", "-c", `cat ${DEPTH}${canary}/file 2>/dev/null; pwd`];
    const id = await store.ok(["run", "-d", "--network", "none", busybox, "sleep", "1000"]);
    const tries = Array.from({ length: 24 }, (_, fd) => `/proc/self/fd/${fd}`);
    tries.push(
      "/proc/self/fd/9/../..",
      "/proc/1/fd/7",
      "/proc/self/cwd",
      "/proc/self/root/../..",
      "/proc/thread-self/fd/8",
    );
    for (const cwd of tries) {
      for (const args of [
        ["run", "--rm", "--network", "none", "-w", cwd, busybox],
        ["exec", "-w", cwd, id],
      ]) {
        const { code, stdout, stderr } = await store.bb([...args, ...read]);
        const isInside = code === 0 && /^\/[^\n]*\n$/.test(stdout);
        const isRefused = code !== 0 && stderr.startsWith("bb: Cannot ");
        expect({ cwd, args: args[0], ok: isInside || isRefused, stdout: stdout.includes(SECRET) }).toEqual({
          cwd,
          args: args[0],
          ok: true,
          stdout: false,
        });
      }
    }
    await store.ok(["init", "-w", "/proc/self/fd/8", busybox, "evil"]);
    expect((await bb(store, "evil", ...read)).stdout).not.toContain(SECRET);
  }, 180_000);

  test("as command", async () => {
    await using store = await newStore();
    for (let fd = 0; fd < 12; fd++) {
      const { code, stderr } = await bb(store, busybox, `/proc/self/fd/${fd}`);
      expect([125, 126, 127]).toContain(code);
      expect(stderr).toStartWith("bb: Cannot run ");
      // By its root, by the host's: whichever directory is behind that number.
      for (const path of ["bin/busybox", `${DEPTH}/bin/busybox`]) {
        const out = await bb(store, busybox, `/proc/self/fd/${fd}/${path}`, "cat", `${canary}/file`);
        expect({ fd, code: out.code, stdout: out.stdout }).toEqual({ fd, code: 127, stdout: "" });
      }
    }
  }, 180_000);
});

describe("RT-13: too much of it", () => {
  test("a variable of 1 MiB is an error in words; one of 100 KiB arrives", async () => {
    await using store = await newStore();
    const file = join(store.runRoot, "..", "env");
    writeFileSync(file, `BIG=${"x".repeat(1 << 20)}\n`);
    const { code, stderr } = await bb(store, "--env-file", file, busybox, "true");
    expect(code).toBe(126);
    expect(stderr).toContain('Cannot run "true": its arguments and variables are too long');
    writeFileSync(file, `BIG=${"x".repeat(100 << 10)}\n`);
    expect((await bb(store, "--env-file", file, busybox, "sh", "-c", "echo $BIG | wc -c")).stdout).toBe("102401\n");
  });

  test("lengths around 64 KiB arrive whole", async () => {
    await using store = await newStore();
    for (const length of [65_535, 65_536, 65_537]) {
      const { stdout } = await bb(store, busybox, "sh", "-c", "printf %s $1 | wc -c", "sh", "y".repeat(length));
      expect(stdout).toBe(`${length}\n`);
    }
  });

  test("17 MiB of variables is more than a plan holds, and said before anything starts", async () => {
    await using store = await newStore();
    const file = join(store.runRoot, "..", "env");
    const line = "x".repeat(100_000);
    writeFileSync(file, Array.from({ length: 180 }, (_, i) => `V${i}=${line}`).join("\n"));
    const { code, stderr } = await bb(store, "--env-file", file, busybox, "true");
    expect(code).toBeGreaterThanOrEqual(125);
    expect(stderr).toStartWith("bb: Cannot ");
    expect(stderr).not.toContain("Unexpected");
    expect(await store.ok(["ps", "-aq"])).toBe("");
  });

  test("names that are too long, and NULs", async () => {
    await using store = await newStore();
    const file = join(store.runRoot, "..", "env");
    writeFileSync(file, "A=1\0B=2\n");
    const cases = [
      ["-w", `/${"d".repeat(300)}`, busybox, "true"],
      ["-w", `/${"d/".repeat(3000)}`, busybox, "true"],
      ["--name", "n".repeat(256), busybox, "true"],
      ["--hostname", "h".repeat(65), busybox, "true"],
      ["--tmpfs", `/${"t".repeat(300)}`, busybox, "true"],
      ["--env-file", file, busybox, "true"],
    ];
    for (const args of cases) {
      const { code, stderr } = await bb(store, ...args);
      expect({ args: args[0], ok: code >= 125 && code <= 127 }).toEqual({ args: args[0], ok: true });
      expect(stderr).toStartWith("bb: Cannot ");
      expect(stderr).not.toContain("Unexpected");
    }
  });

  test("500 mounts", async () => {
    await using store = await newStore();
    const options = Array.from({ length: 500 }, (_, i) => ["--tmpfs", `/m/${i}`]).flat();
    const { code, stdout } = await bb(store, ...options, busybox, "grep", "-c", " /m/", "/proc/self/mountinfo");
    expect({ code, stdout }).toEqual({ code: 0, stdout: "500\n" });
  });
});

/** Directory with everything that Bun would read on its own, were it let. */
function hostileDirectory(store: Store): string {
  const dir = mkdtempSync(join(store.runRoot, "..", "cwd-"));
  const evil = `require("node:fs").writeFileSync(${JSON.stringify(join(dir, "ran"))}, "as root");`;
  writeFileSync(join(dir, "evil.js"), evil);
  writeFileSync(join(dir, "bunfig.toml"), 'preload = ["./evil.js"]\n[run]\npreload = ["./evil.js"]\n');
  writeFileSync(join(dir, ".env"), "NODE_TLS_REJECT_UNAUTHORIZED=0\nBUN_OPTIONS=--preload ./evil.js\nPATH=/evil\n");
  writeFileSync(join(dir, ".env.local"), "NODE_TLS_REJECT_UNAUTHORIZED=0\n");
  writeFileSync(join(dir, ".env.production"), "NODE_TLS_REJECT_UNAUTHORIZED=0\n");
  writeFileSync(join(dir, "package.json"), '{"name":"bantubox","type":"commonjs","imports":{"#x":"./evil.js"}}');
  writeFileSync(
    join(dir, "tsconfig.json"),
    '{"compilerOptions":{"paths":{"*":["./evil.js"]},"jsxImportSource":"./evil"}}',
  );
  for (const name of ["citty", "consola", "zod", "@bantubox/core"]) {
    mkdirSync(join(dir, "node_modules", name), { recursive: true });
    writeFileSync(join(dir, "node_modules", name, "index.js"), evil);
  }
  return dir;
}

describe("JS-01: the directory that bb is called in", () => {
  test("changes nothing", async () => {
    await using store = await newStore();
    const cwd = hostileDirectory(store);
    const before = readdirSync(cwd).sort();
    const options = { cwd };
    expect((await store.bb(["version"], options)).code).toBe(0);
    expect((await store.bb(["--help"], options)).code).toBe(0);
    expect((await store.bb(["run", "--rm", "--network", "none", busybox, "true"], options)).code).toBe(0);
    expect((await store.bb(["run", "--rm", "--network", "none", busybox, "no-such-command"], options)).code).toBe(127);
    await store.ok(["run", "-d", "--name", "web", "--network", "none", busybox, "sleep", "1000"], options);
    for (const args of [["ps"], ["inspect", "web"], ["exec", "web", "true"], ["logs", "web"], ["rm", "-f", "web"]]) {
      expect((await store.bb(args, options)).code).toBe(0);
    }
    expect(readdirSync(cwd).sort()).toEqual(before);
  });

  test.skipIf(missing("strace is not installed", Bun.which("strace") === null))("is not even looked at", async () => {
    await using store = await newStore();
    const cwd = hostileDirectory(store);
    const trace = join(store.runRoot, "..", "trace");
    const calls = "trace=open,openat,openat2,stat,lstat,newfstatat,statx,readlink,access,faccessat,faccessat2,execve";
    const strace = ["strace", "-f", "-o", trace, "-e", calls, "-s", "300"];
    const names = /bunfig|\.env|package\.json|tsconfig|node_modules|evil/;
    for (const args of [["version"], ["run", "--rm", "--network", "none", busybox, "true"], ["ps"]]) {
      expect((await run([...strace, ...store.command, ...args], { cwd })).code).toBe(0);
      const looked = readFileSync(trace, "utf8")
        .split("\n")
        .filter((line) => names.test(line) && !line.includes("execve("));
      expect({ args, looked }).toEqual({ args, looked: [] });
    }
  });
});

describe("JS-02: variables of a container never reach a process of ours", () => {
  const VARIABLES = ["BUN_OPTIONS=--preload /evil.js", "BUN_BE_BUN=1", "LD_PRELOAD=/evil.so", "NODE_OPTIONS=--x"];

  async function monitorOf(store: Store, id: string): Promise<string> {
    const [{ State }] = JSON.parse(await store.ok(["inspect", id])) as [{ State: { Pid: number } }];
    return /PPid:\s*([0-9]+)/.exec(readFileSync(`/proc/${State.Pid}/status`, "utf8"))?.[1] ?? "";
  }

  test("by -e, --env-file or the image: the monitor has none at all", async () => {
    await using store = await newStore();
    const file = join(store.runRoot, "..", "env");
    writeFileSync(file, `${VARIABLES.join("\n")}\n`);
    const flags = VARIABLES.flatMap((each) => ["-e", each]);
    await store.ok(["init", ...flags, busybox, "evil"]);
    const run = ["run", "-d", "--network", "none"];
    for (const args of [[...flags, busybox], ["--env-file", file, busybox], ["evil"]]) {
      const id = await store.ok([...run, ...args, "sleep", "1000"]);
      expect(await store.ok(["exec", id, "sh", "-c", "echo $BUN_OPTIONS"])).toBe("--preload /evil.js");
      expect(readFileSync(`/proc/${await monitorOf(store, id)}/environ`, "utf8")).toBe("");
    }
  });

  test("nor the process that explains why a start failed", async () => {
    await using store = await newStore();
    const flags = VARIABLES.flatMap((each) => ["-e", each]);
    const { code, stderr } = await bb(store, ...flags, busybox, "no-such-command");
    expect(code).toBe(127);
    expect(stderr).toStartWith('bb: Cannot run "no-such-command"');
  });

  test("and the caller's own do not stay with the monitor", async () => {
    await using store = await newStore();
    const env = { NODE_TLS_REJECT_UNAUTHORIZED: "0", LD_LIBRARY_PATH: "/evil", SECRET_TOKEN: "of the operator" };
    const id = await store.ok(["run", "-d", "--network", "none", busybox, "sleep", "1000"], { env });
    expect(readFileSync(`/proc/${await monitorOf(store, id)}/environ`, "utf8")).toBe("");
    expect(await store.ok(["exec", id, "env"], { env })).not.toContain("operator");
  });
});

describe("API-04: what is printed cannot speak to the terminal", () => {
  const ESCAPES = "\u001b]0;owned\u0007\u001b[2J\u202e\u009b\r";

  test("of commands, labels and names, in ps, inspect and errors", async () => {
    await using store = await newStore();
    const label = `text=${ESCAPES}`;
    await store.ok([
      "run",
      "-d",
      "--name",
      "web",
      "--label",
      label,
      "--network",
      "none",
      busybox,
      "sh",
      "-c",
      `: '${ESCAPES}'; sleep 1000`,
    ]);
    const outputs = [
      await store.bb(["ps", "--no-trunc"]),
      await store.bb(["ps", "--format", "{{.Labels}} {{.Command}}"]),
      await store.bb(["inspect", "web"]),
      await store.bb(["run", "--rm", "--network", "none", busybox, `/${ESCAPES}`]),
      await store.bb(["run", "--rm", "--network", ESCAPES, busybox, "true"]),
      await store.bb(["rm", ESCAPES]),
      await store.bb([ESCAPES]),
    ];
    for (const { stdout, stderr } of outputs) {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
      expect(stdout + stderr).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/);
      expect((stdout + stderr).length).toBeGreaterThan(10);
    }
  });
});

test.skipIf(missing("strace is not installed", Bun.which("strace") === null))(
  "a container is not entered before its process is in its own root",
  async () => {
    await using store = await newStore();
    const delay = ["-e", "trace=pivot_root", "-e", "inject=pivot_root:delay_enter=1500000"];
    const start = ["run", "-d", "--name", "half", "--network", "none", await busyboxRoot(), "sleep", "60"];
    const started = run(["strace", "-f", "-qq", "-o", "/dev/null", ...delay, ...store.command, ...start]);
    let entered = 1;
    let tries = 0;
    for (; entered !== 0 && tries < 300; tries++) {
      // What only the host has.
      const { code, stdout } = await store.bb(["exec", "half", "sh", "-c", "echo /boot*"]);
      entered = code;
      if (code === 0) expect(stdout).toContain("/boot*");
    }
    expect(tries).toBeGreaterThan(1);
    await store.ok(["rm", "-f", "half"]);
    // strace goes when nobody is left.
    expect((await started).code).toBe(0);
  },
);
