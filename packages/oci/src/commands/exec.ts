import { freezerFiles } from "@bantubox/cgroup";
import { becomePlan, passAs } from "@bantubox/core/runtime/become";
import { BoxError, readIfThere, readTextSync } from "@bantubox/ffi";
import { cgroupHost } from "../cgroup-host.ts";
import { command } from "../command.ts";
import { CONFIG, type Container, getContainer, openProcess, STATE, statusOf } from "../container.ts";
import { fail } from "../fail.ts";
import { absolute, type Globals } from "../globals.ts";
import { debugPlan, log } from "../log.ts";
import { EXEC_FLAGS, type ExecOptions, type ExecRequest, type PreparedExec, prepareExec } from "../prepare-exec.ts";
import { preserve } from "../preserve.ts";

/** Exit status of an exec that did not come to its command. */
const EXEC_FAILED = 255;

export default command({
  name: "exec",
  summary: "Run another process in a container",
  operands: "ID COMMAND [ARG...]  (or --process FILE ID)",
  flags: EXEC_FLAGS,
  count: [1],
  async run(globals, values, [id = "", ...args]) {
    try {
      return await enter(globals, getContainer(globals, id), values, args);
    } catch (error) {
      return fail(globals, error, EXEC_FAILED);
    }
  },
});

async function enter(
  globals: Globals,
  container: Container,
  options: ExecOptions,
  args: readonly string[],
): Promise<never> {
  const { status, pid } = statusOf(container);
  if (status === "stopped" || status === "creating")
    throw new BoxError("not-running", `cannot exec in a ${status} container`);
  if (status === "paused" && !options["ignore-paused"]) {
    throw new BoxError("container-paused", "cannot exec in a paused container (use --ignore-paused to override)");
  }
  const { saved } = container;
  const config = readIfThere(`${container.directory}/${CONFIG}`);
  if (saved === undefined || config === undefined)
    throw new BoxError("broken-state", "the container's state is incomplete");
  const process = options.process
    ? readTextSync(options.process === "-" ? "/dev/stdin" : absolute(options.process))
    : undefined;
  const preserved = preserve(options["preserve-fds"] ?? 0);
  const request = { globals, options, args, preserved, saved, now: { status, pid }, config, process };
  const prepared = await prepare(container, request);
  const found = openProcess(container);
  if (found === undefined) throw new BoxError("not-running", "cannot exec in a stopped container");
  using pidfd = found.pidfd;
  passAs(pidfd, prepared.pidfd);
  debugPlan(globals, "join", prepared.plan);
  return await becomePlan(prepared.plan);
}

/** Compiles, and remembers it for the front. */
async function prepare(container: Container, request: ExecRequest): Promise<PreparedExec> {
  const { globals, options } = request;
  const recording =
    globals.program.line === undefined ? undefined : new (await import("@bantubox/ffi/recorded")).Recording();
  recording?.start();
  const prepared = await prepareExec(request).finally(() => recording?.stop());
  for (const warning of prepared.warnings) log(globals, "warning", warning);
  if (recording !== undefined && options.process !== "-" && !prepared.namesProcess) {
    const { rememberExec } = await import("../remember.ts");
    const state = readTextSync(`${container.directory}/${STATE}`);
    const freezers = options["ignore-paused"] ? [] : freezerFiles(cgroupHost(), request.saved.cgroup);
    await rememberExec(request, { ...prepared, directory: container.directory, state, freezers }, recording);
  }
  return prepared;
}
