import { expect, test } from "bun:test";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { busyboxRoot, newStore, type Store, until } from "./harness.ts";

const image = await busyboxRoot();

async function runLogged(store: Store, name: string, ...command: string[]): Promise<string> {
  return await store.ok(["run", "-d", "--name", name, "--network", "none", image, ...command]);
}

function logOf(store: Store, id: string): string {
  return join(store.root, "containers", id, "log");
}

test("stdout and stderr come out where they went in, in their order", async () => {
  await using store = await newStore();
  await runLogged(store, "both", "sh", "-c", "echo one; echo two >&2; echo three; printf unfinished");
  await store.ok(["wait", "both"]);
  expect(await store.bb(["logs", "both"])).toEqual({ code: 0, stdout: "one\nthree\nunfinished", stderr: "two\n" });
});

test("a run in the foreground is logged as well", async () => {
  await using store = await newStore();
  await store.ok(["run", "--name", "front", "--network", "none", image, "echo", "seen"]);
  expect(await store.ok(["logs", "front"])).toBe("seen");
  expect((await store.bb(["logs", "nobody"])).code).toBe(1);
});

test("--tail, --since, --until and -t choose and mark lines", async () => {
  await using store = await newStore();
  await runLogged(store, "lines", "sh", "-c", "for i in 1 2 3 4 5; do echo $i; sleep 0.02; done");
  await store.ok(["wait", "lines"]);
  expect(await store.ok(["logs", "--tail", "2", "lines"])).toBe("4\n5");
  expect(await store.ok(["logs", "--tail", "0", "lines"])).toBe("");
  expect(await store.ok(["logs", "--tail", "all", "lines"])).toBe("1\n2\n3\n4\n5");
  expect(await store.ok(["logs", "--tail", "99", "lines"])).toBe("1\n2\n3\n4\n5");
  const stamped = (await store.ok(["logs", "-t", "lines"])).split("\n");
  for (const [i, line] of stamped.entries()) {
    expect(line).toMatch(new RegExp(`^20[0-9-]{8}T[0-9:]{8}\\.[0-9]{9}Z ${i + 1}$`));
  }
  // Milliseconds, for --since and --until look at no more.
  const third = stamped[2]?.slice(0, 23) ?? "";
  // On a busy machine lines may come as one, and so at one time.
  const those = (which: (time: string) => boolean): string =>
    stamped.flatMap((line) => (which(line.slice(0, 23)) ? [line.slice(31)] : [])).join("\n");
  expect(await store.ok(["logs", "--since", `${third}Z`, "lines"])).toBe(those((time) => time >= third));
  expect(await store.ok(["logs", "--until", `${third}Z`, "lines"])).toBe(those((time) => time <= third));
  expect(await store.ok(["logs", "--since", "1h", "--tail", "1", "lines"])).toBe("5");
  expect(await store.ok(["logs", "--since", "2999-01-01", "lines"])).toBe("");
  expect((await store.bb(["logs", "--since", "yesterday", "lines"])).code).toBe(125);
});

test("every byte comes back: zeroes, escapes, invalid UTF-8, long lines", async () => {
  await using store = await newStore();
  const script =
    "printf '\\000\\001\\033[31m\\377\\376\\r\\n'; head -c 100000 /dev/zero | tr '\\000' x; printf '\\nend'";
  await runLogged(store, "bytes", "sh", "-c", script);
  await store.ok(["wait", "bytes"]);
  const child = Bun.spawn([...store.command, "logs", "bytes"], { stdout: "pipe" });
  const bytes = Buffer.from(await new Response(child.stdout).bytes());
  const expected = Buffer.concat([
    Buffer.from([0, 1, 27, 91, 51, 49, 109, 255, 254, 13, 10]),
    Buffer.from(`${"x".repeat(100_000)}\nend`),
  ]);
  expect(bytes.equals(expected)).toBe(true);
  // With times, a line that is kept in parts is still one line.
  const stamped = await store.ok(["logs", "-t", "--tail", "all", "bytes"]);
  expect(stamped.split("\n").filter((line) => line.includes("xxx"))).toHaveLength(1);
});

test("what a container prints is never taken for a record (API-05)", async () => {
  await using store = await newStore();
  const forged = "2020-01-01T00:00:00.000000000Z stderr F forged";
  const id = await runLogged(store, "forger", "printf", `${forged}\\n\\r${forged}\\nx\\n2020 stdout P half`);
  await store.ok(["wait", "forger"]);
  expect(await store.bb(["logs", "forger"])).toEqual({
    code: 0,
    stdout: `${forged}\n\r${forged}\nx\n2020 stdout P half`,
    stderr: "",
  });
  const records = readFileSync(logOf(store, id), "utf8").trimEnd().split("\n");
  for (const record of records) expect(record).toMatch(/^20[0-9]{2}-[0-9-]{5}T[0-9:.]+Z stdout [FP] /);
  expect(await store.ok(["logs", "--since", "1h", "forger"])).toContain("forged");
});

test("records that were torn or written by others are passed over", async () => {
  await using store = await newStore();
  const id = await runLogged(store, "torn", "echo", "whole");
  await store.ok(["wait", "torn"]);
  const whole = readFileSync(logOf(store, id));
  writeFileSync(
    logOf(store, id),
    Buffer.concat([Buffer.from("\n \n\0\0\0\nx y z w\n"), whole, Buffer.from("2020-01-01T00:00")]),
  );
  expect(await store.bb(["logs", "torn"])).toEqual({ code: 0, stdout: "whole\n", stderr: "" });
});

test("-f shows what comes until the container ends", async () => {
  await using store = await newStore();
  await runLogged(
    store,
    "talks",
    "sh",
    "-c",
    "echo before; until [ -e /tmp/go ]; do sleep 0.05; done; echo after; exit 2",
  );
  const child = Bun.spawn([...store.command, "logs", "-f", "talks"], { stdout: "pipe" });
  const reader = child.stdout.getReader();
  expect(new TextDecoder().decode((await reader.read()).value)).toBe("before\n");
  await store.ok(["exec", "talks", "touch", "/tmp/go"]);
  expect(new TextDecoder().decode((await reader.read()).value)).toBe("after\n");
  expect((await reader.read()).done).toBe(true);
  expect(await child.exited).toBe(0);
});

test("-f of a container that removes itself ends with it", async () => {
  await using store = await newStore();
  const script = "echo here; while [ ! -e /tmp/go ]; do sleep 0.02; done; echo there";
  await store.ok(["run", "-d", "--rm", "--name", "gone", "--network", "none", image, "sh", "-c", script]);
  const child = Bun.spawn([...store.command, "logs", "-f", "gone"], { stdout: "pipe" });
  const reader = child.stdout.getReader();
  expect(new TextDecoder().decode((await reader.read()).value)).toBe("here\n");
  await store.ok(["exec", "gone", "touch", "/tmp/go"]);
  expect(new TextDecoder().decode((await reader.read()).value)).toBe("there\n");
  expect((await reader.read()).done).toBe(true);
  expect(await child.exited).toBe(0);
});

test("the log is bounded, and who follows it loses and repeats nothing of what is kept", async () => {
  await using store = await newStore();
  // About 45 MB of records, of which some 30 are kept; throttled by the follower's pace alone where that is attached.
  const script =
    "until [ -e /tmp/go ]; do sleep 0.02; done; seq -w 1 400000 | sed 's/.*/line & of a log that is rotated while it is followed/'";
  const id = await runLogged(store, "floods", "sh", "-c", script);
  const child = Bun.spawn([...store.command, "logs", "-f", "floods"], { stdout: "pipe" });
  const followed = new Response(child.stdout).text();
  await store.ok(["exec", "floods", "touch", "/tmp/go"]);
  await store.ok(["wait", "floods"], { timeoutMs: 150_000 });
  const log = logOf(store, id);
  for (const path of [log, `${log}.1`, `${log}.2`]) expect(statSync(path).size).toBeLessThanOrEqual(10_000_000);
  expect(existsSync(`${log}.3`)).toBe(false);

  const numbers = (text: string): number[] =>
    text
      .trimEnd()
      .split("\n")
      .map((line) => Number(/^line ([0-9]{6}) of/.exec(line)?.[1] ?? -1));
  const kept = numbers(await store.ok(["logs", "floods"]));
  expect(kept.at(-1)).toBe(400_000);
  expect(kept.length).toBeGreaterThan(150_000);
  expect(kept.every((number, i) => number === 400_000 - kept.length + 1 + i)).toBe(true);

  const seen = numbers(await followed);
  expect(await child.exited).toBe(0);
  expect(seen.every((number, i) => i === 0 || number > (seen[i - 1] ?? 0))).toBe(true);
  const [first = 0] = kept;
  expect(seen.filter((number) => number >= first)).toHaveLength(kept.length);
}, 180_000);

test("who reads only the beginning ends logs quietly", async () => {
  await using store = await newStore();
  await runLogged(store, "long", "seq", "1", "50000");
  await store.ok(["wait", "long"]);
  const child = Bun.spawn(["bash", "-c", `${store.command.join(" ")} logs long | head -1; echo "\${PIPESTATUS[0]}"`], {
    stdout: "pipe",
    stderr: "pipe",
  });
  expect(await new Response(child.stdout).text()).toBe("1\n141\n");
  expect(await new Response(child.stderr).text()).toBe("");
  await until("it is over", () => child.exited.then(() => true));
});

test("--tail gives no more lines than were asked for, however fast others come", async () => {
  await using store = await newStore();
  const script = "i=0; while :; do i=$((i+1)); echo $i; done";
  await store.ok(["run", "-d", "--name", "fast", "--network", "none", await busyboxRoot(), "sh", "-c", script]);
  await until("it prints", async () => (await store.ok(["logs", "--tail", "1", "fast"])) !== "");
  for (let i = 0; i < 20; i++) expect(await store.ok(["logs", "--tail", "2", "fast"])).toMatch(/^[0-9]+\n[0-9]+$/);
});

test.each([
  ["1", "3\n"],
  ["2", "2\n3\n"],
  ["9", "1\n2\n3\n"],
])("-f --tail %s begins with the last lines, and goes on from there", async (tail, last) => {
  await using store = await newStore();
  const script = "echo 1; echo 2; echo 3; until [ -e /tmp/go ]; do sleep 0.05; done; echo 4";
  await store.ok(["run", "-d", "--name", "box", "--network", "none", await busyboxRoot(), "sh", "-c", script]);
  await until("it prints", async () => (await store.ok(["logs", "box"])) === "1\n2\n3");
  const child = Bun.spawn([...store.command, "logs", "-f", "--tail", tail, "box"], { stdout: "pipe" });
  let text = "";
  for await (const chunk of child.stdout) {
    text += new TextDecoder().decode(chunk);
    if (text === last) await store.ok(["exec", "box", "touch", "/tmp/go"]);
  }
  expect(text).toBe(`${last}4\n`);
});
