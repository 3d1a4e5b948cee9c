/** `bb doctor`: what it says of this host, to people and to programs. */
import { expect, test } from "bun:test";
import { newStore } from "./harness.ts";

test("says the same in words, in JSON and by a template, and its status is the worst that it says", async () => {
  await using store = await newStore();
  const json = await store.bb(["doctor", "--format", "json"]);
  const { checks } = JSON.parse(json.stdout) as { checks: { name: string; status: string; detail: string }[] };
  const kernel = checks.find(({ name }) => name === "kernel");
  expect(kernel?.status).toBe("ok");
  const words = await store.bb(["doctor"]);
  expect(words.stdout).toContain(`✓ kernel: ${kernel?.detail}\n`);
  for (const { name } of checks) expect(words.stdout).toContain(` ${name}: `);
  const listed = await store.bb(["doctor", "-f", "{{json .checks}}"]);
  expect(JSON.parse(listed.stdout).map(({ name }: { name: string }) => name)).toEqual(checks.map(({ name }) => name));
  const status = checks.some((check) => check.status === "fail") ? 1 : 0;
  expect([json.code, words.code, listed.code]).toEqual([status, status, status]);
});
