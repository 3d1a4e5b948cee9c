/** Debian's Podman and Buildah, with conmon, over our OCI runtime. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { missing, type Result, until } from "./harness.ts";
import { BB_OCI, busyboxArchive, newSandbox, type Sandbox } from "./sandbox.ts";

const isMissing = missing("podman and buildah are not installed", !Bun.which("podman") || !Bun.which("buildah"));

let box: Sandbox;
/** Everything that would be kept in the machine's own places. */
const stores = (): string[] => ["--root", join(box.directory, "storage"), "--runroot", "/run/podman"];
const command = (): string[] => [
  ...["podman", ...stores(), "--tmpdir", "/run/podman-tmp", "--storage-driver", "overlay"],
  ...["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", BB_OCI],
];
const podman = (...args: string[]): Promise<string> => box.ok([...command(), ...args]);
const attempt = (...args: string[]): Promise<Result> => box.run([...command(), ...args]);
const inOwnCgroup = (): string[] => ["--cgroup-parent", box.cgroup];

beforeAll(async () => {
  if (isMissing) return;
  box = await newSandbox();
  await podman("import", "--quiet", await busyboxArchive(box.directory), "localhost/busybox");
}, 120_000);
afterAll(async () => {
  if (!isMissing) await box[Symbol.asyncDispose]();
});

describe.skipIf(isMissing)("podman", () => {
  const run = (...args: string[]): Promise<Result> => attempt("run", "--network", "none", ...inOwnCgroup(), ...args);

  test("run: output, error and status are the command's; --rm leaves nothing", async () => {
    const script = "echo out; echo err >&2; exit 3";
    const result = await run("--rm", "localhost/busybox", "sh", "-c", script);
    expect(result).toEqual({ code: 3, stdout: "out\n", stderr: "err\n" });
    expect(await run("--rm", "localhost/busybox", "nonesuch")).toMatchObject({ code: 127 });
    expect(await podman("ps", "-aq")).toBe("");
  });

  test("exec, top, logs, pause, stop, start and rm of a container in the background", async () => {
    const script = "trap 'echo stopped; exit 7' TERM; echo started; while :; do sleep 0.1; done";
    expect(await run("-d", "--name", "back", "localhost/busybox", "sh", "-c", script)).toMatchObject({ code: 0 });
    await until("its first line", async () => (await podman("logs", "back")) === "started");
    expect(await attempt("exec", "back", "sh", "-c", "echo inside; exit 5")).toMatchObject({
      code: 5,
      stdout: "inside\n",
    });
    expect((await attempt("exec", "-t", "back", "tty")).stdout).toMatch(/^\/dev\/pts\/\d+\r\n$/);
    await podman("pause", "back");
    expect(await podman("inspect", "-f", "{{.State.Status}}", "back")).toBe("paused");
    await podman("unpause", "back");
    await podman("stop", "back");
    expect(await podman("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "back")).toBe("exited 7");
    expect(await podman("logs", "back")).toBe("started\nstopped");
    await podman("start", "back");
    await podman("rm", "-f", "-t", "0", "back");
  });

  test("a pod's containers share its network and its host name, and each its own files", async () => {
    // Podman makes a group for a pod also where a controller has no v1 hierarchy, and then cannot remove it.
    const infra = [
      "--share-parent=false",
      "--infra-image",
      "localhost/busybox",
      "--infra-command",
      "/bin/sleep infinity",
    ];
    await podman("pod", "create", "--name", "pod", "--network", "none", ...infra, ...inOwnCgroup());
    const serve = "echo shared > /tmp/index.html; exec httpd -f -p 8080 -h /tmp";
    await podman("run", "-d", "--pod", "pod", "--name", "server", "localhost/busybox", "sh", "-c", serve);
    const ask = "hostname; test ! -e /tmp/index.html && wget -qO- http://127.0.0.1:8080/";
    const answer = await until("an answer", async () => {
      const { code, stdout } = await attempt("run", "--rm", "--pod", "pod", "localhost/busybox", "sh", "-c", ask);
      return code === 0 && stdout;
    });
    expect(answer).toBe("pod\nshared\n");
    await podman("pod", "rm", "-f", "-t", "0", "pod");
    expect(await podman("ps", "-aq")).toBe("");
  });

  test("buildah: RUN is a container of ours", async () => {
    const file = join(box.directory, "Containerfile");
    await Bun.write(file, "FROM localhost/busybox\nRUN echo built > /file && id -u >> /file\n");
    const options = ["--isolation", "oci", "--runtime", BB_OCI, "--network", "none"];
    options.push("--cgroup-parent", `${box.cgroup}/build`);
    const storage = [...stores(), "--storage-driver", "overlay"];
    await box.ok([
      "buildah",
      ...storage,
      "build",
      ...options,
      "-q",
      "-t",
      "localhost/built",
      "-f",
      file,
      box.directory,
    ]);
    expect((await run("--rm", "localhost/built", "cat", "/file")).stdout).toBe("built\n0\n");
  });
});
