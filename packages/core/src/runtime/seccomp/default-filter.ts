import { precompile } from "./default-filter.macro.ts" with { type: "macro" };
import type { ProfileSubject } from "./default-profile.ts";

const { decisive, filters } = precompile();

/**
 * Gives the filter of the default profile, an array of struct sock_filter.
 *
 * For Docker's default capabilities and for none, and all sets that the profile
 * does not tell from these, it was compiled when this program was built; for others it is now.
 */
export async function defaultSeccompFilter({ arch, capabilities: { lo, hi } }: ProfileSubject): Promise<Uint8Array> {
  for (const { capabilities, ...ready } of filters)
    if (((capabilities.lo ^ lo) & decisive.lo) === 0 && ((capabilities.hi ^ hi) & decisive.hi) === 0)
      return Uint8Array.fromBase64(ready[arch]);
  const [{ compileSeccomp }, { defaultSeccompProfile }] = await Promise.all([
    import("./compile.ts"),
    import("./default-profile.ts"),
  ]);
  return compileSeccomp(defaultSeccompProfile({ arch, capabilities: { lo, hi } }), { arch });
}
