import type { Process, Spec, User } from "@bantubox/core/runtime";
import { becomePlan, passAs } from "@bantubox/core/runtime/become";
import { BoxError, readIfThere, readTextSync } from "@bantubox/ffi";
import type { Values } from "../arguments.ts";
import { cgroupHost } from "../cgroup-host.ts";
import { command } from "../command.ts";
import { CONFIG, type Container, getContainer, openProcess, statusOf } from "../container.ts";
import { execGroups } from "../exec-groups.ts";
import { explainWith } from "../explain-command.ts";
import { fail } from "../fail.ts";
import { absolute, type Globals } from "../globals.ts";
import { debugPlan, log } from "../log.ts";
import { preserve } from "../preserve.ts";

const FLAGS = {
  process: { type: "string", short: "p", help: "file with a process of the specification, or - for stdin" },
  detach: { type: "boolean", short: "d", help: "end when the command runs" },
  tty: { type: "boolean", short: "t", help: "with a terminal of its own" },
  "console-socket": { type: "string", help: "unix socket that gets the master of its terminal" },
  "pidfd-socket": { type: "string", help: "unix socket that gets its pidfd" },
  "pid-file": { type: "string", help: "file for its pid" },
  cwd: { type: "string", help: "working directory in the container" },
  env: { type: "list", short: "e", help: "another variable" },
  user: { type: "string", short: "u", help: "UID[:GID]" },
  "additional-gids": { type: "list", short: "g", help: "another group" },
  cap: { type: "list", short: "c", help: "another capability" },
  "no-new-privs": { type: "boolean", help: "no program gives more privileges" },
  apparmor: { type: "string", help: "AppArmor profile" },
  "process-label": { type: "string", help: "SELinux label" },
  "preserve-fds": { type: "number", help: "how many descriptors from 3 on it gets" },
  "ignore-paused": { type: "boolean", help: "also into a paused container, where it waits" },
  cgroup: { type: "list", help: "group below the container's to run in" },
  "no-subreaper": { type: "boolean", help: "do not collect its orphans" },
} as const;

type Options = Values<typeof FLAGS>;

/** Exit status of an exec that did not come to its command. */
const EXEC_FAILED = 255;

export default command({
  name: "exec",
  summary: "Run another process in a container",
  operands: "ID COMMAND [ARG...]  (or --process FILE ID)",
  flags: FLAGS,
  count: [1],
  async run(globals, values, [id = "", ...args]) {
    try {
      return await enter(globals, getContainer(globals, id), values, args);
    } catch (error) {
      return fail(globals, error, EXEC_FAILED);
    }
  },
});

async function enter(globals: Globals, container: Container, values: Options, args: readonly string[]): Promise<never> {
  const { status } = statusOf(container);
  if (status === "stopped" || status === "creating")
    throw new BoxError("not-running", `cannot exec in a ${status} container`);
  if (status === "paused" && !values["ignore-paused"]) {
    throw new BoxError("container-paused", "cannot exec in a paused container (use --ignore-paused to override)");
  }
  const { checkProcess, compileExec, compileProfile, parseConfig } = await import("@bantubox/core/runtime");
  const { saved } = container;
  const config = readIfThere(`${container.directory}/${CONFIG}`);
  if (saved === undefined || config === undefined)
    throw new BoxError("broken-state", "the container's state is incomplete");
  const spec = parseConfig(config, saved.bundle);
  const { value: process, warnings } = checkProcess(await processOf(spec, values, args));
  for (const warning of warnings) log(globals, "warning", warning);
  const stdio = checkStdio(values, process.terminal === true);

  const found = openProcess(container);
  if (found === undefined) throw new BoxError("not-running", "cannot exec in a stopped container");
  using pidfd = found.pidfd;
  const preserved = preserve(values["preserve-fds"] ?? 0);
  const path = (text: string | undefined): string | undefined => (text ? absolute(text) : undefined);
  const plan = compileExec({
    spec,
    process: { ...process, env: [...process.env, ...preserved.environment] },
    pidfd: preserved.next,
    cgroup: execGroups(cgroupHost(), saved.cgroup, values.cgroup),
    stdio,
    filter: spec.linux.seccomp && (await compileProfile(spec.linux.seccomp)),
    detachKeys: [],
    ...(values.detach && { leave: { consoleSocket: path(values["console-socket"]) } }),
    pidFile: path(values["pid-file"]),
    pidfdSocket: path(values["pidfd-socket"]),
    preserved: preserved.count,
    failed: explainWith(globals, ["exec", "-1"]),
  });
  passAs(pidfd, preserved.next);
  debugPlan(globals, "join", plan);
  return await becomePlan(plan);
}

function checkStdio(values: Options, tty: boolean): { tty: boolean; interactive: true; attach: true; forward: true } {
  const socket = values["console-socket"];
  if (tty && values.detach && !socket) {
    throw new BoxError("no-console", "cannot allocate tty if runc will detach without setting console socket");
  }
  if (socket && !(tty && values.detach)) {
    throw new BoxError("no-console", "cannot use console socket if runc will not detach or allocate tty");
  }
  return { tty, interactive: true, attach: true, forward: true };
}

/** The process that was asked for: a whole one from a file, or the container's own with changes. */
async function processOf(spec: Spec, values: Options, args: readonly string[]): Promise<Process> {
  const { parseProcess } = await import("@bantubox/core/runtime");
  if (values.process) {
    const process = parseProcess(readTextSync(values.process === "-" ? "/dev/stdin" : absolute(values.process)));
    // Engines say it twice.
    return values.tty ? { ...process, terminal: true } : process;
  }
  if (args.length === 0) throw new BoxError("usage", "process args cannot be empty");
  const { consoleSize: _, ...own } = spec.process;
  const { cwd, apparmor, cap = [], env = [] } = values;
  return {
    ...own,
    args,
    terminal: values.tty === true,
    env: [...own.env, ...env],
    user: userOf(own.user, values),
    ...(cwd && { cwd }),
    ...(apparmor && { apparmorProfile: apparmor }),
    ...(values["process-label"] && { selinuxLabel: values["process-label"] }),
    ...(values["no-new-privs"] !== undefined && { noNewPrivileges: values["no-new-privs"] }),
    ...(own.capabilities && { capabilities: withCapabilities(own.capabilities, cap) }),
  };
}

function withCapabilities(sets: NonNullable<Process["capabilities"]>, more: readonly string[]): typeof sets {
  return {
    bounding: [...sets.bounding, ...more],
    effective: [...sets.effective, ...more],
    permitted: [...sets.permitted, ...more],
    inheritable: sets.inheritable,
    ambient: sets.ambient,
  };
}

function userOf(own: User, values: Options): User {
  const groups = (values["additional-gids"] ?? []).map((text) => parseId(text, "group"));
  const additionalGids = [...(own.additionalGids ?? []), ...groups];
  if (!values.user) return { ...own, additionalGids };
  const [uid = "", gid] = values.user.split(":");
  return {
    ...own,
    additionalGids,
    uid: parseId(uid, "user"),
    gid: gid === undefined ? own.gid : parseId(gid, "group"),
  };
}

function parseId(text: string, what: string): number {
  if (/^[0-9]{1,10}$/.test(text)) return Number(text);
  throw new BoxError("usage", `Cannot run as the ${what} ${JSON.stringify(text)}: it is no number`);
}
