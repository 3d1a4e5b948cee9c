/** The rules of a profile, parsed and sorted by the name of their system call. */
import { type Comparison, narrow, parseComparison } from "./argument.ts";
import { actionValue, type LinuxSyscall, profileError, RET } from "./profile.ts";

/** If all comparisons hold, `action` (SECCOMP_RET_* with data). No comparisons: always. */
export interface Rule {
  readonly action: number;
  readonly comparisons: readonly Comparison[];
}

/** A name without rules was named by the profile, with the default action. */
export type Rules = ReadonlyMap<string, readonly Rule[]>;

/**
 * Arguments that the kernel declares as 32 bits wide, of the calls that profiles
 * filter by argument: comparing all 64 would leave a way around the rule.
 */
const NARROW_ARGUMENTS: ReadonlyMap<string, readonly number[]> = new Map([
  ["fcntl", [0, 1]],
  ["ioctl", [0, 1]],
  ["personality", [0]],
  ["prctl", [0]],
  ["setns", [0, 1]],
  ["socket", [0, 1, 2]],
  ["socketpair", [0, 1, 2]],
]);

/** @throws {BoxError} `seccomp-profile` */
export function parseRules(syscalls: readonly LinuxSyscall[], fallback: number): Rules {
  const byName = new Map<string, Rule[]>();
  for (const { names, action, errnoRet, args } of syscalls) {
    const value = actionValue(action, errnoRet);
    if (names.length === 0) throw profileError("a rule names no system call");
    const alternatives = splitAlternatives((args ?? []).map(parseComparison));
    const whole = args === undefined || args.length === 0 ? { action: value, comparisons: [] } : undefined;
    for (const name of names) {
      if (value === RET.USER_NOTIF && name === "write")
        throw profileError("SCMP_ACT_NOTIFY cannot be used for the write syscall, which hands over the listener");
      let rules = byName.get(name);
      if (rules === undefined) {
        rules = [];
        byName.set(name, rules);
      }
      if (value === fallback) continue;
      if (whole !== undefined) rules.push(whole);
      else
        for (const comparisons of alternatives)
          rules.push({ action: value, comparisons: narrowFor(name, comparisons) });
    }
  }
  return byName;
}

// libseccomp takes one comparison for each argument of a rule. runc and crun
// therefore split a rule that has more, and profiles were written for that.
function splitAlternatives(comparisons: readonly Comparison[]): readonly (readonly Comparison[])[] {
  const indexes = new Set(comparisons.map(({ index }) => index));
  return indexes.size === comparisons.length ? [comparisons] : comparisons.map((comparison) => [comparison]);
}

function narrowFor(name: string, comparisons: readonly Comparison[]): readonly Comparison[] {
  const indexes = NARROW_ARGUMENTS.get(name);
  if (indexes === undefined) return comparisons;
  return comparisons.map((comparison) => (indexes.includes(comparison.index) ? narrow(comparison) : comparison));
}
