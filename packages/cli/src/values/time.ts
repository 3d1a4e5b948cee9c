import { invalid } from "../usage.ts";
import { parseInteger } from "./number.ts";

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

const DURATION = /^(?:(?:[0-9]{1,12}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})(?:ns|us|µs|μs|ms|s|m|h))+$/;
const DATE = /^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?(Z|[+-]\d\d:\d\d)?$/;

/** Go's durations, `1h30m` or `1.5s`, in milliseconds; `undefined` for anything else. */
function durationMs(text: string): number | undefined {
  if (text === "0") return 0;
  if (!DURATION.test(text)) return undefined;
  let sum = 0;
  for (const [, number, unit] of text.matchAll(/([0-9.]+)([^0-9.]+)/g))
    sum += Number(number) * (UNIT_MS[unit ?? ""] ?? 0);
  return sum;
}

/**
 * A moment for `--since` and `--until`, in milliseconds since 1970: a duration before now (`10m`), seconds since
 * 1970 (`1136073600.5`), or a date with or without time and zone (`2006-01-02T15:04:05`; without a zone: local).
 */
export function parseMoment(text: string, label: string, nowMs: number = Date.now()): number {
  const ago = /^[0-9]+$/.test(text) ? undefined : durationMs(text);
  if (ago !== undefined) return nowMs - ago;
  if (/^[0-9]{1,12}(?:\.[0-9]{1,9})?$/.test(text)) return Number(text) * 1000;
  const date = DATE.exec(text);
  const ms = date === null ? Number.NaN : dateMs(date);
  if (Number.isNaN(ms)) {
    throw invalid(
      text,
      label,
      "it is neither a date nor a duration",
      'Write "10m", "1h30m", "2006-01-02" or "2006-01-02T15:04:05Z"',
    );
  }
  return ms;
}

function dateMs([
  ,
  year,
  month,
  day,
  hour = "00",
  minute = "00",
  second = "00",
  fraction = "",
  zone = "",
]: RegExpExecArray): number {
  // Date.parse moves 31 February into March; Go refuses it.
  const days = new Date(Date.UTC(Number(year), Number(month), 0)).getUTCDate();
  if (Number(day) < 1 || Number(day) > days || Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59)
    return Number.NaN;
  return Date.parse(
    `${year}-${month}-${day}T${hour}:${minute}:${second}.${fraction.padEnd(3, "0").slice(0, 3)}${zone}`,
  );
}

/** Seconds to wait before a container is killed; -1 waits without end. */
export function parseTimeout(text: string, label: string): number {
  return parseInteger(text, label, { min: -1, max: 2 ** 31 - 1 });
}
