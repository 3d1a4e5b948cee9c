/** An image that is being removed while a container is made of it: one of the two sees the other. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { busyboxRoot, newStore, until } from "./harness.ts";

test("a start waits for a removal that has not seen its container, and then finds no image", async () => {
  await using store = await newStore();
  await store.ok(["init", await busyboxRoot(), "app:1"]);
  const command = ["run", "--rm", "--pull", "never", "--network", "none", "app:1", "true"];
  const containers = join(store.root, "containers");
  // The image's user is looked up once for all; a plan is kept for the same words only.
  await store.ok([...command, "other"]);
  await until("it to be gone", () => readdirSync(containers).length === 0);
  using database = new Database(join(store.root, "db.sqlite"));
  // As `bb rmi` does it, stopped before it commits.
  database.run("BEGIN IMMEDIATE");
  rmSync(join(store.root, "images.mark"), { force: true });
  for (const table of ["image_name", "image_layer", "image_blob"]) database.run(`DELETE FROM ${table}`);
  database.run("DELETE FROM image");
  const running = store.bb(command);
  await until("the container's record", () =>
    readdirSync(containers).some((id) => existsSync(join(containers, id, "container.json"))),
  );
  database.run("COMMIT");
  const { code, stderr } = await running;
  expect([code, stderr]).toEqual([125, expect.stringContaining("Cannot find image")]);
  expect(readdirSync(containers)).toEqual([]);
});
