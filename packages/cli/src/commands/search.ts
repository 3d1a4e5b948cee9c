import { type FoundImage, searchImages } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { listFlags, registryFlags, registryOptions } from "../flags.ts";
import { ellipsis } from "../format.ts";
import { formatListing } from "../listing.ts";
import { writeOut } from "../output.ts";
import { usageError } from "../usage.ts";
import { parseBoolean, parseInteger } from "../values/number.ts";

const columns = { Name: "NAME", Description: "DESCRIPTION", StarCount: "STARS", IsOfficial: "OFFICIAL" };
/** Docker's width of a description. */
const DESCRIPTION_WIDTH = 45;

type Test = (image: FoundImage) => boolean;

function parseLimit(text: string, label: string): number {
  return parseInteger(text, label, { min: 1, max: 100 });
}

/** `stars=100`, `is-official=true`. */
function parseFilter(text: string, label: string): Test {
  const equals = text.indexOf("=");
  const value = text.slice(equals + 1);
  switch (equals < 0 ? text : text.slice(0, equals)) {
    case "stars": {
      const least = parseInteger(value, `${label} stars`);
      return ({ stars }) => stars >= least;
    }
    case "is-official": {
      const wanted = parseBoolean(equals < 0 ? "true" : value, `${label} is-official`);
      return ({ isOfficial }) => isOfficial === wanted;
    }
    default:
      throw usageError(
        `Cannot filter by ${JSON.stringify(text)}: there is no such filter`,
        "The filters are stars=NUMBER and is-official=true|false",
      );
  }
}

export default defineCommand({
  name: "search",
  summary: "Look for images on Docker Hub or in another registry",
  operands: { usage: "[REGISTRY/]TERM", min: 1, max: 1 },
  flags: {
    filter: { type: "list", short: "f", value: "KEY=VALUE", parse: parseFilter, description: "Only these" },
    limit: { type: "string", value: "NUMBER", parse: parseLimit, description: "How many at most (default: 25)" },
    format: listFlags.format,
    "no-trunc": { type: "boolean", description: "Print descriptions in full" },
    ...registryFlags,
  },
  examples: ["bb search nginx", "bb search -f is-official=true postgres", "bb search registry.example.org/app"],
  async run({ flags, operands: [term = ""] }) {
    const { filter: tests = [], limit, format } = flags;
    const found = await searchImages(term, { ...registryOptions(flags), ...(limit !== undefined && { limit }) });
    const rows = found
      .filter((image) => tests.every((test) => test(image)))
      .map(({ name, description, stars, isOfficial }) => ({
        Name: name,
        Description: flags["no-trunc"] ? description : ellipsis(description, DESCRIPTION_WIDTH),
        StarCount: stars,
        IsOfficial: format === undefined || format.startsWith("table") ? (isOfficial ? "[OK]" : "") : isOfficial,
      }));
    writeOut(formatListing({ columns, rows, format }));
    return 0;
  },
});
