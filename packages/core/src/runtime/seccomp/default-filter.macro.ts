/** Runs at build time only, so that the usual filters cost a container no more than decoding base64. */
import { type CapabilitySet, DEFAULT_CAPABILITIES, NO_CAPABILITIES } from "../capabilities.ts";
import { compileSeccomp } from "./compile.ts";
import { decisiveCapabilities, defaultSeccompProfile } from "./default-profile.ts";
import type { SeccompArch } from "./profile.ts";

interface Precompiled {
  readonly capabilities: CapabilitySet;
  readonly x64: string;
  readonly arm64: string;
}

/** Filters in base64 for the default capabilities and for none, and the capabilities by which filters differ at all. */
export function precompile(): { decisive: CapabilitySet; filters: readonly Precompiled[] } {
  return {
    decisive: decisiveCapabilities(),
    filters: [DEFAULT_CAPABILITIES, NO_CAPABILITIES].map((capabilities) => ({
      capabilities,
      x64: filter("x64", capabilities),
      arm64: filter("arm64", capabilities),
    })),
  };
}

function filter(arch: SeccompArch, capabilities: CapabilitySet): string {
  return compileSeccomp(defaultSeccompProfile({ arch, capabilities }), { arch }).toBase64();
}
