import { ACCESS, type DeviceMatch, type DevicePolicy } from "../devices.ts";
import type { Write } from "../file.ts";

/** What v1 keeps: a default and exceptions from it, without order. */
type Exception = Omit<DeviceMatch, "allow">;

/**
 * `policy` as writes to a new cgroup's devices.deny and devices.allow; undefined when
 * v1 cannot say it, because a rule takes something out of the middle of another ("all of c 10, but not c 10:229").
 */
export function limitDevices(dir: string, policy: DevicePolicy): Write[] | undefined {
  let exceptions: Exception[] = [];
  for (const rule of policy.rules) {
    const next = rule.allow === policy.allowed ? without(exceptions, rule) : joined(exceptions, rule, policy.allowed);
    if (next === undefined) return undefined;
    exceptions = next;
  }
  const writes = exceptions.map((exception) => ({
    path: `${dir}/devices.${policy.allowed ? "deny" : "allow"}`,
    value: format(exception),
  }));
  // A new cgroup inherits its parent's list, which nothing here narrows; "a" to devices.allow would
  // be refused where the parent is narrowed.
  return policy.allowed ? writes : [{ path: `${dir}/devices.deny`, value: "a" }, ...writes];
}

function format({ type, major, minor, access }: Exception): string {
  let letters = "";
  if (access & ACCESS.read) letters += "r";
  if (access & ACCESS.write) letters += "w";
  if (access & ACCESS.mknod) letters += "m";
  return `${type} ${major === -1 ? "*" : major}:${minor === -1 ? "*" : minor} ${letters}`;
}

/** `exceptions` less what `rule` covers; undefined when it covers only a part of one. */
function without(exceptions: Exception[], rule: Exception): Exception[] | undefined {
  const left: Exception[] = [];
  for (const exception of exceptions) {
    const shared = exception.access & rule.access;
    const common = shared === 0 ? undefined : intersect(exception, rule);
    if (common === undefined) {
      left.push(exception);
    } else if (common.major !== exception.major || common.minor !== exception.minor) {
      return undefined;
    } else if (exception.access !== shared) {
      left.push({ ...exception, access: exception.access & ~shared });
    }
  }
  return left;
}

/**
 * `exceptions` and `rule`. An open for reading and writing needs one single exception
 * that allows both, so where "read" and "write" come from two that overlap, their overlap gets one of its own.
 */
function joined(exceptions: Exception[], rule: Exception, denies: boolean): Exception[] {
  const both = ACCESS.read | ACCESS.write;
  const overlaps: Exception[] = [];
  for (const exception of exceptions) {
    const access = exception.access | rule.access;
    if (denies || (access & both) !== both) continue;
    if ((exception.access & both) === both || (rule.access & both) === both) continue;
    const common = intersect(exception, rule);
    if (common !== undefined) overlaps.push({ ...common, access });
  }
  return [...exceptions, rule, ...overlaps];
}

/** The devices that both are about. */
function intersect(a: Exception, b: Exception): Exception | undefined {
  if (a.type !== b.type) return undefined;
  if (a.major !== -1 && b.major !== -1 && a.major !== b.major) return undefined;
  if (a.minor !== -1 && b.minor !== -1 && a.minor !== b.minor) return undefined;
  return { ...a, major: Math.max(a.major, b.major), minor: Math.max(a.minor, b.minor) };
}
