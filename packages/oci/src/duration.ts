import { BoxError } from "@bantubox/ffi";

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Milliseconds of a duration as Go writes it: `5s`, `1m30s`, `100ms`. @throws {BoxError} `usage` */
export function parseDuration(text: string): number {
  let ms = 0;
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) {
    throw new BoxError("usage", `invalid duration ${JSON.stringify(text)}: it must look like "5s" or "100ms"`);
  }
  for (const [, value, unit = ""] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g))
    ms += Number(value) * (UNITS_MS[unit] ?? 0);
  return ms;
}
