/** A running container that has changed what its image gave it, for commands that are killed while they read or write its files. */
import { busyboxRoot, type Store, until } from "./harness.ts";

/** New files, a twin, and one that is gone. */
const CHANGES =
  "mkdir /d; for i in 1 2 3 4 5 6 7 8 9; do echo $i > /d/$i; done; ln /d/1 /d/one; rm /bin/ar; touch /ready; sleep 100000";

/** Starts `box` of a new image `box:1`. */
export async function startChangedBox(store: Store): Promise<void> {
  await store.ok(["init", await busyboxRoot(), "box:1"]);
  await store.ok(["run", "-d", "--name", "box", "--network", "none", "box:1", "sh", "-c", CHANGES]);
  await until("it is set up", async () => (await store.bb(["exec", "box", "test", "-e", "/ready"])).code === 0);
}

/** What the container has to be after each kill: running, and not standing still. */
export async function mustGoOn(store: Store, what: string): Promise<void> {
  const result = await until("it goes on", async () => {
    const tried = await store.bb(["exec", "box", "echo", "in"]);
    return tried.code === 0 || !tried.stderr.includes("paused") ? tried : undefined;
  });
  if (result.stdout !== "in\n") throw new Error(`The container does not go on after ${what}\n${result.stderr}`);
}
