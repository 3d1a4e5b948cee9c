/**
 * What differs between two commands of one kind: IDs, and directories that are
 * named after them, are holes in a text that is else the same. c/holes.h has the
 * same rules, for the front; a test compares both.
 */

const HOLES_MAX = 32;
const HOLE_MIN = 12;
const HOLE_MAX = 255;
const NUMBER_MIN = 6;
const HOLE_MARK = 1;
/** What a container's ID may be made of. */
const NAMES = /[0-9A-Za-z_+.-]+/g;
const RUNS = /[0-9A-Za-z]+/g;

/** A text without its holes, which stand in `holes` in the order of their first appearance. */
export interface Holed {
  /** For each hole: 1, its index, its length. */
  readonly skeleton: Uint8Array;
  readonly holes: readonly string[];
}

/**
 * Finds the container's own `id`, wherever it stands as a name; runs of at least 12 lower-case hexadecimal digits, with
 * a letter and a decimal one among them; and in the first `words` bytes also numbers of at least six digits.
 *
 * @returns Undefined when there are too many, or a mark stands in the text.
 */
export function findHoles(text: Uint8Array, words: number, id: string): Holed | undefined {
  const latin1 = Buffer.from(text.buffer, text.byteOffset, text.length).toString("latin1");
  if (latin1.includes("\u0001")) return undefined;
  const holes: string[] = [];
  let failed = false;
  const mark = (hole: string): string => {
    let index = holes.indexOf(hole);
    if (index === -1) index = holes.push(hole) - 1;
    if (index >= HOLES_MAX || hole.length > HOLE_MAX) failed = true;
    return String.fromCharCode(HOLE_MARK, index, hole.length);
  };
  const inRun = (run: string, at: number): string => {
    if (isId(run)) return mark(run);
    if (at >= words) return run;
    // A number that begins among the words may end behind them.
    return run.replace(/[0-9]+/g, (digits, inside: number) =>
      digits.length >= NUMBER_MIN && at + inside < words ? mark(digits) : digits,
    );
  };
  const skeleton = latin1.replace(NAMES, (name, at: number) =>
    name === id ? mark(name) : name.replace(RUNS, (run, inside: number) => inRun(run, at + inside)),
  );
  return failed ? undefined : { skeleton: Buffer.from(skeleton, "latin1"), holes };
}

/** A text with other holes, each known by what it was: as a name, as a whole run, or as a number inside one. */
export function renameHoles(text: string, names: ReadonlyMap<string, string>): string {
  return text.replace(
    NAMES,
    (name) =>
      names.get(name) ??
      name.replace(RUNS, (run) => names.get(run) ?? run.replace(/[0-9]+/g, (digits) => names.get(digits) ?? digits)),
  );
}

/**
 * As `renameHoles`, in what comes behind the words: no number is a hole there, whatever numbers are among the words,
 * but the container's own `id` may be one.
 */
export function renameBehind(text: string, names: ReadonlyMap<string, string>, id: string): string {
  return text.replace(NAMES, (name) =>
    name === id ? (names.get(name) ?? name) : name.replace(RUNS, (run) => (isId(run) ? (names.get(run) ?? run) : run)),
  );
}

/** What would make a hole part of something longer: see `Hole`. */
export function besideHole(hole: string): RegExp | undefined {
  if (isId(hole)) return /[0-9A-Za-z]/;
  return /^[0-9]+$/.test(hole) ? undefined : /[0-9A-Za-z_+.-]/;
}

function isId(run: string): boolean {
  return (
    run.length >= HOLE_MIN &&
    run.length <= HOLE_MAX &&
    /^[0-9a-f]+$/.test(run) &&
    /[a-f]/.test(run) &&
    /[0-9]/.test(run)
  );
}
