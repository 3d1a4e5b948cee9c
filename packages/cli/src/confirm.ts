import { createInterface } from "node:readline/promises";

/**
 * Asks before something is lost, on standard error, as Docker's prune commands do: only a yes is one.
 *
 * @param warning A sentence that says what will be lost.
 * @returns Undefined where nobody answers.
 */
export async function confirm(warning: string): Promise<boolean | undefined> {
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: false });
  try {
    process.stderr.write(`WARNING! ${warning}\nAre you sure you want to continue? [y/N] `);
    for await (const answer of lines) return /^y(?:es)?$/i.test(answer.trim());
    process.stderr.write("\n");
    return undefined;
  } finally {
    lines.close();
  }
}
