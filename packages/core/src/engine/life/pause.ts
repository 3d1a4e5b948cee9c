import { detectCgroups, freezeCgroup, freezerFiles, isFrozen, thawCgroup } from "@bantubox/cgroup";
import { compileWrites } from "../../runtime/hold.ts";
import { SPAWNED_FDS, spawnWaiting } from "../start/plan-process.ts";
import type { Container } from "../state/container.ts";
import { cgroupPath } from "../state/engine.ts";

/**
 * Stops a container's processes until what it returns is disposed of. Should this process be killed meanwhile, another
 * one lets them go on.
 *
 * One that is paused already stays so.
 */
export async function pauseFor({ id }: Container): Promise<AsyncDisposable> {
  const host = detectCgroups();
  const group = cgroupPath(id);
  if (isFrozen(host, group)) return { async [Symbol.asyncDispose]() {} };
  await using stack = new AsyncDisposableStack();
  const files = freezerFiles(host, group).map((path) =>
    path.endsWith("/cgroup.events")
      ? { path: path.replace(/events$/, "freeze"), value: "0" }
      : { path, value: "THAWED" },
  );
  stack.use(await spawnWaiting(compileWrites(files, { reportFd: SPAWNED_FDS.report, waitFd: SPAWNED_FDS.lock })));
  stack.defer(() => thawCgroup(host, group));
  freezeCgroup(host, group);
  return stack.move();
}
