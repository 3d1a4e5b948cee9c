import { planCgroup } from "@bantubox/cgroup";
import { becomePlan, ownCommand, passAs } from "@bantubox/core/runtime/become";
import { AT, attempt, BoxError, call, cstr, ERRNO, Fd, mkdirSync, nodeFs, readIfThere, SysError } from "@bantubox/ffi";
import { cgroupHost } from "./cgroup-host.ts";
import { checkId, directoryOf, type Saved, saveContainer, tryLock } from "./container.ts";
import { absolute, type Globals } from "./globals.ts";
import { log } from "./log.ts";
import { preserve } from "./preserve.ts";

/** Options that `create` and `run` share. */
export const MAKE_FLAGS = {
  bundle: { type: "string", short: "b", help: "directory of config.json (default: the current one)" },
  "console-socket": { type: "string", help: "unix socket that gets the master of the container's terminal" },
  "pidfd-socket": { type: "string", help: "unix socket that gets a pidfd of the first process" },
  "pid-file": { type: "string", help: "file for the pid of the first process" },
  "no-pivot": { type: "boolean", help: "move the root instead of pivot_root, for a ramfs" },
  "no-new-keyring": { type: "boolean", help: "keep the session keyring" },
  "preserve-fds": { type: "number", help: "how many descriptors from 3 on the container gets" },
} as const;

export interface MakeOptions {
  readonly id: string;
  readonly mode: "create" | "detach" | "foreground";
  readonly bundle?: string | undefined;
  readonly consoleSocket?: string | undefined;
  readonly pidfdSocket?: string | undefined;
  readonly pidFile?: string | undefined;
  readonly preserveFds?: number | undefined;
  readonly noPivot: boolean;
  readonly noNewKeyring: boolean;
}

/** The options of a command line that `makeContainer` reads. */
export function makeOptions(
  values: {
    readonly [Name in keyof typeof MAKE_FLAGS]?: string | number | boolean | undefined;
  },
): Omit<MakeOptions, "id" | "mode"> {
  const text = (name: keyof typeof MAKE_FLAGS): string | undefined => (values[name] as string | undefined) || undefined;
  const path = (name: keyof typeof MAKE_FLAGS): string | undefined => {
    const given = text(name);
    return given === undefined ? undefined : absolute(given);
  };
  return {
    bundle: text("bundle"),
    consoleSocket: path("console-socket"),
    pidfdSocket: path("pidfd-socket"),
    pidFile: path("pid-file"),
    preserveFds: values["preserve-fds"] as number | undefined,
    noPivot: values["no-pivot"] === true,
    noNewKeyring: values["no-new-keyring"] === true,
  };
}

/**
 * Makes a container, and becomes what carries it out: this process ends when it is held or runs, or as it ends.
 *
 * Everything that can be refused is refused before anything is made. Returns only by throwing.
 */
export async function makeContainer(globals: Globals, options: MakeOptions): Promise<never> {
  const { id, mode } = options;
  checkId(id);
  const bundle = absolute(options.bundle ?? ".");
  const text = readIfThere(`${bundle}/config.json`);
  if (text === undefined) {
    throw new BoxError(
      "no-config",
      `Cannot make "${id}": JSON specification file config.json not found in "${bundle}"`,
    );
  }
  const { checkConfig, compileOci, compileProfile, networkOf, parseConfig, settleDeviceRules } = await import(
    "@bantubox/core/runtime"
  );
  const { value: spec, warnings } = checkConfig(parseConfig(text, bundle));
  for (const warning of warnings) log(globals, "warning", warning);
  checkConsole(options, spec.process.terminal === true);

  const directory = directoryOf(globals, id);
  const preserved = preserve(options.preserveFds ?? 0);
  const fds = { lock: preserved.next, output: preserved.next + 1 };
  const host = cgroupHost();
  const resources = { ...spec.linux.resources, devices: settleDeviceRules(spec.linux.resources?.devices) };
  const cgroup = planCgroup(host, cgroupPath(spec.linux.cgroupsPath, id), resources);
  const plan = compileOci({
    id,
    mode,
    bundle,
    directory,
    spec: preserved.environment.length === 0 ? spec : withEnvironment(spec, preserved.environment),
    root: { kind: "bundle", path: spec.root.path },
    lockFd: fds.lock,
    outputFd: spec.hooks === undefined ? undefined : fds.output,
    cgroupHost: host,
    cgroup,
    network: networkOf(spec),
    filter: spec.linux.seccomp && (await compileProfile(spec.linux.seccomp)),
    pidFile: options.pidFile,
    consoleSocket: options.consoleSocket,
    pidfdSocket: options.pidfdSocket,
    preserved: preserved.count,
    failed: explainCommand(globals, [mode === "create" ? "create" : "run", String(fds.output)]),
  });
  const saved: Saved = {
    ociVersion: spec.ociVersion,
    id,
    bundle,
    rootfs: spec.root.path,
    created: new Date().toISOString(),
    owner: process.getuid?.() ?? 0,
    annotations: spec.annotations,
    cgroup: cgroup.path,
    ownsPids: spec.linux.namespaces.some(({ type, path }) => type === "pid" && path === undefined),
    hasHooks: spec.hooks !== undefined,
  };
  using lock = makeDirectory(globals, directory);
  try {
    saveContainer(directory, saved, text);
    if (spec.hooks !== undefined) passOutput(fds.output);
    passAs(lock, fds.lock);
    return await becomePlan(plan);
  } catch (error) {
    nodeFs().rmSync(directory, { recursive: true, force: true });
    throw error;
  }
}

function withEnvironment<S extends { readonly process: { readonly env: readonly string[] } }>(
  spec: S,
  more: readonly string[],
): S {
  return { ...spec, process: { ...spec.process, env: [...spec.process.env, ...more] } };
}

/** As runc has it: who leaves a terminal behind must leave it to somebody. */
function checkConsole({ mode, consoleSocket }: MakeOptions, isTerminal: boolean): void {
  if (isTerminal && mode !== "foreground" && consoleSocket === undefined) {
    throw new BoxError("no-console", "cannot allocate tty if runc will detach without setting console socket", {
      hint: 'Name a socket with --console-socket, or set "terminal" to false',
    });
  }
  if (consoleSocket !== undefined && (!isTerminal || mode === "foreground")) {
    throw new BoxError("no-console", "cannot use console socket if runc will not detach or allocate tty");
  }
}

/** The path of the groups, relative to each hierarchy's top. */
function cgroupPath(path: string | undefined, id: string): string {
  const parts = (path ?? id).split("/").filter((part) => part !== "" && part !== ".");
  return parts.length === 0 ? id : parts.join("/");
}

/** Makes the container's directory and takes its lock: from now on the ID is taken. */
function makeDirectory(globals: Globals, directory: string): Fd {
  mkdirSync(globals.root, { mode: 0o711, recursive: true });
  const result = attempt("mkdirat", AT.FDCWD, cstr(directory), 0o711);
  if (result === -ERRNO.EEXIST) throw new BoxError("id-taken", "container with given ID already exists");
  if (result < 0) throw new SysError("mkdir", -result, `"${directory}"`);
  const lock = tryLock({ directory });
  if (lock === undefined) throw new BoxError("container-busy", "Cannot make the container: another command removes it");
  return lock;
}

/** A file in memory for what hooks print. It is passed on to whoever explains a failure. */
function passOutput(number: number): void {
  using memory = new Fd(call("memfd_create", "for hooks", cstr("hooks"), 0));
  passAs(memory, number);
}

/** This program again, with the same global options, for what failed after it had become the trampoline. */
function explainCommand({ program, log: path, isJson }: Globals, words: readonly string[]): string[] {
  const format = isJson ? ["--log-format", "json"] : [];
  return [
    ...ownCommand(),
    ...program.words,
    ...(path === undefined ? [] : ["--log", path]),
    ...format,
    "internal",
    "failed",
    ...words,
  ];
}
