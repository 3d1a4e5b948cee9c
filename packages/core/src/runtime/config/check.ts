/** What the specification says must be an error, found before anything is made; and what is worth a warning only. */
import { BoxError, isDirectory, statIfThere } from "@bantubox/ffi";
import { type CapabilitySet, settleCapabilities } from "../capabilities.ts";
import { knownRlimit } from "../identity.ts";
import { checkScheduling } from "../scheduling.ts";
import type { Capabilities, Hook, Process, Spec } from "../spec.ts";
import { checkLinux } from "./check-linux.ts";
import { checkMounts } from "./check-mounts.ts";
import { hostFacts } from "./host.ts";
import { badConfig } from "./shape.ts";

/** What of the host decides whether a configuration can be had. */
export interface HostFacts {
  /** What this process could hand on at most, and nobody inside can get past. */
  readonly bounding: CapabilitySet;
  readonly hasSelinux: boolean;
  readonly hasAppArmor: boolean;
}

/** A configuration that can be carried out, and sentences about what of it cannot be had. */
export interface Checked<T> {
  readonly value: T;
  readonly warnings: readonly string[];
}

const MAX_NAME = 64;
/**
 * Checks a whole configuration. Touches nothing.
 *
 * Capabilities that cannot be granted are taken out of what is returned, and so are
 * labels of a security module that this host does not run: both come back as warnings.
 *
 * @throws {BoxError} `bad-config`, and the codes of what is checked elsewhere: `bad-mount`, `bad-sysctl`,
 * `bad-scheduling`, `bad-list`, `bad-namespace`, `bad-device`, `seccomp-profile`.
 */
export function checkConfig(spec: Spec, host: HostFacts = hostFacts()): Checked<Spec> {
  if (!isDirectory(statIfThere(spec.root.path)))
    throw badConfig("root.path", `must name a directory: ${spec.root.path}`);
  const { namespaces } = spec.linux;
  const hasUts = namespaces.some(({ type }) => type === "uts");
  for (const [name, value] of Object.entries({ hostname: spec.hostname, domainname: spec.domainname })) {
    if (!value) continue;
    if (!hasUts) throw badConfig(name, "needs a uts namespace", 'Add one of type "uts" to linux.namespaces');
    if (Buffer.byteLength(value) > MAX_NAME) throw badConfig(name, `must not be longer than ${MAX_NAME} bytes`);
  }
  const mounts = checkMounts(spec);
  checkLinux(spec);
  checkHooks(spec);
  // A new user namespace begins with every capability.
  const isMapped = namespaces.some(({ type, path }) => type === "user" && path === undefined);
  const process = checkProcess(spec.process, host, isMapped);
  const warnings = [...process.warnings];
  if (!namespaces.some(({ type }) => type === "mount")) checkHostMounts(spec, warnings);
  let { linux } = spec;
  if (linux.mountLabel && !host.hasSelinux) {
    warnings.push("linux.mountLabel is left out: SELinux is not enabled on this host");
    const { mountLabel: _, ...rest } = linux;
    linux = rest;
  }
  return { value: { ...spec, process: process.value, mounts, linux }, warnings };
}

/** The same for a process by itself, such as one that joins a container. @param isMapped It is born in a new user namespace. */
export function checkProcess(process: Process, host: HostFacts = hostFacts(), isMapped = false): Checked<Process> {
  if (process.args.length === 0) throw badConfig("process.args", "must name a command");
  // In the words that engines make a status of, as of any other command that is not there.
  if (process.args[0] === "") throw new BoxError("command-not-found", 'exec: "": executable file not found in $PATH');
  if (!process.cwd.startsWith("/")) throw badConfig("process.cwd", "must be an absolute path");
  checkRlimits(process);
  checkScheduling(process);
  const { oomScoreAdj = 0 } = process;
  if (oomScoreAdj < -1000 || oomScoreAdj > 1000) throw badConfig("process.oomScoreAdj", "must be from -1000 to 1000");
  const warnings: string[] = [];
  const { capabilities, apparmorProfile, selinuxLabel, ...rest } = process;
  return {
    value: {
      ...rest,
      capabilities: settle(capabilities, isMapped ? undefined : host.bounding, warnings),
      ...(supported("process.apparmorProfile", apparmorProfile, "AppArmor", host.hasAppArmor, warnings) && {
        apparmorProfile,
      }),
      ...(supported("process.selinuxLabel", selinuxLabel, "SELinux", host.hasSelinux, warnings) && { selinuxLabel }),
    } as Process,
    warnings,
  };
}

/** Without a mount namespace of its own, whatever a container mounted everybody would see, also after its end. */
function checkHostMounts({ process, mounts, root, linux }: Spec, warnings: string[]): void {
  const hint = 'Add one of type "mount" to linux.namespaces';
  if (process.terminal) throw badConfig("process.terminal", "needs a mount namespace", hint);
  if (root.readonly) throw badConfig("root.readonly", "needs a mount namespace", hint);
  if (mounts.length > 0 || (linux.devices ?? []).length > 0) {
    warnings.push("mounts and linux.devices are left out: the container has no mount namespace of its own");
  }
}

function settle(asked: Capabilities, bounding: CapabilitySet | undefined, warnings: string[]): Capabilities {
  const { capabilities, unknown, denied } = settleCapabilities(asked, bounding);
  if (unknown.length > 0) warnings.push(`No capability has the name ${unknown.map((name) => `"${name}"`).join(", ")}`);
  if (denied.length > 0) warnings.push(`This host cannot grant ${denied.join(", ")}: left out`);
  return capabilities;
}

function supported(
  at: string,
  label: string | undefined,
  name: string,
  isEnabled: boolean,
  warnings: string[],
): boolean {
  if (!label) return false;
  if (!isEnabled) warnings.push(`${at} is left out: ${name} is not enabled on this host`);
  return isEnabled;
}

function checkRlimits({ rlimits = [] }: Process): void {
  const seen = new Set<string>();
  for (const { type, soft, hard } of rlimits) {
    if (knownRlimit(type) === undefined)
      throw badConfig("process.rlimits", `must not name ${JSON.stringify(type)}: there is no such limit`);
    if (seen.has(type)) throw badConfig("process.rlimits", `must not name ${type} twice`);
    if (hard >= 0 && (soft < 0 || soft > hard)) {
      throw badConfig("process.rlimits", `must not have ${type}'s soft limit above the hard one`);
    }
    seen.add(type);
  }
}

function checkHooks({ hooks = {} }: Spec): void {
  for (const [kind, list] of Object.entries(hooks) as [string, readonly Hook[]][]) {
    list.forEach(({ path }, i) => {
      if (!path.startsWith("/")) throw badConfig(`hooks.${kind}[${i}].path`, "must be an absolute path");
    });
  }
}
