import { groupPath, planCgroup, planScope, type Scope, systemdGroup } from "@bantubox/cgroup";
import type { Spec } from "@bantubox/core/runtime";
import { BoxError } from "@bantubox/ffi";
import { cgroupHost } from "./cgroup-host.ts";
import { directoryOf, type Saved } from "./container.ts";
import { endGroupsOf, explainWith } from "./explain-command.ts";
import type { Globals } from "./globals.ts";
import { notifySetup, waiterOf } from "./notify.ts";
import type { Preserved } from "./preserve.ts";

export interface MakeOptions {
  readonly id: string;
  readonly mode: "create" | "detach" | "foreground";
  readonly bundle?: string | undefined;
  readonly consoleSocket?: string | undefined;
  readonly pidfdSocket?: string | undefined;
  readonly pidFile?: string | undefined;
  readonly preserveFds?: number | undefined;
  readonly noPivot: boolean;
  /** What `foreground` removes at the end stays. */
  readonly keeps?: boolean;
  readonly noNewKeyring: boolean;
}

/** All that a container is made of. */
export interface MakeRequest {
  readonly globals: Globals;
  readonly options: MakeOptions;
  readonly preserved: Preserved;
  /** Absolute. */
  readonly bundle: string;
  /** Of config.json. */
  readonly text: string;
}

/** What has to be done about it. */
export interface MadeContainer {
  readonly plan: Uint8Array<ArrayBuffer>;
  readonly directory: string;
  readonly saved: Saved;
  /** By which numbers the plan knows the directory's lock, and what hooks print to. */
  readonly lock: number;
  readonly output: number | undefined;
  /** Nothing needs to be done but to start it, and to remove its groups and its directory when it has ended. */
  readonly isSimple: boolean;
  /** It has a socket of its own to say that it is ready; by which number the plan of a `detach` knows it. */
  readonly notify: number | undefined;
  /** What systemd makes before, and by which number the plan knows what keeps its seed alive. */
  readonly scope: (Scope & { readonly seed: number }) | undefined;
  /** A hook has the environment of this process. */
  readonly sharesEnvironment: boolean;
  /** It was made of something that nobody writes down: the host's links or mounts, or whose network a namespace is. */
  readonly asksMore: boolean;
  readonly warnings: readonly string[];
}

/** Checks and compiles. A function of the request and of what it reads of the host: it changes nothing. */
export async function prepareContainer({
  globals,
  options,
  preserved,
  bundle,
  text,
}: MakeRequest): Promise<MadeContainer> {
  const { id, mode } = options;
  const { checkConfig, compileOci, compileProfile, networkOf, parseConfig, settleDeviceRules } = await import(
    "@bantubox/core/runtime"
  );
  const { value: spec, warnings } = checkConfig(parseConfig(text, bundle));
  checkConsole(options, spec.process.terminal === true);

  const directory = directoryOf(globals, id);
  const lock = preserved.next;
  const output = preserved.next + 1;
  const host = cgroupHost();
  const resources = { ...spec.linux.resources, devices: settleDeviceRules(spec.linux.resources?.devices) };
  const isGiven = globals.values["systemd-cgroup"] === true;
  const { annotations } = spec;
  const { cgroupsPath } = spec.linux;
  const cgroup = planCgroup(host, groupPath(cgroupsPath, id, isGiven), resources, { isGiven, isWhole: true });
  const scope = isGiven
    ? { ...planScope(systemdGroup(cgroupsPath, id), { id, resources, annotations }), seed: preserved.next + 3 }
    : undefined;
  const notify = notifySetup(directory);
  const notifyFd = preserved.next + 2;
  const plan = compileOci({
    id,
    mode,
    bundle,
    directory,
    spec: withCallers(spec, preserved.environment, notify),
    root: { kind: "bundle", path: spec.root.path },
    lockFd: lock,
    outputFd: spec.hooks === undefined ? undefined : output,
    seedFd: scope?.seed,
    cgroupHost: host,
    cgroup,
    network: networkOf(spec),
    filter: spec.linux.seccomp && (await compileProfile(spec.linux.seccomp)),
    isMoved: options.noPivot,
    keepsKeyring: options.noNewKeyring,
    keeps: options.keeps === true,
    pidFile: options.pidFile,
    consoleSocket: options.consoleSocket,
    pidfdSocket: options.pidfdSocket,
    preserved: preserved.count,
    ...(notify !== undefined && mode === "detach" && { started: waitInPlace(globals, id, notifyFd) }),
    failed: explainWith(globals, [mode === "create" ? "create" : "run", String(output)]),
    endGroups: endGroupsOf(globals, cgroup.path),
  });
  const saved = savedOf(spec, { id, bundle, cgroup: cgroup.path, ...(scope && { unit: scope.unit }) });
  const { prestart, createRuntime, startContainer, poststart, poststop } = spec.hooks ?? {};
  const hostHooks = [prestart, createRuntime, poststart, poststop].flatMap((list) => list ?? []);
  // The front carries none out, and reads nothing of what they print.
  const hasLateHooks = [startContainer, poststart, poststop].some((list) => (list ?? []).length > 0);
  return {
    plan,
    directory,
    saved,
    lock,
    output: spec.hooks === undefined ? undefined : output,
    isSimple: saved.ownsPids && !hasLateHooks && notify === undefined && scope === undefined,
    notify: notify && notifyFd,
    scope,
    sharesEnvironment: hostHooks.some(({ env }) => env === undefined),
    asksMore: asksMore(spec) || options.noPivot,
    warnings,
  };
}

/** What a run that leaves the container behind becomes, as its caller waits for it. */
function waitInPlace(globals: Globals, id: string, fd: number): { argv: string[]; env: string[] } {
  return { argv: waiterOf(globals, id, fd), env: [`NOTIFY_SOCKET=${process.env["NOTIFY_SOCKET"]}`] };
}

/** What is written down of a container. */
export function savedOf(spec: Spec, of: Pick<Saved, "id" | "bundle" | "cgroup" | "unit">): Saved {
  return {
    ...of,
    ociVersion: spec.ociVersion,
    rootfs: spec.root.path,
    created: "",
    owner: process.getuid?.() ?? 0,
    annotations: spec.annotations,
    ownsPids: spec.linux.namespaces.some(({ type, path }) => type === "pid" && path === undefined),
    hasHooks: spec.hooks !== undefined,
  };
}

function asksMore({ linux: { netDevices = {}, sysctl = {}, namespaces } }: Spec): boolean {
  const hasLinks = Object.keys(netDevices).length > 0;
  return hasLinks || (Object.keys(sysctl).length > 0 && namespaces.some(({ path }) => path !== undefined));
}

/** What a container gets of systemd, if that is who called. */
function withCallers(spec: Spec, environment: readonly string[], notify: ReturnType<typeof notifySetup>): Spec {
  if (environment.length === 0 && notify === undefined) return spec;
  const env = [...spec.process.env, ...environment, ...(notify === undefined ? [] : [notify.environment])];
  const mounts = notify === undefined ? spec.mounts : [...spec.mounts, notify.mount];
  return { ...spec, mounts, process: { ...spec.process, env } };
}

/** As runc has it: who leaves a terminal behind must leave it to somebody. */
export function checkConsole(
  { mode, consoleSocket }: Pick<MakeOptions, "mode" | "consoleSocket">,
  isTerminal: boolean,
): void {
  if (isTerminal && mode !== "foreground" && consoleSocket === undefined) {
    throw new BoxError("no-console", "cannot allocate tty if runc will detach without setting console socket", {
      hint: 'Name a socket with --console-socket, or set "terminal" to false',
    });
  }
  if (consoleSocket !== undefined && (!isTerminal || mode === "foreground")) {
    throw new BoxError("no-console", "cannot use console socket if runc will not detach or allocate tty");
  }
}
