/** The engine as a library: containers that run beside a program that goes on. */
import { expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync } from "node:fs";
import { join } from "node:path";
import {
  BoxError,
  type ContainerOptions,
  type Engine,
  openEngine,
  runContainer,
  spawnContainer,
} from "../packages/core/src/mod.ts";
import { busyboxRoot, idsIn, newStore, type Store, until } from "./harness.ts";

const decoder = new TextDecoder();

function engineOf({ root, runRoot }: Store): Engine {
  return openEngine({ root, runRoot });
}

/** The monitor removes a container's files when everybody knows already that it has ended. */
async function nothingLeft({ root, runRoot }: Store): Promise<void> {
  await until(
    "the container's files to be gone",
    () => readdirSync(join(root, "containers")).length === 0 && idsIn(runRoot).length === 0,
  );
}

async function sh(script: string, more: Partial<ContainerOptions> = {}): Promise<ContainerOptions> {
  return { image: await busyboxRoot(), command: ["sh", "-c", script], network: "none", ...more };
}

test("runContainer() collects both streams and the status, and leaves nothing", async () => {
  await using store = await newStore();
  const engine = engineOf(store);
  const result = await runContainer(engine, await sh("echo out; echo err >&2; exit 7"));
  expect({ ...result, stdout: decoder.decode(result.stdout), stderr: decoder.decode(result.stderr) }).toEqual({
    exitCode: 7,
    stdout: "out\n",
    stderr: "err\n",
  });
  await nothingLeft(store);
});

test.each([
  ["a string", "one\ntwo\n"],
  ["bytes", new TextEncoder().encode("one\ntwo\n")],
  ["more than a pipe holds", "one\ntwo\n".repeat(50_000)],
  ["an end at once", ""],
])("runContainer() passes %s on as stdin", async (_, stdin) => {
  await using store = await newStore();
  const { exitCode, stdout } = await runContainer(engineOf(store), await sh("cat"), { stdin });
  expect(exitCode).toBe(0);
  expect(Buffer.from(stdout).equals(Buffer.from(stdin))).toBe(true);
});

test("runContainer() without stdin gives the command /dev/null", async () => {
  await using store = await newStore();
  const { stdout } = await runContainer(engineOf(store), await sh("cat; echo end"));
  expect(decoder.decode(stdout)).toBe("end\n");
});

test("runContainer() has the status of a signal as a shell has it", async () => {
  await using store = await newStore();
  // PID 1 of a namespace cannot kill itself.
  const { exitCode } = await runContainer(engineOf(store), await sh("kill -TERM $$", { init: true }));
  expect(exitCode).toBe(128 + 15);
});

test("runContainer() keeps what autoRemove: false asks to keep", async () => {
  await using store = await newStore();
  await runContainer(engineOf(store), await sh("exit 3", { autoRemove: false, name: "kept" }));
  expect(await store.ok(["wait", "kept"])).toBe("3");
});

test("a start like an earlier one takes its plan, and is a container of its own", async () => {
  await using store = await newStore();
  const engine = engineOf(store);
  const names = new Set<string>();
  for (let i = 0; i < 3; i++) {
    const { exitCode, stdout, stderr } = await runContainer(
      engine,
      await sh("cat /etc/hostname; echo x >> /root/x; cat /root/x"),
    );
    expect([exitCode, decoder.decode(stderr)]).toEqual([0, ""]);
    const [name = "", ...rest] = decoder.decode(stdout).split("\n");
    expect(rest).toEqual(["x", ""]);
    names.add(name);
  }
  expect(names.size).toBe(3);
});

test("runs beside each other do not mix", async () => {
  await using store = await newStore();
  const engine = engineOf(store);
  const numbers = Array.from({ length: 8 }, (_, i) => i);
  const results = await Promise.all(numbers.map(async (i) => runContainer(engine, await sh(`echo ${i}; exit ${i}`))));
  expect(results.map(({ exitCode, stdout }) => [exitCode, decoder.decode(stdout)])).toEqual(
    numbers.map((i) => [i, `${i}\n`]),
  );
});

test.each([
  ["runContainer", runContainer],
  ["spawnContainer", spawnContainer],
])("%s() says why a command cannot start, and leaves nothing", async (_, start) => {
  await using store = await newStore();
  const options = { ...(await sh("")), command: ["/no/such/program"] };
  const failure = await start(engineOf(store), options).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(failure).toBeInstanceOf(BoxError);
  expect((failure as BoxError).code).toBe("command-not-found");
  expect((failure as BoxError).message).toBe('Cannot run "/no/such/program": there is no such file in the container');
  expect(await store.ok(["ps", "-aq"])).toBe("");
  await nothingLeft(store);
});

test("a signal that aborts ends the container, also one that ignores SIGTERM", async () => {
  await using store = await newStore();
  const engine = engineOf(store);
  const controller = new AbortController();
  const shared = mkdtempSync(join(store.root, "..", "shared-"));
  const options = await sh("trap '' TERM; touch /shared/ready; while :; do sleep 1; done", {
    mounts: [{ type: "bind", source: shared, target: "/shared" }],
  });
  const running = runContainer(engine, options, { signal: controller.signal });
  await until("the command runs", () => existsSync(join(shared, "ready")));
  controller.abort(new Error("enough"));
  expect(await running.catch((error: unknown) => error)).toEqual(new Error("enough"));
  await nothingLeft(store);
});

test("a signal that aborts while the container is made ends it, too", async () => {
  await using store = await newStore();
  const controller = new AbortController();
  const running = runContainer(engineOf(store), await sh("sleep 1000"), { signal: controller.signal });
  controller.abort(new Error("at once"));
  expect(await running.catch((error: unknown) => error)).toEqual(new Error("at once"));
  await nothingLeft(store);
});

test("a signal that aborted before makes no container", async () => {
  await using store = await newStore();
  const running = runContainer(engineOf(store), await sh("true"), { signal: AbortSignal.abort(new Error("never")) });
  expect(await running.catch((error: unknown) => error)).toEqual(new Error("never"));
});

test("spawnContainer() resolves once the command runs, and its streams flow both ways", async () => {
  await using store = await newStore();
  const engine = engineOf(store);
  const script = "while read line; do echo got $line; done; echo end >&2; exit 5";
  const { id, stdin, stdout, stderr, exited } = await spawnContainer(engine, await sh(script, { interactive: true }));
  expect(await store.ok(["ps", "-q", "--no-trunc"])).toBe(id);
  const reader = stdout.getReader();
  for (const word of ["one", "two"]) {
    stdin?.write(`${word}\n`);
    await stdin?.flush();
    expect(decoder.decode((await reader.read()).value)).toBe(`got ${word}\n`);
  }
  await stdin?.end();
  expect(await exited).toBe(5);
  expect(await new Response(stderr).text()).toBe("end\n");
});

test("spawnContainer() has no stdin unless asked", async () => {
  await using store = await newStore();
  const { stdin, stdout, exited } = await spawnContainer(engineOf(store), await sh("cat; echo end"));
  expect(stdin).toBeUndefined();
  expect(await new Response(stdout).text()).toBe("end\n");
  expect(await exited).toBe(0);
});

test.each([
  ["ended", "true"],
  ["failed", "/no/such/program"],
])("of starts that have %s no descriptor stays open", async (_, command) => {
  await using store = await newStore();
  const engine = engineOf(store);
  const options = { ...(await sh("")), command: [command] };
  const once = async (): Promise<void> => {
    const { stdout, exited } = await spawnContainer(engine, options);
    await new Response(stdout).arrayBuffer();
    await exited;
  };
  const open = (): number => readdirSync("/proc/self/fd").length;
  const ended = command === "true" ? once : () => once().catch(() => {});
  // The first one opens what a program keeps.
  await ended();
  const before = open();
  for (let i = 0; i < 5; i++) await ended();
  await until("the descriptors to be closed", () => open() <= before);
});

test("a container that spawnContainer() started is one for every other command", async () => {
  await using store = await newStore();
  const { id, exited } = await spawnContainer(engineOf(store), await sh("sleep 1000"));
  expect(await store.ok(["exec", id, "echo", "inside"])).toBe("inside");
  await store.ok(["kill", id]);
  expect(await exited).toBe(128 + 9);
});
