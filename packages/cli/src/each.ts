import type { Globals } from "./command.ts";
import { report } from "./fail.ts";
import { printLine } from "./output.ts";

/**
 * Does one thing for each of several names, all at once, and prints the results in their order. One that fails
 * does not keep the others from being done.
 *
 * @param inTurn One after the other: for what takes a container for itself, which may be named twice.
 * @returns The exit status: 1 if any failed.
 */
export async function forEachName(
  names: readonly string[],
  { debug }: Globals,
  act: (name: string) => Promise<string | undefined>,
  { inTurn = false }: { readonly inTurn?: boolean } = {},
): Promise<number> {
  const attempt = (name: string) =>
    act(name).then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    );
  const doings = inTurn ? [] : names.map(attempt);
  let status = 0;
  for (const [index, name] of names.entries()) {
    const done = await (doings[index] ?? attempt(name));
    if ("error" in done) {
      await report(done.error, { debug });
      status = 1;
    } else if (done.value !== undefined) {
      printLine(done.value);
    }
  }
  return status;
}
