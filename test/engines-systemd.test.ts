/** systemd as the first process of Podman's containers, over our OCI runtime: it manages the groups that it is given. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { missing, type Result, run, until } from "./harness.ts";
import { BB_OCI, newSandbox, type Sandbox } from "./sandbox.ts";

const SYSTEMD = "/lib/systemd/systemd";
const isMissing =
  missing("podman is not installed", Bun.which("podman") === null) ||
  missing(
    "there is no systemd of Debian's to put into a container",
    !existsSync(SYSTEMD) || !Bun.which("dpkg-query"),
  ) ||
  missing("v1 of cgroups is never given away to a container", !existsSync("/sys/fs/cgroup/cgroup.controllers"));

let box: Sandbox;
const podman = (...args: string[]): Promise<Result> =>
  box.run([
    ...["podman", "--root", join(box.directory, "storage"), "--runroot", "/run/podman", "--tmpdir", "/run/podman-tmp"],
    ...["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file"],
    ...["--runtime", BB_OCI, ...args],
  ]);

beforeAll(async () => {
  if (!isMissing) box = await newSandbox();
}, 180_000);
afterAll(async () => {
  if (!isMissing) await box[Symbol.asyncDispose]();
});

describe.skipIf(isMissing)("systemd in a container", () => {
  test("comes up, starts services in groups of their own, and ends when it is told to", async () => {
    const root = await systemdRoot(join(box.directory, "root"));
    const command = [SYSTEMD, "--unit=basic.target"];
    const options = ["--name", "init", "--network", "none", "--systemd=always", "--cgroup-parent", box.cgroup];
    expect(await podman("run", "-d", ...options, "--rootfs", root, ...command)).toMatchObject({ code: 0 });
    const inside = async (...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await podman("exec", "init", ...args);
      return code === 0 ? stdout.trim() : `status ${code}: ${stdout}${stderr}`;
    };
    await until(
      "basic.target",
      async () => (await inside("systemctl", "is-active", "basic.target")) === "active",
      60_000,
    );

    const limits = ["--property=MemoryMax=32M", "--property=TasksMax=9"];
    await inside("systemd-run", "--quiet", "--unit=own", ...limits, "/usr/bin/busybox", "sleep", "1000");
    expect(await inside("systemctl", "show", "own", "--property=ActiveState,ControlGroup")).toBe(
      "ControlGroup=/system.slice/own.service\nActiveState=active",
    );
    const { stdout } = await run(["find", `/sys/fs/cgroup${box.cgroup}`, "-name", "own.service"]);
    const group = stdout.trim();
    expect(group).toEndWith("/system.slice/own.service");
    const files = ["memory.max", "pids.max"].map((file) => readFileSync(join(group, file), "utf8").trim());
    expect(files).toEqual([String(32 << 20), "9"]);
    // Where the first process is: the topmost group has handed its controllers on, and takes none.
    expect(await inside("busybox", "cat", "/proc/self/cgroup")).toBe("0::/init.scope");

    await podman("stop", "-t", "60", "init");
    const state = await podman("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "init");
    // 137 would be podman's patience.
    expect(state.stdout).toMatch(/^exited (0|130)\n$/);
    expect(await podman("rm", "init")).toMatchObject({ code: 0 });
  }, 180_000);
});

/** Fills `root` with what this host's systemd package needs, as dpkg knows it, and with busybox. */
async function systemdRoot(root: string): Promise<string> {
  const packages = await dependencies(["systemd", "bash"]);
  const { stdout } = await run(["dpkg-query", "--listfiles", ...packages]);
  const files = stdout.split("\n").filter((path) => path.startsWith("/") && path !== "/." && existsSync(path));
  const list = join(root, "../files");
  writeFileSync(list, [...new Set(files)].map((path) => path.slice(1)).join("\n"));
  // What /lib and the like point to, which no package of these may bring before what lies in them.
  for (const name of ["bin", "sbin", "lib", "lib64"]) mkdirSync(join(root, "usr", name), { recursive: true });
  const copy = 'tar -C / --no-recursion -cf - -T "$1" | tar -C "$2" -xf -';
  const copied = await run(["sh", "-c", copy, "sh", list, root]);
  if (copied.code !== 0) throw new Error(copied.stderr.slice(0, 1000));
  for (const name of ["dev", "proc", "sys", "run", "tmp", "var/log/journal"])
    mkdirSync(join(root, name), { recursive: true });
  for (const name of ["passwd", "group"]) copyFileSync(`/etc/${name}`, join(root, "etc", name));
  writeFileSync(join(root, "etc/machine-id"), "");
  copyFileSync("/bin/busybox", join(root, "usr/bin/busybox"));
  return root;
}

/** Installed packages that `names` need, and they. Of alternatives, whichever are there. */
async function dependencies(names: readonly string[]): Promise<string[]> {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query fills it in
  const format = "${Package}\t${db:Status-Status}\t${Pre-Depends}, ${Depends}\n";
  const needs = new Map<string, string[]>();
  for (const line of (await run(["dpkg-query", "-W", "-f", format])).stdout.split("\n")) {
    const [name = "", status, depends = ""] = line.split("\t");
    if (status === "installed")
      needs.set(
        name,
        depends.split(/[,|]/).map((word) => word.trim().split(/[ :]/, 1)[0] ?? ""),
      );
  }
  const found = new Set(names);
  for (const name of found) for (const other of needs.get(name) ?? []) if (needs.has(other)) found.add(other);
  return [...found];
}
