import { BoxError } from "@bantubox/ffi";
import type { Globals } from "./globals.ts";
import { log } from "./log.ts";

/** Exit status of what an OCI runtime could not do. */
const FAILED = 1;

/** Says what went wrong. @returns The exit status. */
export function fail(globals: Globals, error: unknown, status = FAILED): number {
  log(globals, "error", sentence(globals, error));
  return status;
}

function sentence(
  { values: { debug } }: { readonly values: { readonly debug?: boolean | undefined } },
  error: unknown,
): string {
  if (typeof error === "string") return error;
  if (!(error instanceof Error)) return String(error);
  if (error instanceof AggregateError)
    return error.errors.map((each) => sentence({ values: { debug } }, each)).join("; ");
  // What nobody foresaw is a bug, and shows where it is.
  if (!(error instanceof BoxError) || debug) return error.stack ?? error.message;
  return error.hint === undefined ? error.message : `${error.message} (${error.hint})`;
}
