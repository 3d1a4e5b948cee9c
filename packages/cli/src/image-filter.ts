import type { ImageFilter } from "@bantubox/core";
import { usageError } from "./usage.ts";
import { parseBoolean } from "./values/number.ts";
import { parseMoment } from "./values/time.ts";

/** Keys that `images` knows, and those of them that `image prune` knows. */
export const IMAGE_FILTERS = ["dangling", "label", "before", "since", "until", "reference"] as const;
export const PRUNE_FILTERS = ["until", "label", "label!"] as const;

/**
 * Puts `--filter KEY=VALUE` of images together. Labels must all hold; of several references one is enough; of other
 * keys the last one counts.
 *
 * @throws {BoxError} `usage`
 */
export function imageFilter(filters: readonly string[], known: readonly string[]): ImageFilter {
  const labels: string[] = [];
  const withoutLabels: string[] = [];
  const references: string[] = [];
  const filter: { dangling?: boolean; before?: string; since?: string; untilMs?: number } = {};
  for (const text of filters) {
    const equals = text.indexOf("=");
    const key = equals < 0 ? text : text.slice(0, equals);
    const value = equals < 0 ? "" : text.slice(equals + 1);
    if (value === "") {
      throw usageError(`Cannot use ${JSON.stringify(text)} for --filter: it is not of the form key=value`);
    }
    if (!known.includes(key)) {
      throw usageError(`Cannot filter by "${key}": there is no such filter`, `The filters are ${known.join(", ")}`);
    }
    const label = `--filter ${key}`;
    if (key === "label") labels.push(value);
    else if (key === "label!") withoutLabels.push(value);
    else if (key === "reference") references.push(value);
    else if (key === "dangling") filter.dangling = parseBoolean(value, label);
    else if (key === "until") filter.untilMs = parseMoment(value, label);
    else if (key === "before") filter.before = value;
    else filter.since = value;
  }
  return {
    ...filter,
    ...(labels.length > 0 && { labels }),
    ...(withoutLabels.length > 0 && { withoutLabels }),
    ...(references.length > 0 && { references }),
  };
}
