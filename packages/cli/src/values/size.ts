import { invalid } from "../usage.ts";

const UNITS = "bkmgtp";

/** Bytes from Docker's sizes: `512`, `64k`, `1.5g`, `2GiB`, `32 mb`; the units are powers of 1024. */
export function parseSize(text: string, label: string): number {
  const match = /^([0-9]{1,16}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})(?: ?(?:([bkmgtp])|([kmgtp])i?b))?$/i.exec(text);
  if (match === null) throw invalid(text, label, 'it is not a size such as "64m" or "1.5g"');
  const unit = (match[2] ?? match[3] ?? "b").toLowerCase();
  const bytes = Math.trunc(Number(match[1]) * 1024 ** UNITS.indexOf(unit));
  if (!Number.isSafeInteger(bytes)) throw invalid(text, label, "no machine has that much");
  return bytes;
}

/** As `parseSize`, where -1 means unlimited. */
export function parseSizeOrUnlimited(text: string, label: string): number {
  return text === "-1" ? -1 : parseSize(text, label);
}
