/** Profile files, as Docker and Podman take them: the OCI form, and rules that hold under conditions. */
import { release } from "node:os";
import { BoxError } from "@bantubox/ffi";
import * as z from "zod/mini";
import { hasCapability } from "../capabilities.ts";
import type { ProfileSubject } from "./default-profile.ts";
import { parseExactJson } from "./exact-json.ts";
import { actionValue, type LinuxSeccomp, type LinuxSyscall, profileError, type SeccompArch } from "./profile.ts";

export interface ProfileFileSubject extends ProfileSubject {
  /** As uname(2) has it; unset: the running kernel's. */
  readonly kernelRelease?: string;
}

const uint64 = z.union([z.int().check(z.nonnegative()), z.bigint()]);
const errno = z.int().check(z.nonnegative());

const filter = z.strictObject({
  caps: z.nullish(z.array(z.string())),
  arches: z.nullish(z.array(z.string())),
  minKernel: z.nullish(z.string()),
});

// Strict, because a misspelt "args" would make a rule hold always.
const rule = z.strictObject({
  name: z.nullish(z.string()),
  names: z.nullish(z.array(z.string())),
  action: z.string(),
  errnoRet: z.nullish(errno),
  args: z.nullish(
    z.array(z.strictObject({ index: z.int(), value: uint64, valueTwo: z.nullish(uint64), op: z.string() })),
  ),
  includes: z.nullish(filter),
  excludes: z.nullish(filter),
  comment: z.nullish(z.string()),
  // Podman's name of errnoRet's value, for people.
  errno: z.nullish(z.string()),
});

const file = z.object({
  defaultAction: z.string(),
  defaultErrnoRet: z.nullish(errno),
  architectures: z.nullish(z.array(z.string())),
  archMap: z.nullish(z.array(z.object({ architecture: z.string(), subArchitectures: z.nullish(z.array(z.string())) }))),
  flags: z.nullish(z.array(z.string())),
  listenerPath: z.nullish(z.string()),
  listenerMetadata: z.nullish(z.string()),
  syscalls: z.nullish(z.array(rule)),
});

type FileRule = z.infer<typeof rule>;
type Filter = z.infer<typeof filter>;

const NATIVE: Readonly<Record<SeccompArch, { scmp: string; go: string }>> = {
  x64: { scmp: "SCMP_ARCH_X86_64", go: "amd64" },
  arm64: { scmp: "SCMP_ARCH_AARCH64", go: "arm64" },
};

/**
 * Reads a profile file and keeps what holds for `subject`.
 *
 * `includes` and `excludes` decide by the container's bounding set, the
 * machine's architecture (Go's name of it) and the kernel's version.
 *
 * @throws {BoxError} `seccomp-profile`
 */
export function parseSeccompFile(text: string, subject: ProfileFileSubject): LinuxSeccomp {
  const parsed = file.safeParse(parseJson(text));
  if (!parsed.success) throw describe(parsed.error);
  const { architectures, archMap, syscalls, ...rest } = parsed.data;
  if (architectures?.length && archMap?.length) throw profileError('it has both "architectures" and "archMap"');
  const { scmp } = NATIVE[subject.arch];
  const mapped = archMap?.find(({ architecture }) => architecture === scmp);
  const profile: LinuxSeccomp = {
    defaultAction: rest.defaultAction,
    defaultErrnoRet: rest.defaultErrnoRet ?? undefined,
    architectures: mapped ? [scmp, ...(mapped.subArchitectures ?? [])] : (architectures ?? []),
    flags: rest.flags ?? undefined,
    listenerPath: rest.listenerPath ?? undefined,
    listenerMetadata: rest.listenerMetadata ?? undefined,
    syscalls: (syscalls ?? []).map((each) => toSyscall(each, subject)).filter((each) => each !== undefined),
  };
  actionValue(profile.defaultAction, profile.defaultErrnoRet);
  return profile;
}

function parseJson(text: string): unknown {
  try {
    return parseExactJson(text);
  } catch (cause) {
    throw profileError("it is not JSON", cause);
  }
}

function toSyscall(each: FileRule, subject: ProfileFileSubject): LinuxSyscall | undefined {
  const { name, names, action, errnoRet, args, includes, excludes } = each;
  if (name && names?.length) throw profileError(`a rule has both "name" and "names", at "${name}"`);
  if (excludes && isExcluded(excludes, subject)) return undefined;
  if (includes && !isIncluded(includes, subject)) return undefined;
  return {
    names: name ? [name] : (names ?? []),
    action,
    errnoRet: errnoRet ?? undefined,
    args: args?.map(({ index, value, valueTwo, op }) => ({ index, value, valueTwo: valueTwo ?? undefined, op })),
  };
}

/** One match suffices. */
function isExcluded({ caps, arches, minKernel }: Filter, subject: ProfileFileSubject): boolean {
  if (arches?.includes(NATIVE[subject.arch].go)) return true;
  if (caps?.some((name) => hasCapability(subject.capabilities, name))) return true;
  return minKernel ? isKernelAtLeast(minKernel, subject.kernelRelease) : false;
}

/** All conditions must match, and of the capabilities each. */
function isIncluded({ caps, arches, minKernel }: Filter, subject: ProfileFileSubject): boolean {
  if (arches?.length && !arches.includes(NATIVE[subject.arch].go)) return false;
  if (caps && !caps.every((name) => hasCapability(subject.capabilities, name))) return false;
  return minKernel ? isKernelAtLeast(minKernel, subject.kernelRelease) : true;
}

/** Compares the first two numbers only, as Docker does: distributions put what they like behind them. */
function isKernelAtLeast(wanted: string, running = release()): boolean {
  const want = /^(\d{1,3})\.(\d{1,3})$/.exec(wanted);
  if (want === null) throw profileError(`minKernel ${JSON.stringify(wanted)} is not of the form "4.8"`);
  const have = /^(\d+)\.(\d+)/.exec(running);
  if (have === null) throw profileError(`the kernel's release "${running}" has no version to compare with`);
  const major = Number(have[1]) - Number(want[1]);
  return major > 0 || (major === 0 && Number(have[2]) >= Number(want[2]));
}

function describe(error: z.core.$ZodError): BoxError {
  const [issue] = error.issues;
  const path = issue?.path.join(".") || "the file";
  if (path === "defaultAction")
    return new BoxError("seccomp-profile", 'Cannot use the seccomp profile: it has no "defaultAction"', {
      hint: 'Use "seccomp=unconfined" to run without a filter',
      cause: error,
    });
  if (issue?.code === "unrecognized_keys")
    return profileError(`${path} has ${JSON.stringify(issue.keys[0])}, which means nothing there`, error);
  return profileError(`${path} is missing or malformed`, error);
}
