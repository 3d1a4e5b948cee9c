/** What bb says, and with which status it ends, when something cannot be done. */
import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { probe } from "./compile.ts";
import { BB, busyboxRoot, missing, newStore, run, type Store, until } from "./harness.ts";

const root = await busyboxRoot();

/** A root with one more program. */
async function rootWith(store: Store, content: string | Uint8Array, mode = 0o755): Promise<string> {
  const dir = mkdtempSync(join(store.runRoot, "..", "root-"));
  await run(["cp", "-a", `${root}/.`, dir]);
  writeFileSync(join(dir, "program"), content);
  chmodSync(join(dir, "program"), mode);
  return dir;
}

/** Runs it, and checks that nothing half-made is left. */
async function fails(store: Store, ...args: string[]): Promise<{ code: number; lines: string[] }> {
  const { code, stderr, stdout } = await store.bb(["run", "--network", "none", ...args]);
  expect(stdout).toBe("");
  expect(await store.ok(["ps", "-q"])).toBe("");
  return { code, lines: stderr.trimEnd().split("\n") };
}

describe("the command's own status", () => {
  test("is bb's: of run, exec, wait; 128 + n for a signal", async () => {
    await using store = await newStore();
    for (const status of [0, 1, 42, 125, 255]) {
      const { code } = await store.bb(["run", "--rm", "--network", "none", root, "sh", "-c", `exit ${status}`]);
      expect(code).toBe(status);
    }
    const id = await store.ok(["run", "-d", "--network", "none", root, "sleep", "1000"]);
    expect((await store.bb(["exec", id, "sh", "-c", "exit 3"])).code).toBe(3);
    expect((await store.bb(["exec", id, "sh", "-c", "kill -TERM $$"])).code).toBe(143);
    await store.ok(["kill", id]);
    expect(await store.ok(["wait", id])).toBe("137");
  });
});

describe("127 and 126", () => {
  test("a command that is nowhere", async () => {
    await using store = await newStore();
    expect(await fails(store, root, "no-such-command")).toEqual({
      code: 127,
      lines: [
        'bb: Cannot run "no-such-command": it is in no directory of the container\'s PATH',
        expect.stringMatching(/^hint: Looked for: .*\/usr\/bin\/no-such-command/),
      ],
    });
    expect(await fails(store, root, "/none")).toMatchObject({ code: 127 });
    expect(await fails(store, root, "/etc/passwd/none")).toMatchObject({ code: 127 });
  });

  test("an interpreter that is missing", async () => {
    await using store = await newStore();
    for (const script of ["#!/no/such/interpreter\n", "#!/bin/sh\r\necho\r\n"]) {
      const { code, lines } = await fails(store, await rootWith(store, script), "/program");
      expect(code).toBe(127);
      expect(lines[0]).toBe(
        'bb: Cannot run "/program": the interpreter or loader that it names is missing in the container',
      );
      expect(lines[1]).toStartWith("hint: See its first line");
    }
  });

  test("a file that may not be executed, a directory, a program of nothing", async () => {
    await using store = await newStore();
    expect((await fails(store, await rootWith(store, "#!/bin/sh\n", 0o644), "/program")).lines[0]).toBe(
      'bb: Cannot run "/program": permission denied',
    );
    expect(await fails(store, root, "/etc")).toMatchObject({ code: 126 });
    const { code, lines } = await fails(store, await rootWith(store, "no first line\n"), "/program");
    expect(code).toBe(126);
    expect(lines[0]).toContain("exec format error");
  });

  const other = Bun.which("aarch64-linux-gnu-gcc");
  const isRunnable = process.arch === "arm64" || existsSync("/proc/sys/fs/binfmt_misc/qemu-aarch64");
  test.skipIf(missing("no compiler for another architecture, or it runs here", other === null || isRunnable))(
    "a program for another architecture",
    async () => {
      await using store = await newStore();
      const program = await Bun.file(await probe("terminal", "aarch64-linux-gnu-gcc")).bytes();
      const { code, lines } = await fails(store, await rootWith(store, program), "/program");
      expect(code).toBe(126);
      expect(lines[0]).toContain("it is not a program for this machine");
      expect(lines[1]).toContain("another architecture");
    },
  );

  test("the same of exec", async () => {
    await using store = await newStore();
    const id = await store.ok(["run", "-d", "--network", "none", root, "sleep", "1000"]);
    expect(await store.bb(["exec", id, "none"])).toMatchObject({ code: 127, stdout: "" });
    expect(await store.bb(["exec", id, "/etc/passwd"])).toMatchObject({ code: 126, stdout: "" });
    expect(await store.bb(["exec", "nobody", "true"])).toMatchObject({ code: 125 });
    await store.ok(["kill", id]);
    await store.ok(["wait", id]);
    const { code, stderr } = await store.bb(["exec", id, "true"]);
    expect(code).toBe(125);
    expect(stderr).toContain("is not running");
  });
});

describe("125", () => {
  test("bad usage, with a hint", async () => {
    await using store = await newStore();
    for (const args of [["--no-such-flag", root, "true"], [], ["--memory=9e99g", root], ["-u", "", "--", ""]]) {
      const { code, stderr } = await store.bb(["run", ...args]);
      expect({ args, code }).toEqual({ args, code: 125 });
      expect(stderr).toStartWith("bb: ");
    }
    const { stderr } = await store.bb(["run", "--memry", "1g", root]);
    expect(stderr).toContain("--memory");
  });

  test("output that cannot be written ends the client, with a sentence", async () => {
    await using store = await newStore();
    await store.ok(["run", "-d", "--name", "box", "--network", "none", root, "sleep", "600"]);
    for (const args of [
      ["run", "--rm", "--network", "none", root, "echo", "hi"],
      ["exec", "box", "sh", "-c", "echo hi; exit 3"],
      ["exec", "box", "timeout", "60", "yes"],
    ]) {
      const { code, stderr } = await run(["sh", "-c", '"$@" >/dev/full', "sh", ...store.command, ...args]);
      expect({ args, code, stderr }).toEqual({
        args,
        code: 125,
        stderr: "bb: Cannot write the output: there is no space left\n",
      });
    }
    // Nothing waits for it any more.
    await store.ok(["kill", "box"]);
    await until("the first one is gone", async () => (await store.ok(["ps", "-aq"])).split("\n").length === 1);
  });

  test("an empty name of a directory, which is not the one that the caller is in", async () => {
    await using store = await newStore();
    const { code, stderr } = await store.bb(["init", "", "box"], { cwd: root });
    expect([code, stderr]).toEqual([125, "bb: Cannot make an image: the directory's name is empty\n"]);
  });

  test("a directory that is not there", async () => {
    await using store = await newStore();
    const { code, lines } = await fails(store, "./no-such-root", "true");
    expect(code).toBe(125);
    expect(lines[0]).toMatch(/^bb: Cannot use ".*\/no-such-root" as a root: it is not a directory$/);
  });

  test("an image that is not there, with --pull never: near names", async () => {
    await using store = await newStore();
    await store.ok(["init", root, "busybox"]);
    const { code, lines } = await fails(store, "--pull", "never", "busybx", "true");
    expect(code).toBe(125);
    expect(lines[0]).toContain("busybx");
    expect(lines.join("\n")).toContain("busybox");
    expect(await store.ok(["run", "--rm", "--network", "none", "--pull", "missing", "busybox", "echo", "here"])).toBe(
      "here",
    );
  });

  test("without root: EPERM or EACCES in words, and what is needed", async () => {
    const dir = mkdtempSync(join(tmpdir(), "bb-nobody-"));
    chmodSync(dir, 0o777);
    const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", BB];
    const command = [
      ...nobody,
      "--root",
      `${dir}/lib`,
      "--run-root",
      `${dir}/run`,
      "run",
      "--rm",
      "--network",
      "none",
      root,
      "true",
    ];
    const { code, stderr } = await run(command);
    await run(["rm", "-rf", dir]);
    expect(code).toBe(125);
    expect(stderr).toStartWith("bb: Cannot ");
    expect(stderr.toLowerCase()).toContain("root");
    expect(stderr).not.toContain("Unexpected");
  });

  test("a store that cannot be made", async () => {
    const command = [BB, "--root", "/proc/no-store", "--run-root", "/proc/no-run", "run", "--rm", root, "true"];
    const { code, stderr } = await run(command);
    expect(code).toBe(125);
    expect(stderr).toStartWith("bb: ");
    expect(stderr).not.toContain("Unexpected");
  });

  test("a run directory where no file can be made", async () => {
    await using store = await newStore();
    const { code, stderr } = await run([BB, "--root", store.root, "--run-root", "/proc", "ps"]);
    expect([code, stderr]).toEqual([
      1,
      expect.stringContaining('bb: Cannot keep state in "/proc": no file can be made'),
    ]);
  });

  test("names that are too short or too long: what they may be", async () => {
    await using store = await newStore();
    for (const name of ["a", "a".repeat(256)]) {
      expect((await fails(store, "--name", name, root, "true")).lines[1]).toContain("Use 2 to 255 letters");
      expect((await store.bb(["volume", "create", name])).stderr).toContain("Use 2 to 255 letters");
    }
  });

  test("a container that did not start leaves nothing that keeps its name", async () => {
    await using store = await newStore();
    expect((await store.bb(["run", "--rm", "--name", "box", "--network", "none", root, "none"])).code).toBe(127);
    expect(await store.ok(["ps", "-aq"])).toBe("");
    expect((await store.bb(["run", "--rm", "--name", "box", "--network", "none", root, "true"])).code).toBe(0);
  });
});

test("a run directory is refused whose store is another one: its containers go on", async () => {
  await using store = await newStore();
  const id = await store.ok(["run", "-d", "--rm", "--network", "none", root, "sleep", "1000"]);
  const other = mkdtempSync(join(tmpdir(), "bb-other-"));
  for (const [status, args] of [
    [1, ["ps"]],
    [125, ["run", "--rm", "--network", "none", root, "true"]],
  ] as const) {
    const { code, stderr } = await run([BB, "--root", other, "--run-root", store.runRoot, ...args]);
    expect(code).toBe(status);
    expect(stderr).toContain(`Cannot keep state in "${store.runRoot}": it is the run directory of the store`);
  }
  rmSync(other, { recursive: true });
  expect(await store.ok(["ps", "-q", "--no-trunc"])).toBe(id);
  await store.ok(["rm", "-f", id]);
});

test.each([
  ["another's", (dir: string): void => chownSync(dir, 1000, 1000)],
  ["everybody's", (dir: string): void => chmodSync(dir, 0o1777)],
])("a run directory that is %s is refused: its plans are carried out as root", async (_, give) => {
  await using store = await newStore();
  const dir = mkdtempSync(join(tmpdir(), "bb-foreign-"));
  give(dir);
  const command = [BB, "--root", store.root, "--run-root", dir, "run", "--rm", "--network", "none", root, "true"];
  const { code, stderr } = await run(command);
  expect(code).toBe(125);
  expect(stderr).toContain(`Cannot keep state in "${dir}": others than root can write there`);
  expect(readdirSync(dir)).toEqual([]);
  rmSync(dir, { recursive: true });
});

test("with too few files, at any number of them, it says so and leaves nothing", async () => {
  await using store = await newStore();
  const args = [...store.command, "run", "--rm", "--network", "none", root, "true"];
  for (let files = 6; files <= 30; files += 3) {
    // The second one takes the first one's plan, if that came to compiling it.
    for (let i = 0; i < 2; i++) {
      const { code, stderr } = await run(["sh", "-c", `ulimit -n ${files}; exec "$@"`, "sh", ...args]);
      expect([code, stderr]).toEqual([125, expect.stringContaining("Cannot ")]);
      if (files > 20) expect(stderr).toContain("hint: Raise the limit: ulimit -n");
    }
  }
  // What could not even be opened to be removed goes with the next command that looks at all containers.
  expect(await store.ok(["ps", "-aq"])).toBe("");
  expect(readdirSync(join(store.root, "containers"))).toEqual([]);
});
