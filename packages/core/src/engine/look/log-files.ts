import { openSync } from "node:fs";
import { isErrno } from "@bantubox/ffi";
import { RECORD } from "../../runtime/records.ts";

/** The k-th file's name: the 0th is written to, the others are older and older. */
export function logName(directory: string, k: number): string {
  return `${directory}/${RECORD.log}${k === 0 ? "" : `.${k}`}`;
}

/** A descriptor for reading, which the caller closes. */
export function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, "r");
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}
