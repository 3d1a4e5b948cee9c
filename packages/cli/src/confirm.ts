import { createInterface } from "node:readline/promises";

/**
 * Asks before something is lost, on standard error, as Docker's prune commands do: only a yes is one, and where
 * nobody answers nothing is done.
 *
 * @param warning A sentence that says what will be lost.
 */
export async function confirm(warning: string): Promise<boolean> {
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: false });
  try {
    process.stderr.write(`WARNING! ${warning}\nAre you sure you want to continue? [y/N] `);
    for await (const answer of lines) return /^y(?:es)?$/i.test(answer.trim());
    return false;
  } finally {
    lines.close();
  }
}
