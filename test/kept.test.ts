/** Starts and execs that take the plan of an earlier one must differ from it in everything that is their own. */
import { expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { busyboxRoot, cgroupsOf, makeBusybox, newStore, run } from "./harness.ts";

test("runs of one kind have hosts, cgroups and IDs of their own", async () => {
  await using store = await newStore();
  const root = await busyboxRoot();
  const script = "hostname; cat /etc/hostname; echo $HOSTNAME; tail -n 1 /etc/hosts | cut -f 2; cat /proc/1/cgroup";
  const seen = new Set<string>();
  for (let i = 0; i < 4; i++) {
    const out = await store.ok(["run", "--rm", "--network", "none", root, "sh", "-c", script]);
    const [host = "", ...same] = out.split("\n").slice(0, 4);
    expect(host).toMatch(/^[0-9a-f]{12}$/);
    expect(same).toEqual([host, host, host]);
    seen.add(host);
  }
  expect(seen.size).toBe(4);
  expect(readdirSync(join(store.runRoot, "plans")).length).toBeGreaterThan(0);
});

test("a container of a kept plan is listed, inspected, entered and removed like any other", async () => {
  await using store = await newStore();
  const run = ["run", "--rm", "--network", "none", await busyboxRoot(), "sleep", "1000"];
  const first = Bun.spawn([...store.command, ...run], { stdio: ["ignore", "ignore", "ignore"] });
  const id1 = await running(store, 1);
  const second = Bun.spawn([...store.command, ...run], { stdio: ["ignore", "ignore", "ignore"] });
  await running(store, 2);
  const ids = (await store.ok(["ps", "-q", "--no-trunc"])).split("\n");
  for (const id of ids) {
    const [inspected] = JSON.parse(await store.ok(["inspect", id])) as [{ Id: string; State: { Running: boolean } }];
    expect([inspected.Id, inspected.State.Running]).toEqual([id, true]);
    expect(await store.ok(["exec", id, "hostname"])).toBe(id.slice(0, 12));
    expect(cgroupsOf(id).length).toBeGreaterThan(0);
  }
  await store.ok(["rm", "-f", ...ids]);
  expect([await first.exited, await second.exited]).toEqual([137, 137]);
  expect(ids).toContain(id1);
});

/** The newest of `count` running containers. */
async function running(store: Awaited<ReturnType<typeof newStore>>, count: number): Promise<string> {
  for (;;) {
    const ids = (await store.ok(["ps", "-q", "--no-trunc"])).split("\n").filter((id) => id !== "");
    if (ids.length === count) return String(ids[0]);
    await Bun.sleep(20);
  }
}

test("what a plan was compiled from is looked at again", async () => {
  const root = await makeBusybox(mkdtempSync(join(tmpdir(), "bb-kept-")));
  try {
    await using store = await newStore();
    const id = (): Promise<string> => store.ok(["run", "--rm", "--network", "none", "--user", "user", root, "id"]);
    expect([await id(), await id()]).toEqual(
      Array(2).fill("uid=1000(user) gid=1000(user) groups=10(wheel),1000(user),2000(extra)"),
    );
    writeFileSync(join(root, "etc/group"), "user:x:1000:\n");
    expect(await id()).toBe("uid=1000(user) gid=1000(user) groups=1000(user)");
    writeFileSync(join(root, "etc/passwd"), "root:x:0:0::/:/bin/sh\n");
    expect((await store.bb(["run", "--rm", "--network", "none", "--user", "user", root, "id"])).stderr).toContain(
      "no such user",
    );
  } finally {
    rmSync(root, { recursive: true });
  }
});

test("so is the file of names that systemd-resolved writes, where the host's own only names that", async () => {
  await using store = await newStore();
  const stub = join(store.root, "..", "stub");
  writeFileSync(stub, "nameserver 127.0.0.53\n");
  const script = `
    mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/resolve && mount --bind "$0" /etc/resolv.conf
    for server in 192.0.2.1 192.0.2.1 192.0.2.2; do
      echo nameserver $server > /run/systemd/resolve/resolv.conf
      "$@" || exit 1
    done`;
  const command = [
    ...store.command,
    "run",
    "--rm",
    "--network",
    "none",
    await busyboxRoot(),
    "cat",
    "/etc/resolv.conf",
  ];
  const { code, stdout, stderr } = await run(["unshare", "--mount", "sh", "-c", script, stub, ...command]);
  expect([code, stderr]).toEqual([0, ""]);
  expect(stdout).toBe("nameserver 192.0.2.1\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n");
});

test("options that are allocated or looked up elsewhere are never kept", async () => {
  await using store = await newStore();
  const root = await busyboxRoot();
  const plans = (): string[] =>
    existsSync(join(store.runRoot, "plans")) ? readdirSync(join(store.runRoot, "plans")) : [];
  const network = ["--network", "none"];
  await store.ok(["run", "--rm", ...network, "--name", "named", root, "true"]);
  await store.ok(["run", "--rm", ...network, "-v", "/tmp:/mnt", root, "true"]);
  await store.ok(["run", "--rm", ...network, "--tmpfs", "/mnt", root, "true"]);
  await store.ok(["run", ...network, "--name", "stays", root, "true"]);
  expect(plans()).toEqual([]);
});

test("a start that fails forgets the plans that are kept, and leaves nothing", async () => {
  await using store = await newStore();
  const run = ["run", "--rm", "--network", "none", await busyboxRoot()];
  await store.ok([...run, "true"]);
  await store.ok([...run, "true"]);
  expect(readdirSync(join(store.runRoot, "plans")).length).toBeGreaterThan(0);
  for (let i = 0; i < 2; i++) {
    const failed = await store.bb([...run, "/bin/none"]);
    expect([failed.code, failed.stderr]).toEqual([127, expect.stringContaining('Cannot run "/bin/none"')]);
    expect(readdirSync(join(store.runRoot, "plans"))).toEqual([]);
  }
});

test("an exec of one kind goes to whoever has the name now", async () => {
  await using store = await newStore();
  const root = await busyboxRoot();
  const start = (name: string): Promise<string> =>
    store.ok(["run", "-d", "--network", "none", "--name", name, root, "sleep", "1000"]);
  const host = (name: string): Promise<string> => store.ok(["exec", name, "hostname"]);
  const one = await start("web");
  expect([await host("web"), await host("web")]).toEqual([one.slice(0, 12), one.slice(0, 12)]);
  await store.ok(["rename", "web", "old"]);
  expect((await store.bb(["exec", "web", "hostname"])).code).toBe(125);
  const two = await start("web");
  expect([await host("web"), await host("old"), await host("web")]).toEqual(
    [two, one, two].map((id) => id.slice(0, 12)),
  );
  await store.ok(["stop", "-t", "0", "web"]);
  expect((await store.bb(["exec", "web", "hostname"])).stderr).toContain("not running");
  await store.ok(["start", "web"]);
  expect(await host("web")).toBe(two.slice(0, 12));
  // The beginning of an ID may be another's too next time.
  expect([await host(two), await host(two.slice(0, 12)), await host(two.slice(0, 8))]).toEqual(
    [two, two, two].map((id) => id.slice(0, 12)),
  );
  expect(readdirSync(join(store.runRoot, "names")).sort()).toEqual([two.slice(0, 12), two, "old", "web"].sort());
});

test("a kept exec passes input, output and the status on", async () => {
  await using store = await newStore();
  await store.ok(["run", "-d", "--network", "none", "--name", "web", await busyboxRoot(), "sleep", "1000"]);
  for (let i = 0; i < 3; i++) {
    const result = await store.bb(["exec", "-i", "web", "sh", "-c", "cat; echo err >&2; exit 7"], { stdin: `in ${i}` });
    expect(result).toEqual({ code: 7, stdout: `in ${i}`, stderr: "err\n" });
  }
});
