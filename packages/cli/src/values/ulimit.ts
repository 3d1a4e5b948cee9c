import type { UlimitOption } from "@bantubox/core";
import { nearest } from "../near.ts";
import { invalid } from "../usage.ts";
import { parseInteger } from "./number.ts";

const NAMES = "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split(
  " ",
);

/** `name=soft[:hard]`; -1 is unlimited, and one number is both. */
export function parseUlimit(text: string, label: string): UlimitOption {
  const match = /^([a-z]+)=(-?[0-9]+)(?::(-?[0-9]+))?$/.exec(text);
  if (match === null) throw invalid(text, label, 'it is not of the form "nofile=1024:2048"');
  const [, name = "", first = "", second = first] = match;
  if (!NAMES.includes(name)) {
    const near = nearest(name, NAMES);
    throw invalid(
      text,
      label,
      `there is no limit "${name}"`,
      near === undefined ? `The limits are ${NAMES.join(", ")}` : `Did you mean "${near}"?`,
    );
  }
  const soft = parseInteger(first, label, { min: -1 });
  const hard = parseInteger(second, label, { min: -1 });
  if (hard !== -1 && (soft === -1 || soft > hard)) throw invalid(text, label, "its soft limit is above its hard limit");
  return { name, soft, hard };
}
