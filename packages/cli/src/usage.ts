import { BoxError } from "@bantubox/core";

/** An error of the user's command line. */
export function usageError(message: string, hint?: string): BoxError {
  return new BoxError("usage", message, { hint });
}

/** Refuses a flag's value: `Cannot use "x" for --flag: it …`. */
export function invalid(text: string, label: string, why: string, hint?: string): BoxError {
  return usageError(`Cannot use ${JSON.stringify(text)} for ${label}: ${why}`, hint);
}
