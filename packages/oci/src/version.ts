import manifest from "../package.json" with { type: "json" };

/** The version of the runtime specification that this runtime follows. */
export const SPEC_VERSION = "1.2.0";
export const VERSION = manifest.version;

/** What it was built of, as git names it; scripts/build.ts knows. Undefined where the source runs as it is. */
declare const COMMIT: string | undefined;

/** As runc prints it: engines look for "version", and for lines that begin with "commit:" and "spec:". */
export function versionText(program: string): string {
  const commit = typeof COMMIT === "string" ? COMMIT : "unknown";
  return `${program} version ${VERSION}\ncommit: ${commit}\nspec: ${SPEC_VERSION}\nbun: ${Bun.version}`;
}
