/** Containers whose command does not run: those that were only created, whose start failed, or that somebody else has. */
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { busyboxRoot, newStore, run, type Store, until } from "./harness.ts";

const image = await busyboxRoot();
const QUIET = ["--network", "none"];

async function stateOf(store: Store, name: string): Promise<string> {
  return await store.ok(["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.StartedAt}}", name]);
}

const NEVER = "0001-01-01T00:00:00Z";

test("wait does not wait for one that was never started", async () => {
  await using store = await newStore();
  await store.ok(["create", "--name", "box", ...QUIET, image, "true"]);
  expect((await store.bb(["wait", "box"], { timeoutMs: 20_000 })).stdout).toBe("0\n");
});

test.each([
  ["there is no such command", ["no-such-command"], 127],
  ["it may not be executed", ["/etc/passwd"], 126],
])("is as it was created, with the status of what failed: %s", async (_, command, status) => {
  await using store = await newStore();
  // Detached, in front, and started apart.
  expect((await store.bb(["run", "-d", "--name", "behind", ...QUIET, image, ...command])).code).toBe(status);
  expect((await store.bb(["run", "--name", "front", ...QUIET, image, ...command])).code).toBe(status);
  await store.ok(["create", "--name", "apart", ...QUIET, image, ...command]);
  expect((await store.bb(["start", "-a", "apart"])).code).not.toBe(0);
  for (const name of ["behind", "front", "apart"]) {
    expect(await stateOf(store, name)).toBe(`created ${status} ${NEVER}`);
    expect(await store.ok(["wait", name])).toBe(String(status));
  }
  expect(await store.ok(["ps", "-a", "--format", "{{.State}}"])).toBe("created\ncreated\ncreated");
  await store.ok(["rm", "behind", "front", "apart"]);
});

test("has ended with the status of what failed, when it had run before", async () => {
  await using store = await newStore();
  const place = mkdtempSync(join(tmpdir(), "bb-place-"));
  using stack = new DisposableStack();
  stack.defer(() => rmSync(place, { recursive: true }));
  writeFileSync(join(place, "command"), "#!/bin/sh\nexit 3\n", { mode: 0o755 });
  expect(
    (await store.bb(["run", "--name", "box", ...QUIET, "-v", `${place}:/place`, image, "/place/command"])).code,
  ).toBe(3);
  await run(["rm", join(place, "command")]);
  expect((await store.bb(["start", "-a", "box"])).code).not.toBe(0);
  expect(await stateOf(store, "box")).toStartWith("exited 127 2");
  // It can be started again.
  writeFileSync(join(place, "command"), "#!/bin/sh\nexit 4\n", { mode: 0o755 });
  expect((await store.bb(["start", "-a", "box"])).code).toBe(4);
  expect(await stateOf(store, "box")).toStartWith("exited 4 2");
});

test("an exec that fails says nothing of its container's start", async () => {
  await using store = await newStore();
  await store.ok(["run", "-d", "--name", "box", ...QUIET, image, "sleep", "1000"]);
  expect((await store.bb(["exec", "box", "no-such-command"])).code).toBe(127);
  expect(await stateOf(store, "box")).toStartWith("running 0 2");
});

test("one that another command has is not said to run", async () => {
  await using store = await newStore();
  const id = await store.ok(["create", "--name", "box", ...QUIET, image, "true"]);
  const holder = Bun.spawn(["flock", join(store.root, "containers", id), "sleep", "1000"], {
    stdio: ["ignore", "ignore", "ignore"],
  });
  try {
    const taken = () => run(["flock", "--nonblock", join(store.root, "containers", id), "true"]);
    await until("the lock is taken", async () => (await taken()).code !== 0);
    const { code, stderr } = await store.bb(["start", "box"]);
    expect(code).toBe(1);
    expect(stderr).toContain('Cannot start "box": another command is working on it');
  } finally {
    await run(["sh", "-c", `kill $(cat /proc/${holder.pid}/task/${holder.pid}/children)`]);
    await holder.exited;
  }
  expect((await store.bb(["start", "-a", "box"])).code).toBe(0);
});
