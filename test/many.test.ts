import { expect, test } from "bun:test";
import { join } from "node:path";
import { busyboxRoot, cgroupsOf, idsIn, newStore } from "./harness.ts";

const image = await busyboxRoot();
/** Of many at once each takes its time. */
const AT_ONCE = { timeoutMs: 170_000 };

test("50 containers start at once, and are removed at once, with no failure and nothing left", async () => {
  await using store = await newStore();
  const starts = await Promise.all(
    Array.from({ length: 50 }, (_, i) =>
      store.bb(["run", "-d", "--name", `box${i}`, "--network", "none", image, "sleep", "600"], AT_ONCE),
    ),
  );
  expect(starts.filter(({ code }) => code !== 0)).toEqual([]);
  const ids = starts.map(({ stdout }) => stdout.trim());
  expect((await store.ok(["ps", "-q", "--no-trunc"])).split("\n").sort()).toEqual(ids.toSorted());
  const ends = await Promise.all(ids.map((id) => store.bb(["rm", "-f", id], AT_ONCE)));
  expect(ends.filter(({ code }) => code !== 0)).toEqual([]);
  expect(await store.ok(["ps", "-aq"])).toBe("");
  expect(ids.flatMap(cgroupsOf)).toEqual([]);
}, 180_000);

test("one rm -f removes many at once", async () => {
  await using store = await newStore();
  const ids = await Promise.all(
    Array.from({ length: 10 }, () => store.ok(["run", "-d", "--network", "none", image, "sleep", "600"])),
  );
  expect((await store.ok(["rm", "-f", ...ids])).split("\n").sort()).toEqual(ids.toSorted());
}, 180_000);

test("100 runs that remove themselves, eight at a time, all give their own output and status", async () => {
  await using store = await newStore();
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let i = next++; i < 100; i = next++) {
      const result = await store.bb(["run", "--rm", "--network", "none", image, "sh", "-c", `echo ${i}; exit ${i}`]);
      expect(result).toEqual({ code: i, stdout: `${i}\n`, stderr: "" });
    }
  };
  const look = async (): Promise<void> => {
    while (next < 100) await store.ok(["ps", "-a"]);
  };
  await Promise.all([...Array.from({ length: 8 }, lane), look()]);
  expect(await store.ok(["ps", "-aq"])).toBe("");
  expect(idsIn(join(store.root, "containers"))).toEqual([]);
}, 180_000);

test("ps of 1,000 containers is quick", async () => {
  await using store = await newStore();
  const id = await store.ok(["create", "--name", "model", "--network", "none", image, "true"]);
  // Rows alone: making a thousand directories would test the disk.
  const { Database } = await import("bun:sqlite");
  using database = new Database(join(store.root, "db.sqlite"));
  database.run(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
     INSERT INTO container SELECT printf('%064x', i), 'copy' || i, image, image_name, created_ms, started_ms, auto_remove, launch
     FROM n, container WHERE id = ?`,
    [id],
  );
  await using empty = await newStore();
  let [best, bestEmpty] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  // By turns, so that both have the machine at its best.
  for (let i = 0; i < 5; i++) {
    const begin = performance.now();
    expect((await store.ok(["ps", "-aq"])).split("\n")).toHaveLength(1000);
    const middle = performance.now();
    expect(await empty.ok(["ps", "-aq"])).toBe("");
    best = Math.min(best, middle - begin);
    bestEmpty = Math.min(bestEmpty, performance.now() - middle);
  }
  console.error(`ps -aq of 1,000 containers: ${best.toFixed(0)} ms at best, of none: ${bestEmpty.toFixed(0)} ms`);
  expect(best).toBeLessThan(20 * bestEmpty);
  database.run("DELETE FROM container WHERE name LIKE 'copy%'");
}, 180_000);
