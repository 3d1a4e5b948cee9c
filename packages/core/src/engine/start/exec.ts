import { becomePlan, PASSED_FD, passAs } from "../../runtime/become.ts";
import type { ExecOptions } from "../create/options.ts";
import { execKey, recallExec } from "../kept/kept-exec.ts";
import type { Engine } from "../state/engine.ts";

/**
 * Runs a command in a container that runs, and becomes its client: this process ends as the command ends.
 *
 * An exec like an earlier one takes that one's plan.
 *
 * @param line The words of the command line, where they alone say what the options are: see remember.ts.
 */
export async function execForeground(
  engine: Engine,
  idOrName: string,
  options: ExecOptions,
  line?: readonly string[],
): Promise<never> {
  const key = execKey(options);
  const kept = key === undefined ? undefined : recallExec(engine, idOrName, key);
  if (kept === undefined) return await (await import("./exec-new.ts")).execNew(engine, idOrName, options, key);
  if (line !== undefined) (await import("../kept/remember.ts")).rememberExec(engine, line, idOrName, kept);
  passAs(kept.pidfd, PASSED_FD);
  return await becomePlan(kept.plan);
}
