import { expect, test } from "bun:test";
import { allNumbers } from "./nr.ts";

/** What the compiler's headers say, by name. */
async function headerNumbers(): Promise<Map<string, number>> {
  const proc = Bun.spawn(["cc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"], { stdout: "pipe" });
  const text = await new Response(proc.stdout).text();
  const numbers = new Map<string, number>();
  for (const [, name, nr] of text.matchAll(/^#define __NR_(\w+) (\d+)$/gm)) numbers.set(String(name), Number(nr));
  return numbers;
}

test("allNumbers() agrees with the C headers of this machine", async () => {
  const headers = await headerNumbers();
  expect(headers.size).toBeGreaterThan(250);
  const wrong = allNumbers().filter(([name, nr]) => headers.has(name) && headers.get(name) !== nr);
  expect(wrong).toEqual([]);
});
