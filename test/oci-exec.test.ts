/** What another process of a container is, and who hears of it: run by bb-oci, on this kernel. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { missing } from "./harness.ts";
import { newRuntime, started } from "./oci-harness.ts";

const noPython = missing("no python3 to play the listener and take descriptors", Bun.which("python3") === null);

describe("exec", () => {
  test.skipIf(noPython).each([
    [true, true],
    [false, true],
    [false, false],
  ])("has its calls answered by a listener (no_new_privs: %p, capabilities: %p)", async (noNewPrivileges, hasSome) => {
    await using runtime = newRuntime();
    const path = join(runtime.directory, "listener.sock");
    const probe = join(import.meta.dir, "probes/seccomp-agent.py");
    const agent = Bun.spawn(["python3", probe, path, "1"], { stdout: "pipe" });
    while (!existsSync(path)) await Bun.sleep(10);
    const { id, pid } = await started(runtime, ["sleep", "1000"], (config) => {
      config.process["noNewPrivileges"] = noNewPrivileges;
      if (!hasSome) delete config.process["capabilities"];
      config.process.user = { uid: 7, gid: 8 };
      config.linux["seccomp"] = {
        defaultAction: "SCMP_ACT_ALLOW",
        listenerPath: path,
        listenerMetadata: "for you",
        syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_NOTIFY" }],
      };
    });
    const command = "grep -E '^(CapPrm|CapEff|Seccomp):' /proc/self/status; exec mkdir /tmp/made";
    const exec = Bun.spawn([...runtime.command, "exec", "--pid-file", `${path}.pid`, id, "sh", "-c", command], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    expect(await new Response(exec.stderr).text()).toContain("File exists");
    const own = (name: string): string | undefined =>
      new RegExp(`^${name}:\\s+(.*)$`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[0];
    expect((await new Response(exec.stdout).text()).trimEnd().split("\n")).toEqual(
      ["CapPrm", "CapEff", "Seccomp"].map((name) => own(name) ?? ""),
    );
    expect(JSON.parse(await new Response(agent.stdout).text())).toMatchObject({
      fds: ["seccompFd"],
      pid: Number(readFileSync(`${path}.pid`, "utf8")),
      metadata: "for you",
      state: { id, status: "running", pid },
    });
  });

  test.skipIf(noPython)("is known by its pidfd to whoever asked for that", async () => {
    await using runtime = newRuntime();
    const path = join(runtime.directory, "pidfd.sock");
    const taker = Bun.spawn(["python3", join(import.meta.dir, "probes/take-pidfds.py"), path, "2"], { stdout: "pipe" });
    while (!existsSync(path)) await Bun.sleep(10);
    const id = runtime.id();
    const bundle = await runtime.bundle(["sleep", "1000"]);
    await runtime.ok(["run", "--detach", "--pidfd-socket", path, "--bundle", bundle, id]);
    const pidFile = join(runtime.directory, "pid");
    await runtime.ok(["exec", "--detach", "--pid-file", pidFile, "--pidfd-socket", path, id, "sleep", "1000"]);
    const { pid } = JSON.parse(await runtime.ok(["state", id])) as { pid: number };
    const taken = JSON.parse(await new Response(taker.stdout).text()) as number[];
    expect(taken).toEqual([pid, Number(readFileSync(pidFile, "utf8"))]);
  });

  test.skipIf(missing("cgroup v2 is not all there is", !existsSync("/sys/fs/cgroup/cgroup.controllers")))(
    "is told why it cannot join a group that has handed its controllers on",
    async () => {
      await using runtime = newRuntime();
      const { id } = await started(runtime, ["sleep", "1000"], ({ linux, mounts }) => {
        if (!linux.namespaces.some(({ type }) => type === "cgroup")) linux.namespaces.push({ type: "cgroup" });
        for (const mount of mounts) if (mount["type"] === "cgroup") mount["options"] = ["rw"];
      });
      const inside = "cd /sys/fs/cgroup && mkdir own && for pid in 1 $$; do echo $pid >own/cgroup.procs; done";
      await runtime.ok(["exec", id, "sh", "-c", `${inside} && echo +cpu +memory >cgroup.subtree_control`]);
      expect(await runtime.ok(["exec", id, "cat", "/proc/self/cgroup"])).toBe("0::/own");
      const { code, stderr } = await runtime.oci(["exec", "--cgroup", "/", id, "true"]);
      expect(code).toBe(255);
      expect(stderr).toMatch(
        / adding pid .* to cgroups: write \/sys\/fs\/cgroup\/.*\/cgroup.procs: device or resource busy/,
      );
    },
  );

  test.skipIf(missing("one CPU alone", availableParallelism() < 2))("is kept to the CPUs of its process", async () => {
    await using runtime = newRuntime();
    const { id } = await started(runtime);
    const process = JSON.parse(readFileSync(join(runtime.root, id, "config.json"), "utf8")).process;
    const file = join(runtime.directory, "process.json");
    const allowed = async (execCPUAffinity: Record<string, string>): Promise<string> => {
      const args = ["grep", "Cpus_allowed_list", "/proc/self/status"];
      writeFileSync(file, JSON.stringify({ ...process, args, execCPUAffinity }));
      return (await runtime.ok(["exec", "--process", file, id])).split("\t")[1] ?? "";
    };
    expect(await allowed({ final: "0" })).toBe("0");
    expect(await allowed({ initial: "1" })).toBe("1");
    expect(await allowed({ initial: "1", final: "0" })).toBe("0");
  });
});
