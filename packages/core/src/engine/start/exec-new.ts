import { detectCgroups, execGroups, freezerFiles, isFrozen } from "@bantubox/cgroup";
import { BoxError, type Fd } from "@bantubox/ffi";
import { becomePlan, PASSED_FD, passAs } from "../../runtime/become.ts";
import { compileExec, type ExecContext } from "../../runtime/compile-exec.ts";
import type { Capabilities, Process, Spec, User } from "../../runtime/spec.ts";
import { openDirectory } from "../create/image-root.ts";
import type { ExecOptions } from "../create/options.ts";
import { compileFilter, processCapabilities } from "../create/security.ts";
import { resolveUser } from "../create/users.ts";
import { forgetNames, keepExec } from "../kept/kept-exec.ts";
import { type Container, findContainer, getContainer, readSpec } from "../state/container.ts";
import { cgroupPath, type Engine } from "../state/engine.ts";
import { getProcess, hasEnded, notRunning } from "../state/process.ts";
import { parseDetachKeys } from "./detach-keys.ts";
import { explainCommand, SPAWNED_FDS, spawnPlan } from "./plan-process.ts";

const VERB = "run a command in";

/**
 * Runs a command in a container that runs, and becomes its client; `execForeground` (exec.ts) is the shorter way to the same.
 *
 * @param key Under which the plan is kept for the next exec of its kind.
 */
export async function execNew(
  engine: Engine,
  idOrName: string,
  options: ExecOptions,
  key: string | undefined,
): Promise<never> {
  const { container, spec, context, pidfd, freezers } = await prepare(engine, idOrName, options, true);
  const failed = explainCommand(engine, container, "exec");
  const plan = compileExec({ ...context, spec, pidfd: PASSED_FD, failed });
  const isNamed =
    key !== undefined && !mayMakeGroups(spec) && keepExec(engine, idOrName, container, key, { freezers }, plan);
  if (isNamed && findContainer(engine, idOrName)?.id !== container.id) forgetNames(engine);
  passAs(pidfd, PASSED_FD);
  return await becomePlan(plan);
}

/** Runs a command in a container that runs, and leaves it to a monitor of its own. Returns once it runs. */
export async function execDetached(engine: Engine, idOrName: string, options: ExecOptions): Promise<void> {
  const { spec, context, pidfd } = await prepare(engine, idOrName, options, false);
  using _pidfd = pidfd;
  const plan = compileExec({ ...context, spec, pidfd: SPAWNED_FDS.lock, reportFd: SPAWNED_FDS.report });
  await spawnPlan(plan, pidfd, spec);
}

interface Prepared {
  readonly container: Container;
  readonly spec: Spec;
  readonly context: Omit<ExecContext, "pidfd" | "spec">;
  readonly pidfd: Fd;
  readonly freezers: readonly string[];
}

async function prepare(engine: Engine, idOrName: string, options: ExecOptions, attach: boolean): Promise<Prepared> {
  const container = getContainer(engine, idOrName);
  const { pidfd, pid } = getProcess(engine, container, VERB);
  try {
    const host = detectCgroups();
    const group = cgroupPath(container.id);
    if (isFrozen(host, group)) {
      throw new BoxError("container-paused", `Cannot run a command in "${container.name}": it is paused`, {
        hint: "Who has frozen its cgroup has to thaw it",
      });
    }
    const spec = readSpec(engine, container);
    const process = processOf(container, spec, options, pid);
    const { tty = false, interactive = false, detachKeys } = options;
    const context = {
      process,
      cgroup: execGroups(host, group, pid),
      stdio: { tty, interactive, attach, forward: attach && interactive },
      // The filter follows the capabilities, so a privileged process has its own.
      filter: options.privileged ? undefined : await compileFilter(spec),
      detachKeys: parseDetachKeys(detachKeys ?? container.launch.detachKeys),
    };
    return { container, spec, context, pidfd, freezers: freezerFiles(host, group) };
  } catch (cause) {
    using _pidfd = pidfd;
    // Its group, its root and what else was looked at go with it.
    throw hasEnded(pidfd) ? notRunning(container, VERB) : cause;
  }
}

/** Whether the container can have groups of its own, and with v2 another exec then another place. */
function mayMakeGroups({ mounts }: Spec): boolean {
  return mounts.some(({ type, options = [] }) => type === "cgroup" && !options.includes("ro"));
}

/** The container's own process with what the user wants otherwise. */
function processOf(container: Container, spec: Spec, options: ExecOptions, pid: number): Process {
  const own = spec.process;
  const identity = options.user === undefined ? undefined : resolveIn(pid, options.user);
  const user = identity?.user ?? own.user;
  const terminal = options.tty ? ["TERM=xterm"] : [];
  const env = mergeEnvironment(terminal.concat(own.env), options.env ?? []);
  const cwd = options.workdir ?? own.cwd;
  if (!cwd.startsWith("/")) {
    throw new BoxError(
      "bad-workdir",
      `Cannot use the working directory ${JSON.stringify(cwd)}: it is not an absolute path`,
    );
  }
  const [first] = options.command;
  if (first === undefined) {
    throw new BoxError("no-command", `Cannot run a command in "${container.name}": none was given`);
  }
  const capabilities = options.privileged
    ? processCapabilities({ image: "", command: [], privileged: true }, user)
    : capabilitiesOf(own, user);
  const { terminal: _, consoleSize: __, ...rest } = own;
  return { ...rest, terminal: options.tty === true, user, args: options.command, env, cwd, capabilities };
}

/** The container's own, but what its user was given to keep across execve is not another user's. */
function capabilitiesOf({ capabilities, user: own }: Process, user: User): Capabilities {
  return user.uid === own.uid ? capabilities : { ...capabilities, inheritable: [], ambient: [] };
}

/** Looks the user up in the container as it is now, through its own root. */
function resolveIn(pid: number, user: string): ReturnType<typeof resolveUser> {
  const path = `/proc/${pid}/root`;
  using root = openDirectory(path);
  return resolveUser(root.raw, user);
}

function mergeEnvironment(base: readonly string[], more: readonly string[]): string[] {
  const values = new Map<string, string>();
  for (const entry of [...base, ...more]) {
    const separator = entry.indexOf("=");
    if (separator < 1)
      throw new BoxError("bad-env", `Cannot set the variable ${JSON.stringify(entry)}: it is not NAME=value`);
    values.set(entry.slice(0, separator), entry.slice(separator + 1));
  }
  return Array.from(values, ([name, value]) => `${name}=${value}`);
}
