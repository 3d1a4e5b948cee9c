import { BoxError } from "@bantubox/ffi";
import type { Flags, Values } from "./arguments.ts";
import type { Globals } from "./globals.ts";

/** One command, declared once. */
export interface Command<F extends Flags = Flags> {
  readonly name: string;
  readonly summary: string;
  /** As in `ID [SIGNAL]`. */
  readonly operands: string;
  readonly flags: F;
  /** How many words may follow the options; without the second, any number. */
  readonly count: readonly [number, number?];
  /** @returns The exit status. */
  run(globals: Globals, values: Values<F>, operands: readonly string[]): number | Promise<number>;
}

/** Keeps the types of a command's options. */
export function command<F extends Flags>(declared: Command<F>): Command<F> {
  return declared;
}

/** @throws {BoxError} `usage` */
export function checkCount(
  { name, count: [least, most = Number.POSITIVE_INFINITY] }: Pick<Command, "name" | "count">,
  given: number,
): void {
  if (given >= least && given <= most) return;
  const bound = least === most ? `exactly ${least}` : given < least ? `a minimum of ${least}` : `a maximum of ${most}`;
  throw new BoxError("usage", `"${name}" requires ${bound} argument(s)`);
}
