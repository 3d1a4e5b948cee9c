import type { SeccompFilter } from "../identity.ts";
import { type LinuxSeccomp, seccompFlags } from "./profile.ts";

export const ARCH = process.arch === "arm64" ? "arm64" : "x64";

/** Compiles the filter of a config.json; the compiler is loaded only where there is one. */
export async function compileProfile(profile: LinuxSeccomp): Promise<SeccompFilter> {
  const { compileSeccomp } = await import("./compile.ts");
  return { program: compileSeccomp(profile, { arch: ARCH }), flags: seccompFlags(profile) };
}
