import { BoxError, readTextSync } from "@bantubox/ffi";
import {
  type CapabilitySet,
  capabilityNames,
  capabilitySet,
  parseCapabilityMask,
  resolveCapabilities,
} from "../../runtime/capabilities.ts";
import type { SeccompFilter } from "../../runtime/identity.ts";
import { defaultSeccompFilter } from "../../runtime/seccomp/default-filter.ts";
import { ARCH, compileProfile } from "../../runtime/seccomp/filter.ts";
import type { LinuxSeccomp } from "../../runtime/seccomp/profile.ts";
import type { Capabilities, Spec, User } from "../../runtime/spec.ts";
import type { ContainerOptions } from "./options.ts";

/** Says in config.json that the filter is our default one, whose hundreds of names need no repeating there. */
export const SECCOMP_ANNOTATION = "org.bantubox.seccomp";

/** `--security-opt`, read. */
export interface SecurityChoice {
  readonly noNewPrivileges: boolean;
  readonly seccomp: "default" | "unconfined" | { readonly file: string };
  /** Undefined: the default profile, where the host has AppArmor. */
  readonly apparmor: string | undefined;
}

/** @throws {BoxError} `bad-security-opt` for what cannot be enforced: a protection that was asked for is in force, or nothing starts. */
export function parseSecurityOptions({ securityOpt = [], privileged }: ContainerOptions): SecurityChoice {
  let noNewPrivileges = false;
  let seccomp: SecurityChoice["seccomp"] = privileged ? "unconfined" : "default";
  let apparmor: string | undefined = privileged ? "unconfined" : undefined;
  for (const option of securityOpt) {
    const separator = option.search(/[=:]/);
    const key = separator === -1 ? option : option.slice(0, separator);
    const value = separator === -1 ? undefined : option.slice(separator + 1);
    if (key === "no-new-privileges" && (value === undefined || value === "true" || value === "false")) {
      noNewPrivileges = value !== "false";
    } else if (key === "seccomp" && value) {
      seccomp = value === "unconfined" ? "unconfined" : value === "builtin" ? "default" : { file: value };
    } else if (key === "apparmor" && value) apparmor = value;
    else if (key === "label" && value === "disable") continue;
    else {
      throw new BoxError(
        "bad-security-opt",
        `Cannot apply the security option ${JSON.stringify(option)}: it is not one that this engine enforces`,
        {
          hint: 'Known ones: "no-new-privileges", "seccomp=FILE|unconfined", "apparmor=NAME|unconfined"',
        },
      );
    }
  }
  return { noNewPrivileges, seccomp, apparmor };
}

/**
 * The five sets of a container's process. Inheritable and ambient are empty,
 * but for capabilities that were named for a user other than root: those
 * would otherwise be lost at execve (as Docker 29 has it).
 */
export function processCapabilities(options: ContainerOptions, user: User): Capabilities {
  const set = resolveCapabilities({
    add: options.capAdd ?? [],
    drop: options.capDrop ?? [],
    privileged: options.privileged === true,
    available: hostBoundingSet(),
  });
  const names = capabilityNames(set);
  const named = user.uid === 0 ? [] : capabilityNames(set.named);
  return { bounding: names, effective: names, permitted: names, inheritable: named, ambient: named };
}

/** What this process could hand on at most. */
function hostBoundingSet(): CapabilitySet {
  const status = readTextSync("/proc/self/status");
  const at = status.indexOf("CapBnd:\t");
  return parseCapabilityMask(status.slice(at + 8, at + 24));
}

/** The filter that config.json asks for, compiled. */
export async function compileFilter({
  annotations,
  linux,
  process: { capabilities },
}: Spec): Promise<SeccompFilter | undefined> {
  if (linux.seccomp !== undefined) return await compileProfile(linux.seccomp);
  if (annotations?.[SECCOMP_ANNOTATION] !== "default") return undefined;
  const SPEC_ALLOW = 4;
  const program = await defaultSeccompFilter({ arch: ARCH, capabilities: capabilitySet(capabilities?.bounding ?? []) });
  return { program, flags: SPEC_ALLOW };
}

/** Reads `--security-opt seccomp=FILE`: Docker's format or the specification's. */
export async function readSeccompProfile(file: string, capabilities: Capabilities): Promise<LinuxSeccomp> {
  const { parseSeccompFile } = await import("../../runtime/seccomp/profile-file.ts");
  let text: string;
  try {
    text = readTextSync(file);
  } catch (error) {
    throw new BoxError("seccomp-profile", `Cannot read the seccomp profile ${JSON.stringify(file)}`, { cause: error });
  }
  return parseSeccompFile(text, { arch: ARCH, capabilities: capabilitySet(capabilities.bounding) });
}
