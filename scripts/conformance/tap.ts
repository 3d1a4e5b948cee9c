/** Reads the Test Anything Protocol as bats and the validation programs write it. */

export interface TapLine {
  readonly ok: boolean;
  readonly name: string;
  /** The reason after "# skip", or undefined. */
  readonly skip: string | undefined;
  readonly milliseconds: number;
  /** The lines after it that begin with "#", without that. */
  readonly comments: readonly string[];
}

const RESULT = /^(not )?ok\s+\d+\s*(?:- )?(.*?)(?: in (\d+)ms)?(?:\s*# skip(?:ped)?:?\s*(.*))?$/i;

/** Everything that was reported in `text`; what lies before the first result is left out. */
export function parseTap(text: string): TapLine[] {
  const results: (TapLine & { comments: string[] })[] = [];
  for (const line of text.split("\n")) {
    const match = RESULT.exec(line);
    if (match !== null) {
      const [, not, name = "", milliseconds = "0", skip] = match;
      results.push({ ok: not === undefined, name, skip, milliseconds: Number(milliseconds), comments: [] });
    } else if (line.startsWith("#")) {
      results.at(-1)?.comments.push(line.replace(/^# ?/, ""));
    }
  }
  return results;
}
