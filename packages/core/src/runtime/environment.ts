import type { Place, Steps } from "@bantubox/ffi";
import type { Build } from "./build.ts";
import type { Process } from "./spec.ts";

const HOME = "HOME=";
/** No path that the kernel takes is longer. */
const ROOM = 4096;

/**
 * The process's environment; without a HOME, or with an empty one, it gets what the container's /etc/passwd says, as
 * runc has it. That is read within the container's root, mounts and all, while there is the right to.
 *
 * @param steps Of a process that is in its root, and not its user yet.
 * @returns envp
 */
export function prepareEnvironment({ plan }: Build, steps: Steps, { env, user }: Process): Place {
  const home = env.findLast((entry) => entry.startsWith(HOME));
  if (home !== undefined && home !== HOME) return plan.strings(env);
  const bytes = new Uint8Array(new ArrayBuffer(HOME.length + ROOM));
  new TextEncoder().encodeInto(HOME, bytes);
  const entry = plan.bytes(bytes);
  steps.builtin("home", user.uid, plan.within(entry, HOME.length), ROOM);
  const others = env.filter((each) => !each.startsWith(HOME));
  return plan.strings(others, entry);
}
