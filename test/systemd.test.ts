/** `--systemd-cgroup`: systemd, as this host's PID 1, makes and looks after the groups. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeBusybox, missing, type Result, run, until } from "./harness.ts";
import { BB_OCI, type Config, newRuntime, type Runtime } from "./oci-harness.ts";

const isMissing =
  missing("systemd is not this host's PID 1", !existsSync("/run/systemd/system")) ||
  missing("cgroup v2 is not all there is", !existsSync("/sys/fs/cgroup/cgroup.controllers"));

const LIMITS = {
  memory: { limit: 64 << 20, swap: 64 << 20 },
  cpu: { shares: 512, quota: 20_000, period: 100_000 },
  pids: { limit: 40 },
  devices: [
    { allow: false, access: "rwm" },
    { allow: true, type: "c", major: 1, minor: 3, access: "rwm" },
  ],
};
const slice = "bbtest-own.slice";
const directory = (id: string): string => `/sys/fs/cgroup/bbtest.slice/${slice}/bb-${id}.scope`;
const control = (id: string, file: string): string => readFileSync(join(directory(id), file), "utf8").trim();

/** Properties of a container's unit, as systemd has them. */
async function show(id: string, ...names: string[]): Promise<Record<string, string>> {
  const { stdout } = await run(["systemctl", "show", `bb-${id}.scope`, ...names.map((name) => `--property=${name}`)]);
  return Object.fromEntries(
    stdout
      .trim()
      .split("\n")
      .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
}

async function isGone(id: string): Promise<boolean> {
  return (await show(id, "LoadState"))["LoadState"] === "not-found" && !existsSync(directory(id));
}

/** A bundle whose group is a scope `bb-ID.scope`. */
function inScope(
  runtime: Runtime,
  id: string,
  args: readonly string[],
  change?: (config: Config) => void,
): Promise<string> {
  return runtime.bundle(args, (config) => {
    config.linux.cgroupsPath = `${slice}:bb:${id}`;
    config.linux["resources"] = LIMITS;
    config.linux["devices"] = [{ path: "/dev/messages", type: "c", major: 1, minor: 11, fileMode: 0o666 }];
    change?.(config);
  });
}

const oci = (runtime: Runtime, ...args: string[]): Promise<string> => runtime.ok(["--systemd-cgroup", ...args]);

/** Its own rules hold for devices, beside systemd's. */
async function expectNoMore(runtime: Runtime, id: string): Promise<void> {
  const { stdout, stderr } = await runtime.oci([
    "exec",
    id,
    "sh",
    "-c",
    "head -c 2 /dev/zero | wc -c; : < /dev/messages",
  ]);
  expect([stdout, stderr]).toEqual(["2\n", expect.stringContaining("Operation not permitted")]);
}

describe.skipIf(isMissing)("--systemd-cgroup", () => {
  test("a container's group is a scope that systemd knows, with its limits and nobody else inside", async () => {
    await using runtime = newRuntime();
    const id = runtime.id();
    await oci(runtime, "create", "--bundle", await inScope(runtime, id, ["sleep", "1000"]), id);
    const { pid } = JSON.parse(await oci(runtime, "state", id)) as { pid: number };
    expect(readFileSync(`/proc/${pid}/cgroup`, "utf8")).toBe(`0::/bbtest.slice/${slice}/bb-${id}.scope\n`);
    await until("the seed to end", () => control(id, "cgroup.procs") === String(pid));
    // The front would delete it without a word to systemd.
    expect(existsSync(join(runtime.root, id, "line"))).toBe(false);
    await oci(runtime, "start", id);
    expect(
      await show(
        id,
        "ActiveState",
        "Slice",
        "Delegate",
        "MemoryMax",
        "MemorySwapMax",
        "TasksMax",
        "CPUWeight",
        "DevicePolicy",
      ),
    ).toEqual({
      ActiveState: "active",
      Slice: slice,
      Delegate: "yes",
      MemoryMax: String(64 << 20),
      MemorySwapMax: "0",
      TasksMax: "40",
      CPUWeight: "59",
      DevicePolicy: "strict",
    });
    expect((await show(id, "CPUQuotaPerSecUSec"))["CPUQuotaPerSecUSec"]).toBe("200ms");
    expect(await oci(runtime, "exec", id, "sh", "-c", "echo fine > /dev/null; cat /proc/self/cgroup")).toBe("0::/");
    await expectNoMore(runtime, id);
    await oci(runtime, "delete", "--force", id);
    await until("its unit to be gone", () => isGone(id));
  });

  test("limits outlive a reload of systemd, and update tells it of new ones", async () => {
    await using runtime = newRuntime();
    const id = runtime.id();
    await oci(runtime, "run", "--detach", "--bundle", await inScope(runtime, id, ["sleep", "1000"]), id);
    await oci(runtime, "update", "--memory", "96M", "--memory-swap", "128M", "--pids-limit", "30", id);
    await run(["systemctl", "daemon-reload"]);
    expect(await show(id, "MemoryMax", "MemorySwapMax", "TasksMax")).toEqual({
      MemoryMax: String(96 << 20),
      MemorySwapMax: String(32 << 20),
      TasksMax: "30",
    });
    const files = ["memory.max", "memory.swap.max", "pids.max", "cpu.max"];
    expect(files.map((file) => control(id, file))).toEqual([String(96 << 20), String(32 << 20), "30", "20000 100000"]);
    await expectNoMore(runtime, id);
    await oci(runtime, "delete", "--force", id);
    await until("its unit to be gone", () => isGone(id));
  });

  test("run in front: the unit goes with the container, and its name is free again", async () => {
    await using runtime = newRuntime();
    const id = runtime.id();
    const bundle = await inScope(runtime, id, ["sh", "-c", "cat /proc/self/cgroup; exit 7"]);
    for (let i = 0; i < 2; i++) {
      const result = await runtime.oci(["--systemd-cgroup", "run", "--bundle", bundle, id]);
      expect(result).toMatchObject({ code: 7, stdout: "0::/\n" });
      await until("its unit to be gone", () => isGone(id));
    }
  });

  test("annotations are properties; what systemd refuses is an error in its words, and leaves nothing", async () => {
    await using runtime = newRuntime();
    const id = runtime.id();
    const withProperty = (name: string, value: string): Promise<string> =>
      inScope(runtime, id, ["sleep", "1000"], (config) => {
        config["annotations"] = { [`org.systemd.property.${name}`]: value };
      });
    const refused = await runtime.oci([
      "--systemd-cgroup",
      "create",
      "--bundle",
      await withProperty("Nonesuch", "true"),
      id,
    ]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/Cannot ask systemd to start .*bb-.*\.scope.*: .*Nonesuch/);
    expect(await isGone(id)).toBe(true);
    expect(existsSync(join(runtime.root, id))).toBe(false);

    await oci(runtime, "run", "--detach", "--bundle", await withProperty("TimeoutStopUSec", "uint64 7000000"), id);
    expect(await show(id, "TimeoutStopUSec")).toEqual({ TimeoutStopUSec: "7s" });
    const taken = await inScope(runtime, id, ["true"]);
    const other = await runtime.oci(["--systemd-cgroup", "create", "--bundle", taken, runtime.id()]);
    expect(other.stderr).toContain("already loaded");
    await oci(runtime, "delete", "--force", id);
    await until("its unit to be gone", () => isGone(id));
  });

  test("a create that is killed leaves no unit that delete --force does not remove", async () => {
    await using runtime = newRuntime();
    const id = runtime.id();
    const bundle = await inScope(runtime, id, ["sleep", "1000"]);
    let held = 0;
    for (let delayMs = 0; held < 2; delayMs = delayMs * 1.5 + 20) {
      const command = [...runtime.command, "--systemd-cgroup", "create", "--bundle", bundle, id];
      const child = Bun.spawn(command, { stdio: ["ignore", "ignore", "ignore"] });
      await Bun.sleep(delayMs);
      child.kill("SIGKILL");
      if ((await child.exited) === 0) held++;
      await oci(runtime, "delete", "--force", id);
      await until(`its unit to be gone after ${delayMs} ms`, () => isGone(id));
    }
  });
});

const noPodman = isMissing || missing("podman is not installed", Bun.which("podman") === null);

test.skipIf(noPodman)(
  "podman, whose own groups systemd makes, has ours made so, too",
  async () => {
    const place = mkdtempSync(join(tmpdir(), "bb-podman-"));
    const stores = ["--root", join(place, "storage"), "--runroot", join(place, "run"), "--tmpdir", join(place, "tmp")];
    const ours = [
      "--storage-driver",
      "overlay",
      "--cgroup-manager",
      "systemd",
      "--events-backend",
      "file",
      "--runtime",
    ];
    const podman = (...args: string[]): Promise<Result> => run(["podman", ...stores, ...ours, BB_OCI, ...args]);
    try {
      const root = join(place, "root");
      mkdirSync(root);
      await makeBusybox(root);
      const options = ["--name", "box", "--network", "none", "--memory", "64m", "--rootfs"];
      const { code, stdout } = await podman("run", "-d", ...options, root, "sleep", "1000");
      expect(code).toBe(0);
      const unit = `libpod-${stdout.trim()}.scope`;
      const properties = async (): Promise<string> =>
        (await run(["systemctl", "show", unit, "--property=LoadState,Slice,MemoryMax"])).stdout;
      expect((await properties()).split("\n").sort()).toEqual([
        "",
        "LoadState=loaded",
        `MemoryMax=${64 << 20}`,
        "Slice=machine.slice",
      ]);
      expect(await podman("exec", "box", "cat", "/proc/self/cgroup")).toMatchObject({ code: 0, stdout: "0::/\n" });
      expect(await podman("update", "--memory", "96m", "box")).toMatchObject({ code: 0 });
      expect(await properties()).toContain(`MemoryMax=${96 << 20}`);
      expect(await podman("rm", "-f", "-t", "0", "box")).toMatchObject({ code: 0 });
      await until("its unit to be gone", async () => (await properties()).includes("LoadState=not-found"));
    } finally {
      await podman("rm", "-f", "-a", "-t", "0");
      await run(["umount", join(place, "storage/overlay")]);
      rmSync(place, { recursive: true, force: true });
    }
  },
  120_000,
);
