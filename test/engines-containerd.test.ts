/** Debian's containerd with ctr: its shim for runc, given our OCI runtime. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { missing, type Result, until } from "./harness.ts";
import { BB_OCI, busyboxArchive, newSandbox, type Sandbox } from "./sandbox.ts";

const isMissing = missing("containerd is not installed", Bun.which("containerd") === null);

let box: Sandbox;
const command = (): string[] => ["ctr", "--address", "/run/containerd/containerd.sock"];
const ctr = (...args: string[]): Promise<string> => box.ok([...command(), ...args]);
const attempt = (...args: string[]): Promise<Result> => box.run([...command(), ...args]);
/** Below a cgroup of the test's own. */
const runtime = (name: string): string[] => [
  ...["--runc-binary", BB_OCI, "--runc-root", join(box.directory, "runc")],
  ...["--cgroup", `${box.cgroup}/${name}`],
];

beforeAll(async () => {
  if (isMissing) return;
  box = await newSandbox();
  const config = join(box.directory, "containerd.toml");
  const [root, state] = [join(box.directory, "containerd"), "/run/containerd"];
  await Bun.write(
    config,
    `version = 2\nroot = "${root}"\nstate = "${state}"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n`,
  );
  box.start("containerd", ["containerd", "--config", config]);
  await until("containerd", async () => (await attempt("version")).code === 0, 60_000);
  // An archive of an image, which skopeo makes of a root directory's.
  const archive = await busyboxArchive(box.directory);
  const image = `${join(box.directory, "oci")}:latest`;
  await box.ok(["umoci", "init", "--layout", join(box.directory, "oci")]);
  await box.ok(["umoci", "new", "--image", image]);
  await box.ok(["umoci", "raw", "add-layer", "--image", image, archive]);
  await box.ok(["skopeo", "copy", "--quiet", `oci:${image}`, `oci-archive:${archive}.oci:busybox`]);
  await ctr("image", "import", "--index-name", "busybox", `${archive}.oci`);
}, 120_000);
afterAll(async () => {
  if (!isMissing) await box[Symbol.asyncDispose]();
});

describe.skipIf(isMissing)("ctr", () => {
  test("run: output, error and status are the command's", async () => {
    const script = "echo out; echo err >&2; exit 3";
    const args = ["run", "--rm", ...runtime("one"), "busybox", "one", "/bin/sh", "-c", script];
    expect(await attempt(...args)).toEqual({ code: 3, stdout: "out\n", stderr: "err\n" });
    const missing = await attempt("run", "--rm", ...runtime("none"), "busybox", "none", "nonesuch");
    expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining("executable file not found in $PATH") });
  });

  test("a task lives through start, exec, ps, pause, resume, metrics, kill and delete", async () => {
    await ctr("run", "-d", ...runtime("task"), "busybox", "task", "/bin/sleep", "600");
    expect(await ctr("tasks", "ls")).toMatch(/^task +\d+ +RUNNING$/m);
    const exec = await attempt("tasks", "exec", "--exec-id", "e1", "task", "/bin/sh", "-c", "echo inside; exit 4");
    expect(exec).toMatchObject({ code: 4, stdout: "inside\n" });
    expect((await ctr("tasks", "ps", "task")).split("\n")).toHaveLength(2);
    await ctr("tasks", "pause", "task");
    expect(await ctr("tasks", "ls")).toMatch(/^task +\d+ +PAUSED$/m);
    await ctr("tasks", "resume", "task");
    expect(await ctr("tasks", "metrics", "task")).toMatch(/^(pids.current|memory.usage)/m);
    await ctr("tasks", "kill", "--signal", "SIGKILL", "task");
    await until("its end", async () => /^task +\d+ +STOPPED$/m.test(await ctr("tasks", "ls")));
    await attempt("tasks", "delete", "task");
    await ctr("containers", "delete", "task");
    expect(await box.ok(["ls", join(box.directory, "runc/default")])).toBe("");
  });
});
