import { isFrozen, listProcesses } from "@bantubox/cgroup";
import { becomePlan, passAs } from "@bantubox/core/runtime/become";
import {
  AT,
  attempt,
  BoxError,
  call,
  cstr,
  ERRNO,
  existsSync,
  Fd,
  mkdirSync,
  nodeFs,
  readIfThere,
  SysError,
} from "@bantubox/ffi";
import { releaseCode } from "@bantubox/ffi/code-pages";
import { cgroupHost } from "./cgroup-host.ts";
import { CONFIG, checkId, directoryOf, saveContainer, waitLock } from "./container.ts";
import { absolute, type Globals } from "./globals.ts";
import { debugPlan, log } from "./log.ts";
import { makeNotifyDirectory, openNotify, waiterOf } from "./notify.ts";
import { type MadeContainer, type MakeOptions, prepareContainer } from "./prepare.ts";
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
  checkId(options.id);
  checkSystemd(globals);
  const bundle = absolute(options.bundle ?? ".");
  const text = readIfThere(`${bundle}/config.json`);
  if (text === undefined) {
    throw new BoxError(
      "no-config",
      `Cannot make "${options.id}": JSON specification file config.json not found in "${bundle}"`,
    );
  }
  releaseCode();
  const recording =
    globals.program.line === undefined ? undefined : new (await import("@bantubox/ffi/recorded")).Recording();
  recording?.start();
  const request = { globals, options, preserved: preserve(options.preserveFds ?? 0), bundle, text };
  const made = await prepareContainer(request).finally(() => recording?.stop());
  releaseCode();
  for (const warning of made.warnings) log(globals, "warning", warning);
  checkCgroup(globals, made.saved.cgroup);
  debugPlan(globals, "make", made.plan);
  // The front asks nobody, systemd neither.
  if (recording !== undefined && made.notify === undefined && made.scope === undefined)
    await (await import("./remember.ts")).rememberMake(request, made, recording);
  releaseCode();
  const line = recording === undefined ? undefined : await lineOf(made);

  using lock = makeDirectory(globals, options.id);
  try {
    saveContainer(made.directory, { saved: made.saved, config: text, line });
    if (made.notify !== undefined) openNotifyFor(globals, options, made.directory, made.notify);
    if (made.output !== undefined) passOutput(made.output);
    passAs(lock, made.lock);
    if (made.scope !== undefined) await (await import("./seed.ts")).makeScope(made.scope);
    return await becomePlan(made.plan);
  } catch (error) {
    nodeFs().rmSync(made.directory, { recursive: true, force: true });
    throw error;
  }
}

/** Of a run also the socket, and who waits there. @param number By which the plan knows it. */
function openNotifyFor(globals: Globals, { id, mode }: MakeOptions, directory: string, number: number): void {
  makeNotifyDirectory(directory);
  if (mode === "create") return;
  using socket = openNotify({ directory });
  if (socket === undefined) return;
  if (mode === "detach") passAs(socket, number);
  else
    Bun.spawn([...waiterOf(globals, id, 3), String(process.pid)], {
      stdio: ["ignore", "ignore", "ignore", socket.raw],
    });
}

async function lineOf(made: MadeContainer): Promise<Uint8Array | undefined> {
  const { madeFacts, madeLine } = await import("./made-line.ts");
  return madeLine(made, madeFacts());
}

/** A group that is there already may be somebody's; in a frozen one nothing would ever start. */
export function checkCgroup(globals: Globals, path: string): void {
  const host = cgroupHost();
  const found = listProcesses(host, path).length;
  if (found > 0) log(globals, "warning", `container's cgroup is not empty: ${found} process(es) found`);
  if (isFrozen(host, path)) throw new BoxError("cgroup-frozen", "container's cgroup unexpectedly frozen");
}

/** As sd_booted(3) tells it. */
export function checkSystemd({ values }: Globals): void {
  if (!values["systemd-cgroup"] || existsSync("/run/systemd/system")) return;
  throw new BoxError("no-systemd", "Cannot use systemd's cgroups: systemd does not run on this host", {
    hint: "Leave out --systemd-cgroup: the engine's cgroup driver must be cgroupfs",
  });
}

/** Makes the container's directory and takes its lock: from now on the ID is taken. */
export function makeDirectory(globals: Globals, id: string): Fd {
  const directory = directoryOf(globals, id);
  mkdirSync(globals.root, { mode: 0o711, recursive: true });
  const result = attempt("mkdirat", AT.FDCWD, cstr(directory), 0o711);
  if (result === -ERRNO.EEXIST) throw idTaken();
  if (result < 0) throw new SysError("mkdir", -result, `"${directory}"`);
  // Others may already look at it.
  const lock = waitLock({ id, directory });
  if (lock === undefined) {
    throw new BoxError("container-busy", "Cannot make the container: another command has removed it");
  }
  // Removed meanwhile, and made anew by somebody else.
  if (existsSync(`${directory}/${CONFIG}`)) {
    lock.close();
    throw idTaken();
  }
  return lock;
}

function idTaken(): BoxError {
  return new BoxError("id-taken", "container with given ID already exists");
}

/** A file in memory for what hooks print. It is passed on to whoever explains a failure. */
export function passOutput(number: number): void {
  using memory = new Fd(call("memfd_create", "for hooks", cstr("hooks"), 0));
  passAs(memory, number);
}
