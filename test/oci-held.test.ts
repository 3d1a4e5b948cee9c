/** What happens to a container between its creation and its command: a start that takes long, a pause, a signal. */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { until } from "./harness.ts";
import { type Config, newRuntime, type Runtime } from "./oci-harness.ts";

async function created(runtime: Runtime, change?: (config: Config) => void): Promise<string> {
  const id = runtime.id();
  await runtime.ok(["create", "--bundle", await runtime.bundle(["sleep", "1000"], change), id]);
  return id;
}

/** A hook that says that it has begun, and takes its time. */
function slow(kind: "startContainer" | "poststart", began: string, seconds: number) {
  return (config: Config): void => {
    config.hooks = { [kind]: [{ path: "/bin/sh", args: ["sh", "-c", `: >${began}; sleep ${seconds}`] }] };
  };
}

describe("while start is at work", () => {
  test.each([
    ["a startContainer hook", "startContainer"],
    ["a poststart hook", "poststart"],
  ] as const)("in %s, delete --force need not wait for it", async (_, kind) => {
    await using runtime = newRuntime();
    const began = kind === "poststart" ? join(runtime.directory, "began") : "/dev/began";
    const id = await created(runtime, slow(kind, began, 12));
    const { pid } = JSON.parse(await runtime.ok(["state", id]));
    const start = runtime.oci(["start", id]);
    await until("the hook", () => existsSync(kind === "poststart" ? began : `/proc/${pid}/root${began}`));
    await runtime.ok(["delete", "--force", id], { timeoutMs: 9000 });
    expect(existsSync(join(runtime.root, id))).toBe(false);
    await start;
  });

  test("of a paused container, delete --force need not wait either", async () => {
    await using runtime = newRuntime();
    const id = await created(runtime, slow("startContainer", "/dev/began", 15));
    const { pid } = JSON.parse(await runtime.ok(["state", id]));
    const start = runtime.oci(["start", id]);
    await until("the hook", () => existsSync(`/proc/${pid}/root/dev/began`));
    await runtime.ok(["pause", id]);
    await runtime.ok(["delete", "--force", id]);
    await start;
  });

  test("it is created until its command is executed: state, exec, update and pause say so", async () => {
    await using runtime = newRuntime();
    const id = await created(runtime, slow("startContainer", "/dev/began", 600));
    const { pid } = JSON.parse(await runtime.ok(["state", id]));
    const start = runtime.oci(["start", id]);
    await until("the hook", () => existsSync(`/proc/${pid}/root/dev/began`));
    expect(await runtime.status(id)).toBe("created");
    expect(await runtime.ok(["exec", id, "echo", "inside"])).toBe("inside");
    await runtime.ok(["update", "--pids-limit", "99", id]);
    expect((await runtime.oci(["start", id])).stderr).toContain("cannot start an already running container");
    await runtime.ok(["pause", id]);
    expect(await runtime.status(id)).toBe("paused");
    await runtime.ok(["resume", id]);
    await runtime.ok(["delete", "--force", id]);
    await start;
  });
});

test("paused before its start, it is paused: it is neither started nor deleted without --force", async () => {
  await using runtime = newRuntime();
  const id = await created(runtime);
  await runtime.ok(["pause", id]);
  expect(await runtime.status(id)).toBe("paused");
  const start = await runtime.oci(["start", id]);
  expect([start.code, start.stderr]).toEqual([
    1,
    expect.stringContaining("cannot start a container in the paused state"),
  ]);
  const removal = await runtime.oci(["delete", id]);
  expect([removal.code, removal.stderr]).toEqual([1, expect.stringContaining("that is not stopped: paused")]);
  await runtime.ok(["resume", id]);
  expect(await runtime.status(id)).toBe("created");
  await runtime.ok(["start", id]);
  expect(await runtime.status(id)).toBe("running");
  await runtime.ok(["delete", "--force", id]);
});

test("signals that end a process end it before its command, and others do not", async () => {
  await using runtime = newRuntime();
  for (const [signal, status] of [
    ["WINCH", "created"],
    ["0", "created"],
    ["TERM", "stopped"],
    ["KILL", "stopped"],
  ]) {
    const id = await created(runtime);
    await runtime.ok(["kill", id, signal ?? ""]);
    await until(`${signal}: ${status}`, async () => (await runtime.status(id)) === status);
    await runtime.ok(["delete", "--force", id]);
  }
});

test("two starts at once: one of them starts it", async () => {
  await using runtime = newRuntime();
  const id = await created(runtime);
  const results = await Promise.all([1, 2, 3].map(() => runtime.oci(["start", id])));
  expect(results.map(({ code }) => code).sort()).toEqual([0, 1, 1]);
  for (const { code, stderr } of results) if (code !== 0) expect(stderr).toContain("cannot start an already running");
  await runtime.ok(["delete", "--force", id]);
});

test("delete --force ends a run in front, which has the container until then", async () => {
  await using runtime = newRuntime();
  const id = runtime.id();
  const running = runtime.oci(["run", "--bundle", await runtime.bundle(["sleep", "1000"]), id]);
  await until("it runs", async () => {
    const { code, stdout } = await runtime.oci(["state", id]);
    return code === 0 && JSON.parse(stdout).status === "running";
  });
  await runtime.ok(["delete", "--force", id], { timeoutMs: 9000 });
  expect((await running).code).toBe(137);
  expect(existsSync(join(runtime.root, id))).toBe(false);
});
