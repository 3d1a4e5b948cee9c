/** Set by scripts/build.ts in the executable that begins with the front (ffi/c/front.c). */
declare const HAS_FRONT: boolean | undefined;

/**
 * The words of the command line, when the front may carry out the same ones next
 * time: not where a file or the caller's environment has a say in what they mean.
 */
export function wholeLine(flags: {
  readonly env?: readonly string[] | undefined;
  readonly "env-file"?: readonly string[] | undefined;
  readonly "label-file"?: readonly string[] | undefined;
}): readonly string[] | undefined {
  if (typeof HAS_FRONT === "undefined") return undefined;
  const isWhole = !flags["env-file"] && !flags["label-file"] && !flags.env?.some((entry) => !entry.includes("="));
  return isWhole ? process.argv.slice(2) : undefined;
}
