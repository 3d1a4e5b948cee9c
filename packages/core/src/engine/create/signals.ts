import { BoxError, SIGNALS } from "@bantubox/ffi";

const RTMIN = 34;
const RTMAX = 64;

/** The number of `SIGTERM`, `TERM`, `15`, `RTMIN+3`. @throws {BoxError} `bad-signal` */
export function parseSignal(text: string): number {
  const name = text.toUpperCase().replace(/^SIG/, "");
  const known = SIGNALS[name as keyof typeof SIGNALS];
  if (Object.hasOwn(SIGNALS, name) && known !== undefined) return known;
  const number = /^[0-9]{1,2}$/.test(name) ? Number(name) : realTime(name);
  if (number !== undefined && number >= 1 && number <= RTMAX) return number;
  throw new BoxError("bad-signal", `Cannot use the signal ${JSON.stringify(text)}: there is none of that name`, {
    hint: "Names are those of signal(7), such as TERM or SIGTERM, or a number",
  });
}

function realTime(name: string): number | undefined {
  const match = /^RTM(IN|AX)(?:([+-])([0-9]{1,2}))?$/.exec(name);
  if (match === null) return undefined;
  const [, end, sign, offset = "0"] = match;
  const number = (end === "IN" ? RTMIN : RTMAX) + (sign === "-" ? -Number(offset) : Number(offset));
  return number >= RTMIN && number <= RTMAX ? number : undefined;
}
