/** AppArmor, where the kernel has it: the default profile confines, and what was asked for is had or refused. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { busyboxRoot, missing, newStore, until } from "./harness.ts";

const ENABLED = "/sys/module/apparmor/parameters/enabled";
const absent = missing(
  "AppArmor is not enabled, or apparmor_parser not installed",
  !existsSync(ENABLED) || readFileSync(ENABLED, "utf8").trim() !== "Y" || !existsSync("/sbin/apparmor_parser"),
);

const QUIET = ["--rm", "--network", "none"];
const LABEL = "cat /proc/self/attr/current";

describe.skipIf(absent)("AppArmor", () => {
  test("the default profile is enforced in run and exec, and not with --privileged or unconfined", async () => {
    const root = await busyboxRoot();
    await using store = await newStore();
    expect(await store.ok(["run", ...QUIET, root, "sh", "-c", LABEL])).toBe("bantubox-default (enforce)");
    expect(await store.ok(["run", ...QUIET, "--privileged", root, "sh", "-c", LABEL])).toBe("unconfined");
    const open = ["--security-opt", "apparmor=unconfined"];
    expect(await store.ok(["run", ...QUIET, ...open, root, "sh", "-c", LABEL])).toBe("unconfined");

    await store.ok(["run", "-d", "--name", "box", "--network", "none", root, "sleep", "1000"]);
    expect(await store.ok(["exec", "box", "sh", "-c", LABEL])).toBe("bantubox-default (enforce)");
    await store.ok(["rm", "-f", "box"]);
  });

  test("the profile refuses mounts to a container that has CAP_SYS_ADMIN, and lets it work otherwise", async () => {
    const root = await busyboxRoot();
    await using store = await newStore();
    const admin = [...QUIET, "--cap-add", "SYS_ADMIN"];
    const mount = "mount -t tmpfs none /tmp 2>/dev/null && echo mounted || echo refused";
    expect(await store.ok(["run", ...admin, root, "sh", "-c", mount])).toBe("refused");
    const open = ["--security-opt", "apparmor=unconfined"];
    expect(await store.ok(["run", ...admin, ...open, root, "sh", "-c", mount])).toBe("mounted");
    const work = "echo a > /tmp/f; ln /tmp/f /tmp/g; chown 5 /tmp/g; sleep 1000 & kill $!; wait; cat /tmp/g";
    expect(await store.ok(["run", ...QUIET, root, "sh", "-c", work])).toBe("a");
  });

  test("stop reaches a confined container", async () => {
    const root = await busyboxRoot();
    await using store = await newStore();
    const script = "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done";
    await store.ok(["run", "-d", "--name", "box", "--network", "none", root, "sh", "-c", script]);
    await until("the trap is set", async () => (await store.ok(["logs", "box"])) === "up", 30_000);
    await store.ok(["stop", "-t", "30", "box"]);
    expect(await store.ok(["wait", "box"])).toBe("7");
  });

  test("a profile that is not loaded is an error that says so", async () => {
    const root = await busyboxRoot();
    await using store = await newStore();
    const missingProfile = ["--security-opt", "apparmor=no-such-profile"];
    expect(await store.bb(["run", ...QUIET, ...missingProfile, root, "true"])).toMatchObject({
      code: 125,
      stdout: "",
      stderr: expect.stringContaining('Cannot use AppArmor profile "no-such-profile": it is not loaded'),
    });
  });
});
