import { execGroups } from "@bantubox/cgroup";
import type { FilteredContainer, Process, Spec, User } from "@bantubox/core/runtime";
import { BoxError } from "@bantubox/ffi";
import type { Values } from "./arguments.ts";
import { cgroupHost } from "./cgroup-host.ts";
import type { Saved } from "./container.ts";
import { explainWith } from "./explain-command.ts";
import { absolute, type Globals } from "./globals.ts";
import type { Preserved } from "./preserve.ts";

export const EXEC_FLAGS = {
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
  "no-subreaper": { type: "boolean", help: "accepted for runc's sake; changes nothing" },
} as const;

export type ExecOptions = Values<typeof EXEC_FLAGS>;

/** All that an exec is made of. */
export interface ExecRequest {
  readonly globals: Globals;
  readonly options: ExecOptions;
  /** The command, where no file has it. */
  readonly args: readonly string[];
  readonly preserved: Preserved;
  readonly saved: Saved;
  /** What the container is, and the pid of its first process. */
  readonly now: Pick<FilteredContainer, "status" | "pid">;
  /** Texts of the container's config.json, and of the file that --process names. */
  readonly config: string;
  readonly process: string | undefined;
}

export interface PreparedExec {
  readonly plan: Uint8Array<ArrayBuffer>;
  /** By which number the plan knows the handle on the container's process. */
  readonly pidfd: number;
  /** It names the container's first process, as no other exec will. */
  readonly namesProcess: boolean;
  readonly warnings: readonly string[];
}

/** Checks and compiles. A function of the request and of what it reads of the host: it changes nothing. */
export async function prepareExec(request: ExecRequest): Promise<PreparedExec> {
  const { globals, options, preserved, saved, config } = request;
  const { checkProcess, compileExec, compileProfile, parseConfig } = await import("@bantubox/core/runtime");
  const spec = parseConfig(config, saved.bundle);
  const { value: process, warnings } = checkProcess(await processOf(spec, request));
  const path = (text: string | undefined): string | undefined => (text ? absolute(text) : undefined);
  const plan = compileExec({
    spec,
    process: { ...process, env: [...process.env, ...preserved.environment] },
    pidfd: preserved.next,
    cgroup: execGroups(cgroupHost(), saved.cgroup, request.now.pid, options.cgroup),
    stdio: checkStdio(options, process.terminal === true),
    filter: spec.linux.seccomp && (await compileProfile(spec.linux.seccomp)),
    container: containerOf(spec, request),
    detachKeys: [],
    ...(options.detach && { leave: { consoleSocket: path(options["console-socket"]) } }),
    pidFile: path(options["pid-file"]),
    pidfdSocket: path(options["pidfd-socket"]),
    preserved: preserved.count,
    failed: explainWith(globals, ["exec", "-1"]),
  });
  return { plan, pidfd: preserved.next, namesProcess: spec.linux.seccomp?.listenerPath !== undefined, warnings };
}

/** As whoever listens to its filter is told of it. */
function containerOf({ ociVersion, annotations }: Spec, { saved, now }: ExecRequest): FilteredContainer {
  return { ociVersion, id: saved.id, bundle: saved.bundle, ...now, ...(annotations && { annotations }) };
}

function checkStdio(
  values: ExecOptions,
  tty: boolean,
): { tty: boolean; interactive: true; attach: true; forward: true } {
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
async function processOf(spec: Spec, { options: values, args, process: text }: ExecRequest): Promise<Process> {
  const { parseProcess } = await import("@bantubox/core/runtime");
  if (text !== undefined) {
    const process = parseProcess(text, spec.process);
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
    capabilities: withCapabilities(own.capabilities, cap),
  };
}

function withCapabilities(sets: Process["capabilities"], more: readonly string[]): typeof sets {
  return {
    bounding: [...sets.bounding, ...more],
    effective: [...sets.effective, ...more],
    permitted: [...sets.permitted, ...more],
    inheritable: sets.inheritable,
    ambient: sets.ambient,
  };
}

function userOf(own: User, values: ExecOptions): User {
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
