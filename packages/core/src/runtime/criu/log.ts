import { readIfThere } from "@bantubox/ffi";

const MAX_ERRORS = 4;

/** What CRIU says went wrong, from its log: `(00.034821) Error (criu/files.c:1): sentence`. */
export function criuErrors(path: string): string {
  const text = readIfThere(path) ?? "";
  const errors = [...text.matchAll(/^(?:\([0-9.]+\) )?(?: *[0-9]+: )?Error \([^)]*\): (.*)$/gm)].map(
    ([, sentence = ""]) => sentence.trim(),
  );
  return errors.slice(0, MAX_ERRORS).join("; ");
}
