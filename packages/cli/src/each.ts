import type { Globals } from "./command.ts";
import { report } from "./fail.ts";
import { printLine } from "./output.ts";

/**
 * Does one thing for each of several names, all at once, and prints the results in their order. One that fails
 * does not keep the others from being done.
 *
 * @returns The exit status: 1 if any failed.
 */
export async function forEachName(
  names: readonly string[],
  { debug }: Globals,
  act: (name: string) => Promise<string | undefined>,
): Promise<number> {
  const doings = names.map((name) =>
    act(name).then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    ),
  );
  let status = 0;
  for (const doing of doings) {
    const done = await doing;
    if ("error" in done) {
      await report(done.error, { debug });
      status = 1;
    } else if (done.value !== undefined) {
      printLine(done.value);
    }
  }
  return status;
}
