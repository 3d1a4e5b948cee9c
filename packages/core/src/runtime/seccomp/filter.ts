import type { SeccompFilter } from "../identity.ts";
import { type LinuxSeccomp, seccompFlags } from "./profile.ts";

export const ARCH = process.arch === "arm64" ? "arm64" : "x64";

/** The last one: most profiles of a host are one and the same, and who remembers a command compiles it twice. */
let last: { readonly profile: string; readonly filter: SeccompFilter } | undefined;

/** Compiles the filter of a config.json; the compiler is loaded only where there is one. */
export async function compileProfile(profile: LinuxSeccomp): Promise<SeccompFilter> {
  const text = JSON.stringify(profile);
  if (last?.profile === text) return last.filter;
  const { compileSeccomp } = await import("./compile.ts");
  const filter = { program: compileSeccomp(profile, { arch: ARCH }), flags: seccompFlags(profile) };
  last = { profile: text, filter };
  return filter;
}
