import manifest from "../package.json" with { type: "json" };

/** The version of the runtime specification that this runtime follows. */
export const SPEC_VERSION = "1.2.0";
export const VERSION = manifest.version;

/** As runc prints it: engines look for "version" and for a line that begins with "spec:". */
export function versionText(program: string): string {
  return `${program} version ${VERSION}\nspec: ${SPEC_VERSION}\nbun: ${Bun.version}`;
}
