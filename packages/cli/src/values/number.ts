import { invalid } from "../usage.ts";

export interface Bounds {
  readonly min?: number;
  readonly max?: number;
}

/** A whole number in decimal digits; no sign but `-`, no spaces, no `1e3`, no `0x10`. */
export function parseInteger(
  text: string,
  label: string,
  { min = 0, max = Number.MAX_SAFE_INTEGER }: Bounds = {},
): number {
  if (!/^-?[0-9]{1,20}$/.test(text) || text === "-0") throw invalid(text, label, "it is not a whole number");
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    throw invalid(
      text,
      label,
      max === Number.MAX_SAFE_INTEGER ? `it must be ${min} or more` : `it must be from ${min} to ${max}`,
    );
  }
  return value;
}

/** A number of CPUs such as `1.5`; 0 is no limit. */
export function parseCpus(text: string, label: string): number {
  if (!/^(?:[0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})$/.test(text)) {
    throw invalid(text, label, 'it is not a number of CPUs such as "1.5"');
  }
  const cpus = Number(text);
  // The kernel gives no less than a millisecond of each tenth of a second.
  if (cpus > 0 && cpus < 0.01) throw invalid(text, label, "it must be 0.01 or more");
  return cpus;
}

/** -1 (and Docker's 0) is no limit. */
export function parsePidsLimit(text: string, label: string): number {
  return parseInteger(text, label, { min: -1, max: 4194304 }) || -1;
}

/** Linux has at most 8192 CPUs, and 1024 memory nodes. */
export function parseCpuset(text: string, label: string): string {
  for (const part of text.split(",")) {
    const match = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(part);
    if (match === null) throw invalid(text, label, 'it is not a list of numbers and ranges such as "0-3,6"');
    const first = Number(match[1]);
    const last = Number(match[2] ?? match[1]);
    if (last < first) throw invalid(text, label, "a range ends before it starts");
    if (last > 8191) throw invalid(text, label, "no machine has that many");
  }
  return text;
}

/** The words that Go's strconv.ParseBool takes, and so Docker. */
export function parseBoolean(text: string, label: string): boolean {
  if (/^(1|t|T|true|TRUE|True)$/.test(text)) return true;
  if (/^(0|f|F|false|FALSE|False)$/.test(text)) return false;
  throw invalid(text, label, "it is neither true nor false");
}
