import { BoxError, ERRNO, type Place, PR, type Reg, RLIMIT, type Steps } from "@bantubox/ffi";
import type { Build } from "./build.ts";
import { capabilitySet } from "./capabilities.ts";
import { type SeccompListener, sendListener } from "./seccomp/listener.ts";
import type { Capabilities, Process, Rlimit } from "./spec.ts";
import { TAG } from "./tags.ts";

const CAPABILITY_VERSION_3 = 0x20080522;
const SECCOMP_SET_MODE_FILTER = 1;
const ADMIN = "CAP_SYS_ADMIN";
const KEYCTL_JOIN_SESSION_KEYRING = 1;
/** RLIM_INFINITY, all bits set. */
const INFINITY_WORD = 0xffffffff;

/** A compiled filter and the flags of seccomp(2) to install it with. */
export interface SeccompFilter {
  readonly program: Uint8Array;
  readonly flags: number;
}

/** As many descriptors as setting up a container may need at once. */
const OWN_FILES = 256;

/**
 * Sets limits, in the child while it still may: raising one needs a capability that is dropped later. Descriptors are
 * needed until then, so what `tightenFiles` takes away stays for now.
 */
export function setRlimits(build: Build, steps: Steps, rlimits: readonly Rlimit[]): void {
  for (const limit of rlimits) {
    const { hard } = limit;
    if (!isTight(limit)) setRlimit(build, steps, limit);
    else if (hard < 0 || hard >= OWN_FILES) setRlimit(build, steps, { ...limit, soft: OWN_FILES });
  }
}

/** The limit of descriptors, where it is so low that the set-up would not do with it: lowering it takes no privilege. */
export function tightenFiles(build: Build, steps: Steps, rlimits: readonly Rlimit[]): void {
  for (const limit of rlimits) if (isTight(limit)) setRlimit(build, steps, limit);
}

function isTight({ type, soft }: Rlimit): boolean {
  return type === "RLIMIT_NOFILE" && soft >= 0 && soft < OWN_FILES;
}

function setRlimit({ plan }: Build, steps: Steps, { type, soft, hard }: Rlimit): void {
  const resource = knownRlimit(type);
  if (resource === undefined)
    throw new BoxError("bad-rlimit", `Cannot set the limit "${type}": there is none of that name`);
  const words = new Uint32Array(new ArrayBuffer(16));
  writeLimit(words, 0, soft);
  writeLimit(words, 2, hard);
  steps.sys("prlimit64", 0, resource, plan.bytes(new Uint8Array(words.buffer)), null).tag(TAG.RLIMIT);
}

/** The number of a limit by its name, `RLIMIT_NOFILE`; undefined when there is none of that name. */
export function knownRlimit(type: string): number | undefined {
  const name = type.replace(/^RLIMIT_/, "");
  return Object.hasOwn(RLIMIT, name) ? RLIMIT[name as keyof typeof RLIMIT] : undefined;
}

function writeLimit(words: Uint32Array, at: number, value: number): void {
  if (value < 0) words.fill(INFINITY_WORD, at, at + 2);
  else {
    words[at] = value;
    words[at + 1] = Math.floor(value / 0x1_0000_0000);
  }
}

/** What is rarely asked for on the way to another user. */
export interface Becoming {
  /** Who answers what the filter asks about. */
  readonly listener?: SeccompListener | undefined;
  /** The session's keys stay the caller's. */
  readonly keepsKeyring?: boolean | undefined;
  /** The filter that `execute` will install: what that takes is kept until then. */
  readonly later?: SeccompFilter | undefined;
}

/**
 * Becomes the process's user with its capabilities, behind its seccomp filter.
 *
 * Order: bounding set → groups → gid → uid → capabilities → no_new_privs. Without
 * no_new_privs the filter needs CAP_SYS_ADMIN, so it comes first; with it, last.
 *
 * @see https://man7.org/linux/man-pages/man7/capabilities.7.html
 */
export function becomeUser(
  build: Build,
  steps: Steps,
  process: Process,
  filter: SeccompFilter | undefined,
  { listener, keepsKeyring = false, later }: Becoming = {},
): void {
  const { plan } = build;
  const { user, capabilities, noNewPrivileges } = process;
  // A session keyring of its own, so that the host's keys are not the container's. Kernels without keys have no need.
  if (!keepsKeyring) {
    steps.sys("keyctl", KEYCTL_JOIN_SESSION_KEYRING, null).tolerate(ERRNO.ENOSYS).tag(TAG.CAPABILITY);
  }
  const bounding = capabilitySet(capabilities.bounding);
  steps.builtin("dropBounding", bounding.lo, bounding.hi).tag(TAG.CAPABILITY);
  if (!noNewPrivileges) installFilter(build, steps, filter, listener);
  const groups = user.additionalGids ?? [];
  const list = new Uint32Array(new ArrayBuffer(groups.length * 4));
  list.set(groups);
  const place = groups.length === 0 ? null : plan.bytes(new Uint8Array(list.buffer));
  steps.sys("setgroups", groups.length, place).tag(TAG.USER);
  steps.sys("prctl", PR.SET_KEEPCAPS, 1, 0, 0, 0).tag(TAG.USER);
  steps.sys("setresgid", user.gid, user.gid, user.gid).tag(TAG.USER);
  steps.sys("setresuid", user.uid, user.uid, user.uid).tag(TAG.USER);
  setCapabilities(build, steps, later !== undefined && needsAdmin(process) ? withAdmin(capabilities) : capabilities);
  raiseAmbient(steps, capabilities.ambient);
  if (noNewPrivileges) {
    steps.sys("prctl", PR.SET_NO_NEW_PRIVS, 1, 0, 0, 0).tag(TAG.CAPABILITY);
    installFilter(build, steps, filter, listener);
  }
}

/**
 * Whether `execute` can install the filter: who keeps no capabilities of choice has none left after changing the user.
 *
 * @param isTraceable Somebody in its PID namespace may trace it: they would have, for as long as it is held, a process
 * that is behind no filter and may do more than the container.
 */
export function mayBeFilteredLast(process: Process, isTraceable: boolean): boolean {
  return process.noNewPrivileges === true || !(isTraceable && needsAdmin(process));
}

/** Goes behind the filter that `becomeUser` left for later, and gives up what that took. Only capset(2) is left to allow. */
export function confine(
  build: Build,
  steps: Steps,
  process: Process,
  filter: SeccompFilter | undefined,
  listener?: SeccompListener,
): void {
  if (filter === undefined) return;
  installFilter(build, steps, filter, listener);
  if (needsAdmin(process)) setCapabilities(build, steps, process.capabilities);
}

function needsAdmin({ noNewPrivileges, capabilities }: Process): boolean {
  return noNewPrivileges !== true && capabilities.effective.includes(ADMIN) !== true;
}

function withAdmin(sets: Capabilities): Capabilities {
  return { ...sets, effective: [...sets.effective, ADMIN], permitted: [...new Set([...sets.permitted, ADMIN])] };
}

function setCapabilities({ plan }: Build, steps: Steps, sets: Capabilities): void {
  const effective = capabilitySet(sets.effective);
  const permitted = capabilitySet(sets.permitted);
  const inheritable = capabilitySet(sets.inheritable);
  const header = new Uint32Array(new ArrayBuffer(8));
  header[0] = CAPABILITY_VERSION_3;
  const data = new Uint32Array(new ArrayBuffer(24));
  data.set([effective.lo, permitted.lo, inheritable.lo, effective.hi, permitted.hi, inheritable.hi]);
  const [at, values] = [plan.bytes(new Uint8Array(header.buffer)), plan.bytes(new Uint8Array(data.buffer))];
  steps.sys("capset", at, values).tag(TAG.CAPABILITY);
}

function raiseAmbient(steps: Steps, names: readonly string[]): void {
  if (names.length === 0) return;
  const ambient = capabilitySet(names);
  for (let bit = 0; bit < 64; bit++) {
    const word = bit < 32 ? ambient.lo >>> bit : ambient.hi >>> (bit - 32);
    if (word & 1) steps.sys("prctl", PR.CAP_AMBIENT, PR.CAP_AMBIENT_RAISE, bit, 0, 0).tag(TAG.CAPABILITY);
  }
}

function installFilter(
  { plan, scratch }: Build,
  steps: Steps,
  filter: SeccompFilter | undefined,
  listener?: SeccompListener,
): void {
  if (filter === undefined) return;
  // struct sock_fprog: u16 length in instructions, then the address.
  const program = plan.space(16);
  plan.write16(program, 0, filter.program.length / 8);
  plan.pointer(program, 8, plan.bytes(filter.program));
  steps.sys("seccomp", SECCOMP_SET_MODE_FILTER, filter.flags, program).tag(TAG.SECCOMP);
  if (listener === undefined) return;
  steps.into(scratch);
  sendListener(steps, listener, scratch);
}

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** How a process comes to its command. */
export interface Ending {
  /** Descriptors from 3 on that the command inherits. */
  readonly preserved?: number;
  /** It meets its parent first: until then it may be anywhere, and others must not find it. See `recordReady`. */
  readonly meets?: boolean;
  /** A fifo that it waits at, on its own, for one byte: whether there is a command was looked up before. */
  readonly fifo?: Reg;
  /** It is PID 1 of its namespace, and has to heed the signals itself that come while it waits. */
  readonly isFirst?: boolean;
  /** Adds steps right before the command, whose environment it is told: startContainer's hooks. */
  readonly beforeExec?: (env: Place) => void;
  /** Number of a descriptor that is kept for those. */
  readonly outputFd?: number | undefined;
  /** Installed last of all: it need not allow what comes before. startContainer's hooks are behind it, too. */
  readonly filter?: SeccompFilter | undefined;
  /** `shut` came before the filter that it is behind by now, which may be too old to allow it. */
  readonly isShut?: boolean;
}

/**
 * Closes everything but what the command may have, and what it needs on the way there: `fifo` and `outputFd`, which
 * execve closes.
 *
 * Closed at execve would be too late: working directory and command may be
 * named /proc/self/fd/N, and some N leads to the host (CVE-2024-21626).
 */
export function shut(steps: Steps, preserved = 0, fifo?: Reg, outputFd = -1): void {
  const CLOSE_RANGE_CLOEXEC = 4;
  steps.builtin("closeOthers", 3 + preserved, fifo ?? -1, outputFd).tag(TAG.STATE);
  steps.sys("close_range", 3 + preserved, 0xffffffff, CLOSE_RANGE_CLOEXEC).tag(TAG.STATE);
}

/**
 * The last steps of every process of a container: nothing open but what it may have, a working directory inside, execve.
 *
 * @param env As `prepareEnvironment` returned it.
 */
export function execute(build: Build, steps: Steps, process: Process, env: Place, ending: Ending = {}): void {
  const { plan } = build;
  const { fifo, beforeExec } = ending;
  const candidates = plan.strings(candidatePaths(process));
  const argv = plan.strings(process.args);
  steps.sys("umask", process.user.umask ?? 0o022);
  if (!ending.isShut) shut(steps, ending.preserved, fifo, ending.outputFd);
  enterDirectory(steps, process.cwd);
  steps.builtin("checkCwd", /^\/*$/.test(process.cwd) ? 0 : 1).tag(TAG.CWD);
  if (fifo !== undefined) steps.builtin("lookup", candidates, argv).tag(TAG.EXEC);
  if (ending.meets) steps.builtin("meet").tag(TAG.STATE);
  steps.builtin("waitGo");
  // Cleared only now that the start is on record: a container must not outlive an unrecorded start.
  steps.sys("prctl", PR.SET_PDEATHSIG, 0, 0, 0, 0);
  if (fifo !== undefined) steps.builtin("hold", fifo, ending.isFirst === true ? 1 : 0).tag(TAG.STATE);
  confine(build, steps, process, ending.filter);
  beforeExec?.(env);
  steps.builtin("exec", candidates, argv, env).tag(TAG.EXEC);
}

/**
 * Enters the working directory, as far as that is allowed. Twice in every process: as root, for a directory that its
 * user may be in but not enter; and as its user, for one that is shut to root (NFS, FUSE).
 */
export function enterDirectory(steps: Steps, cwd: string): void {
  steps.sys("chdir", cwd).tolerate(ERRNO.EACCES).tag(TAG.CWD);
}

/** Where the command may be: as it is when it has a slash, else in each directory of the container's own PATH. */
function candidatePaths({ args, env }: Process): string[] {
  const command = args[0];
  if (command === undefined || command === "") {
    throw new BoxError("no-command", "Cannot start a container without a command", {
      hint: "Name one after the image, or give the image a Cmd",
    });
  }
  if (command.includes("/")) return [command];
  const path = env.findLast((entry) => entry.startsWith("PATH="))?.slice(5) ?? DEFAULT_PATH;
  const directories = path.split(":").filter((directory) => directory !== "");
  return directories.map((directory) => `${directory.replace(/\/+$/, "")}/${command}`);
}
