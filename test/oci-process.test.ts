/** What a process is given beside what config.json says: run by bb-oci, on this kernel. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeBusybox, run } from "./harness.ts";
import { newRuntime, type Runtime, started } from "./oci-harness.ts";

describe("without a HOME, a process has that of the container's /etc/passwd", () => {
  const ACCOUNTS = "root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/srv/web:\n";

  async function homeOf(runtime: Runtime, passwd: string, uid: number, env: string[] = []): Promise<string> {
    const bundle = await runtime.bundle(["sh", "-c", "echo $HOME"], ({ process, mounts }) => {
      process.user = { uid, gid: 0 };
      process.env = ["PATH=/bin", ...env];
      mounts.push({ destination: "/etc/passwd", type: "bind", source: passwd, options: ["bind", "ro"] });
    });
    return await runtime.ok(["run", "--bundle", bundle, runtime.id()]);
  }

  test("mounts and all", async () => {
    await using runtime = newRuntime();
    const passwd = join(runtime.directory, "passwd");
    writeFileSync(passwd, ACCOUNTS);
    expect(await homeOf(runtime, passwd, 0)).toBe("/root");
    expect(await homeOf(runtime, passwd, 1000, ["HOME="])).toBe("/srv/web");
    expect(await homeOf(runtime, passwd, 1000, ["HOME=/mine"])).toBe("/mine");
    expect(await homeOf(runtime, passwd, 1001)).toBe("/");
  });

  test("and waits for no file that is none, nor follows one out of its root", async () => {
    await using runtime = newRuntime();
    expect(await homeOf(runtime, "/dev/zero", 0)).toBe("/");
    const outside = join(runtime.directory, "passwd");
    writeFileSync(outside, ACCOUNTS);
    for (const make of [
      (path: string) => run(["mkfifo", path]),
      (path: string) => symlinkSync(outside, path),
      (path: string) => symlinkSync("/proc/self/environ", path),
    ]) {
      const root = join(runtime.directory, `root-${runtime.id()}`);
      mkdirSync(root);
      await makeBusybox(root);
      mkdirSync(join(root, "etc"), { recursive: true });
      await run(["rm", "-f", join(root, "etc/passwd")]);
      await make(join(root, "etc/passwd"));
      const bundle = await runtime.bundle(["sh", "-c", "echo $HOME"], (config) => {
        config.root.path = root;
        config.process.env = ["PATH=/bin", "X=\nroot:x:0:0::/evil:\n"];
      });
      expect(await runtime.ok(["run", "--bundle", bundle, runtime.id()])).toBe("/");
    }
  });

  test("in a user namespace, and for what joins it", async () => {
    await using runtime = newRuntime();
    const passwd = join(runtime.directory, "passwd");
    writeFileSync(passwd, ACCOUNTS);
    const { id } = await started(runtime, ["sleep", "1000"], ({ process, mounts, linux }) => {
      process.env = ["PATH=/bin"];
      mounts.push({ destination: "/etc/passwd", type: "bind", source: passwd, options: ["bind", "ro"] });
      linux.namespaces.push({ type: "user" });
      linux["uidMappings"] = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
      linux["gidMappings"] = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
    });
    expect(await runtime.ok(["exec", id, "sh", "-c", "tr '\\0' ' ' </proc/1/environ"])).toBe("PATH=/bin HOME=/root ");
    expect(await runtime.ok(["exec", "--user", "1000", id, "sh", "-c", "echo $HOME >/dev/stdout"])).toBe("/srv/web");
    expect(await runtime.ok(["exec", "-e", "HOME=/mine", id, "sh", "-c", "echo $HOME"])).toBe("/mine");
  });
});

describe("a process of exec", () => {
  const STATUS = ["grep", "-E", "^(Cap(Prm|Eff|Bnd)|Max open)", "/proc/self/status", "/proc/self/limits"];

  async function given(runtime: Runtime, process: object): Promise<string[]> {
    const file = join(runtime.directory, "process.json");
    writeFileSync(file, JSON.stringify({ cwd: "/", env: ["PATH=/bin"], ...process }));
    return ["exec", "--process", file];
  }

  test("has what confines the container, where its file says nothing of that", async () => {
    await using runtime = newRuntime();
    const names = ["CAP_KILL"];
    const { id } = await started(runtime, ["sleep", "1000"], ({ process }) => {
      process["capabilities"] = { bounding: names, effective: names, permitted: names };
      process["noNewPrivileges"] = false;
      process["rlimits"] = [{ type: "RLIMIT_NOFILE", soft: 500, hard: 600 }];
    });
    const text = await runtime.ok([...(await given(runtime, { args: STATUS })), id]);
    for (const set of ["Prm", "Eff", "Bnd"]) expect(text).toContain(`Cap${set}:\t0000000000000020`);
    expect(text).toMatch(/Max open files +500 +600 /);
    const none = await runtime.ok([...(await given(runtime, { args: STATUS, capabilities: {} })), id]);
    for (const set of ["Prm", "Eff", "Bnd"]) expect(none).toContain(`Cap${set}:\t0000000000000000`);
  });

  test("has none of the capabilities that its container was not given", async () => {
    await using runtime = newRuntime();
    const { id } = await started(runtime, ["sleep", "1000"], ({ process }) => {
      delete process["capabilities"];
    });
    for (const exec of [["exec"], await given(runtime, { args: STATUS })]) {
      const words = exec.length === 1 ? STATUS : [];
      expect(await runtime.ok([...exec, id, ...words])).toContain("CapBnd:\t0000000000000000");
    }
  });
});

test.each([false, true])(
  "few descriptors are enough for a command, if not for what makes its container (users: %p)",
  async (isMapped) => {
    await using runtime = newRuntime();
    const { id } = await started(
      runtime,
      ["sh", "-c", "ulimit -Sn; ulimit -Hn; exec sleep 1000"],
      ({ process, linux }) => {
        process["rlimits"] = [{ type: "RLIMIT_NOFILE", soft: 10, hard: 20 }];
        if (!isMapped) return;
        const map = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
        linux.namespaces.push({ type: "user" });
        linux["uidMappings"] = map;
        linux["gidMappings"] = map;
      },
    );
    expect(await runtime.ok(["exec", id, "sh", "-c", "ulimit -Sn; ulimit -Hn"])).toBe("10\n20");
  },
);
