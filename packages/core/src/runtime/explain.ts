import { BoxError, errnoName, type ReadStep, readStep } from "@bantubox/ffi";
import { vethHint } from "@bantubox/net";
import { criuErrors } from "./criu/log.ts";
import type { Spec } from "./spec.ts";
import { TAG } from "./tags.ts";

/** What the trampoline answers when a step failed. */
export interface StepFailure {
  readonly section: number;
  /** Within the whole plan. */
  readonly step: number;
  readonly errno: number;
}

interface Words {
  readonly code?: string;
  readonly message: string;
  readonly hint?: string | undefined;
}

/** Says in words what failed: the plan itself tells what each step was about. */
export function explainFailure(
  plan: Uint8Array,
  { step: index, errno }: StepFailure,
  spec: Spec | undefined,
): BoxError {
  const step = readStep(plan, index);
  const error = errnoName(errno);
  const words = wordsOf(step, error, errno, plan, index, spec);
  return new BoxError(words.code ?? "start-failed", words.message, { hint: words.hint ?? generalHint(error) });
}

function wordsOf(
  step: ReadStep,
  error: string,
  errno: number,
  plan: Uint8Array,
  index: number,
  spec: Spec | undefined,
): Words {
  switch (step.tag) {
    case TAG.EXEC:
      return explainExec(step, error);
    case TAG.CWD:
      return {
        code: "command-not-found",
        message: `Cannot use the working directory "${cwdOf(step, spec)}": ${cwdState(error)}`,
        hint: "Name one that exists in the container with -w",
      };
    case TAG.CGROUP:
      return explainCgroup(step, error);
    case TAG.NETWORK:
      return { message: `Cannot set up the container's network: ${error}`, hint: vethHint(errno) };
    case TAG.ROOTFS:
      return explainRoot(step, error);
    case TAG.MOUNT:
    case TAG.DEVICE:
    case TAG.PTY:
      if (readStep(plan, step.name === "checkType" ? index - 1 : index).args[1] === "/dev/null") {
        return {
          message: `Cannot use "/dev/null": ${error === "ENOENT" ? error : "it is not the device of that name"}`,
        };
      }
      if (step.name === "checkType") {
        const path = readStep(plan, index - 1).args[1];
        return { code: "device-exists", message: `Cannot make the device "${path}": something else is there` };
      }
      return explainMount(step, mountError(plan, index, error), targetOf(plan, index));
    case TAG.SYSCTL:
    case TAG.APPARMOR:
      return { message: `Cannot write ${strings(step) || strings(readStep(plan, index - 2))}: ${error}` };
    case TAG.SECCOMP:
      return { message: `Cannot install the seccomp filter: ${error}`, hint: seccompHint(error) };
    case TAG.RLIMIT:
      return {
        message: `Cannot set a resource limit: ${error}`,
        hint:
          error === "EPERM"
            ? "This host may not raise that limit (CAP_SYS_RESOURCE): ask for less with --ulimit"
            : undefined,
      };
    case TAG.USER:
      return { message: `Cannot become user ${spec?.process.user.uid ?? "?"}: ${error}` };
    case TAG.CAPABILITY:
      return { message: `Cannot set the container's capabilities: ${error}` };
    case TAG.SCHEDULING:
      return { message: `Cannot set how the process is scheduled (${step.name}): ${error}` };
    case TAG.USERNS:
      return explainUsers(step, error);
    case TAG.TIME:
      return { message: `Cannot set the offsets of the time namespace: ${error}` };
    case TAG.IDMAP:
      return {
        message: `Cannot map the owners of a mount: ${error}`,
        hint: error === "EINVAL" ? "Its file system may not know idmapped mounts" : undefined,
      };
    case TAG.LISTENER:
      return { message: `failed to connect with seccomp agent: Cannot hand it the filter (${step.name}): ${error}` };
    case TAG.JOIN:
      if (step.name === "openat" || readStep(plan, index - 1).name === "openat") {
        const path = strings(step) || strings(readStep(plan, index - 1));
        return { message: `Cannot join the namespace ${path}: ${error}` };
      }
      return {
        code: "container-not-running",
        message: `Cannot enter the container: ${error === "ESRCH" ? "it has ended" : error}`,
      };
    case TAG.CRIU:
      return explainCriu(step, error);
    case TAG.HOSTNAME:
      return { message: `Cannot set the hostname: ${error}` };
    default:
      if (isKilled(step, error)) return explainKilled(plan, index);
      return { message: `Cannot ${step.name} ${strings(step)}: ${error}` };
  }
}

/** Whether the container's process went away without a word: who waits for it loses it, or finds that it did not execute. */
function isKilled({ name }: ReadStep, error: string): boolean {
  return name === "meet" ? error === "EPIPE" : name === "prctl" && error === "EIO";
}

function explainKilled(plan: Uint8Array, index: number): Words {
  const message = "Cannot start the container: its first process was killed before it could run its command";
  const limit = memoryLimit(plan, index);
  if (limit === undefined) return { message };
  return { message, hint: `Its memory is limited to ${limit} bytes, which may be too little to begin with` };
}

/** What the plan has limited the container's memory to before a step. */
function memoryLimit(plan: Uint8Array, index: number): string | undefined {
  for (let i = 0; i < index; i++) {
    const { name, args } = readStep(plan, i);
    if (name === "writeFile" && /\/memory\.(?:max|limit_in_bytes)$/.test(String(args[1]))) return String(args[2]);
  }
  return undefined;
}

/** What CRIU itself says stands in its log, whose path is the step's last argument. */
function explainCriu({ name, args: [, , , , , log] }: ReadStep, error: string): Words {
  if (name !== "criu" || typeof log !== "string") return { message: `Cannot restore (${name}): ${error}` };
  const said = criuErrors(log) || (error === "EPIPE" || error === "ECONNRESET" ? "it ended without a word" : error);
  return { code: "criu-failed", message: `Cannot restore: CRIU could not: ${said}`, hint: `Its log is "${log}"` };
}

function explainUsers({ name }: ReadStep, error: string): Words {
  if (name === "userNamespace") {
    const hint =
      error === "ENOSPC"
        ? "No more may be made: see /proc/sys/user/max_user_namespaces"
        : error === "EINVAL"
          ? "Its maps must not overlap, and the kernel must have CONFIG_USER_NS"
          : undefined;
    return { message: `Cannot make the container's user namespace: ${error}`, hint };
  }
  return { message: `Cannot become root of the user namespace (${name}): ${error}` };
}

/** The builtin tells "its interpreter is missing" from "it is not there" with ELIBACC. */
function explainExec({ args: [paths, argv] }: ReadStep, error: string): Words {
  const candidates = Array.isArray(paths) ? paths : [];
  const command = Array.isArray(argv) ? (argv[0] ?? "") : "";
  const name = JSON.stringify(command);
  if (error === "ENOENT" || error === "ENOTDIR") {
    const state = command.includes("/")
      ? "there is no such file in the container"
      : "it is in no directory of the container's PATH";
    return {
      code: "command-not-found",
      message: `Cannot run ${name}: ${state}`,
      hint: `Looked for: ${candidates.join(", ")}`,
    };
  }
  if (error === "ELIBACC") {
    return {
      code: "command-not-found",
      message: `Cannot run ${name}: the interpreter or loader that it names is missing in the container`,
      hint: 'See its first line ("#!…") or "readelf -l" for the loader; a file with DOS line ends names one with a "\\r"',
    };
  }
  if (error === "EACCES") {
    return {
      code: "command-not-executable",
      message: `Cannot run ${name}: permission denied`,
      hint: "Make it executable (chmod +x), and see that it is a file on a mount without noexec",
    };
  }
  if (error === "ENOEXEC") {
    return {
      code: "command-not-executable",
      message: `Cannot run ${name}: it is not a program for this machine (exec format error)`,
      hint: `The image may be for another architecture than ${process.arch}, or a script may lack its "#!" line`,
    };
  }
  if (error === "E2BIG") {
    return {
      code: "command-not-executable",
      message: `Cannot run ${name}: its arguments and variables are too long`,
      hint: "The kernel takes at most 128 KiB of each, and of all together a quarter of the stack limit",
    };
  }
  return { code: "command-not-executable", message: `Cannot run ${name}: ${error}` };
}

/** chdir names it; the check after it does not. */
function cwdOf({ name, args }: ReadStep, spec: Spec | undefined): string {
  return name === "chdir" ? String(args[0]) : (spec?.process.cwd ?? "");
}

function cwdState(error: string): string {
  if (error === "ENOENT") return "it does not exist in the container, or leads out of it";
  return error === "ENOTDIR" ? "it is not a directory" : error;
}

function explainCgroup(step: ReadStep, error: string): Words {
  const path = step.args.find((arg) => typeof arg === "string" && arg.startsWith("/"));
  const value = step.name === "writeFile" ? ` "${step.args[2]}" to` : "";
  const verb = step.name === "writeFile" ? "write" : "make";
  return {
    code: "cgroup-failed",
    message: `Cannot ${verb}${value} the cgroup ${path === undefined ? "" : `"${path}"`}: ${error}`,
    hint:
      error === "EROFS" || error === "EACCES" ? 'The cgroup file systems must be writable: see "bb doctor"' : undefined,
  };
}

function explainRoot(step: ReadStep, error: string): Words {
  if (step.name === "pivot_root") {
    return {
      message: `Cannot pivot_root into the container's root: ${error}`,
      hint: "The root must be a mount of its own, not the initial ramfs",
    };
  }
  if (step.name === "mount") {
    const hint =
      error === "ENODEV"
        ? "The kernel has no overlay file system: load the module overlay"
        : error === "ENOENT"
          ? 'A layer or the directory is gone: see "bb doctor"'
          : error === "EINVAL"
            ? "The store's file system cannot hold overlay's upper directory: see dmesg, or name another store with --root"
            : undefined;
    return { message: `Cannot mount the container's root: ${error}`, hint };
  }
  return { message: `Cannot prepare the container's root (${step.name}): ${error}` };
}

function explainMount(step: ReadStep, error: string, target: string | undefined): Words {
  if (step.name === "checkFs") {
    return { code: "mount-failed", message: "Cannot use the container's /proc or /dev/pts: something else covers it" };
  }
  const where = target === undefined ? "" : ` on "${target}"`;
  const source = step.name === "open_tree" && step.args[1] ? ` "${step.args[1]}"` : "";
  const hints: Record<string, string> = {
    ENOTDIR: "A directory can only be mounted on a directory, and a file on a file",
    ELOOP: "It must be mounted on ordinary directory, and the image has a symbolic link there",
    EROFS: "The container's root is read-only: make the mount point in the image",
    ENOENT: "The image has a link there that leads nowhere",
  };
  // Engines look for the words.
  const state = error === "ENOTDIR" ? `${error}: not a directory` : error;
  return { code: "mount-failed", message: `Cannot mount${source}${where}: ${state}`, hint: hints[error] };
}

/** To move_mount(2) a directory on a file, or the reverse, is EINVAL; to mount(2), and to engines, ENOTDIR. */
function mountError(plan: Uint8Array, index: number, error: string): string {
  const isMoved = readStep(plan, index).name === "move_mount" && readStep(plan, index - 1).name === "target";
  return isMoved && error === "EINVAL" ? "ENOTDIR" : error;
}

/** Where the mount that a step belongs to goes: the last target that was opened up to it. */
function targetOf(plan: Uint8Array, index: number): string | undefined {
  for (let i = index; i >= 0 && i > index - 8; i--) {
    const { name, args } = readStep(plan, i);
    if ((name === "target" || name === "mask") && typeof args[1] === "string") return args[1];
  }
  return undefined;
}

function strings({ args }: ReadStep): string {
  return args
    .filter((arg) => typeof arg === "string" && !/^r[0-9]+$/.test(arg) && arg !== "")
    .map((arg) => `"${arg}"`)
    .join(" on ");
}

function seccompHint(error: string): string | undefined {
  return error === "EINVAL" ? "The kernel refuses the filter: it may lack CONFIG_SECCOMP_FILTER" : undefined;
}

function generalHint(error: string): string | undefined {
  switch (error) {
    case "EPERM":
      return 'Root with CAP_SYS_ADMIN is needed: inside another container, that one must be privileged. See "bb doctor"';
    case "ENOSYS":
      return "The kernel is too old: Linux 5.12 or newer is needed";
    case "ENOSPC":
      return "The disk is full, or a limit of the kernel is reached (see /proc/sys/user)";
    case "EMFILE":
    case "ENFILE":
      return "Too many open files: raise the limit (ulimit -n)";
    default:
      return undefined;
  }
}
